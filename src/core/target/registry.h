// SPDX-License-Identifier: GPL-2.0
// What the whole module knows: who uses which file, and what belongs to a
// mapped device rather than to one of its tables.
#pragma once

#include "base/atomics.h"
#include "base/memory.h"
#include "base/thread_safety.h"
#include "commit/unwritten.h"
#include "nospace/alarm.h"

namespace ploop {

// Stands for the module's lock in the annotations. Declared only: nobody needs it to exist.
class PLOOP_CAPABILITY("registry") RegistryCapability {};
extern RegistryCapability registry_capability;

// Belongs to the mapped device and outlives a table reload.
struct DeviceShared {
	uint64_t device_id = 0;
	uint32_t users PLOOP_GUARDED_BY(registry_capability) = 0;
	DeviceShared *next PLOOP_GUARDED_BY(registry_capability) = nullptr;
	DeviceEvents events;
	Atomic<bool> map_lost; // once: entries that were acknowledged are not on disk
};

// One instance's claim on its top file.
struct FileClaim {
	uint64_t file_id[2] = {};
	uint64_t device_id = 0;
	bool writes = false; // its table may write
	bool held = false;   // running, or suspended with changes unwritten or lost
	Unwritten unwritten; // those
	bool lost = false;   // suspended, and changes of the map could not be written for ever
	FileClaim *next PLOOP_GUARDED_BY(registry_capability) = nullptr;
};

// The lock of the module, held while this object lives. Process context.
class PLOOP_SCOPED_CAPABILITY RegistryLock {
public:
	RegistryLock() PLOOP_ACQUIRE(registry_capability) PLOOP_UNCHECKED { ph_global_lock(); }
	~RegistryLock() PLOOP_RELEASE() PLOOP_UNCHECKED { ph_global_unlock(); }
	RegistryLock(const RegistryLock &) = delete;
	RegistryLock &operator=(const RegistryLock &) = delete;
};

// All functions take the lock themselves. Process context.
namespace registry {

// At module load: empty, whatever there was in an earlier life.
void begin();

// The device's shared part, made if it is the first; NULL: no memory. Paired with drop_device().
DeviceShared *get_device(uint64_t device_id);
void drop_device(DeviceShared *device);

// Holds the file for @claim; false if another instance holds it. One of the
// same device that is suspended with unwritten changes hands them over instead,
// and so does one that lost some hand over that.
bool hold(FileClaim &claim);
void release(FileClaim &claim);
// Does another instance hold this file?
bool held_by_other(const FileClaim &claim);
// One of the same device, whose table may write?
bool held_by_predecessor(const FileClaim &claim);

} // namespace registry

} // namespace ploop
