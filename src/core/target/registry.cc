// SPDX-License-Identifier: GPL-2.0
#include "target/registry.h"

namespace ploop::registry {

namespace {

constinit DeviceShared *devices PLOOP_GUARDED_BY(registry_capability) = nullptr;
constinit FileClaim *claims PLOOP_GUARDED_BY(registry_capability) = nullptr;

FileClaim *other_holder(const FileClaim &claim) PLOOP_REQUIRES(registry_capability);
void release_locked(FileClaim &claim) PLOOP_REQUIRES(registry_capability);

FileClaim *other_holder(const FileClaim &claim)
{
	for (FileClaim *other = claims; other != nullptr; other = other->next) {
		if (other != &claim && other->file_id[0] == claim.file_id[0] &&
		    other->file_id[1] == claim.file_id[1])
			return other;
	}
	return nullptr;
}

void release_locked(FileClaim &claim)
{
	for (FileClaim **link = &claims; *link != nullptr; link = &(*link)->next) {
		if (*link == &claim) {
			*link = claim.next;
			break;
		}
	}
	claim.held = false;
}

} // namespace

void begin()
{
	RegistryLock lock;

	devices = nullptr;
	claims = nullptr;
}

DeviceShared *get_device(uint64_t device_id)
{
	RegistryLock lock;

	for (DeviceShared *device = devices; device != nullptr; device = device->next) {
		if (device->device_id == device_id) {
			device->users++;
			return device;
		}
	}
	DeviceShared *device = make_owned<DeviceShared>().give_away();
	if (device == nullptr)
		return nullptr;
	device->device_id = device_id;
	device->users = 1;
	device->next = devices;
	devices = device;
	return device;
}

void drop_device(DeviceShared *device)
{
	RegistryLock lock;

	if (--device->users > 0)
		return;
	for (DeviceShared **link = &devices; *link != nullptr; link = &(*link)->next) {
		if (*link == device) {
			*link = device->next;
			break;
		}
	}
	Owned<DeviceShared> last(device);
}

bool hold(FileClaim &claim)
{
	RegistryLock lock;

	if (FileClaim *other = other_holder(claim); other != nullptr) {
		if (other->device_id != claim.device_id ||
		    (!other->unwritten.present() && !other->lost))
			return false;
		claim.unwritten.adopt(other->unwritten);
		claim.lost = other->lost;
		release_locked(*other);
	}
	if (!claim.held) {
		claim.held = true;
		claim.next = claims;
		claims = &claim;
	}
	return true;
}

void release(FileClaim &claim)
{
	RegistryLock lock;

	release_locked(claim);
}

bool held_by_other(const FileClaim &claim)
{
	RegistryLock lock;

	return other_holder(claim) != nullptr;
}

bool held_by_predecessor(const FileClaim &claim)
{
	RegistryLock lock;
	const FileClaim *other = other_holder(claim);

	return other != nullptr && other->device_id == claim.device_id && other->writes;
}

} // namespace ploop::registry
