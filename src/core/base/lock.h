// SPDX-License-Identifier: GPL-2.0
// A lock for a few lines, which any context may take.
#pragma once

#include "base/thread_safety.h"
#include "ploop/host.h"

namespace ploop {

// Of locks that one may hold together, the kinds differ.
enum class LockKind : uint32_t { gate };

class PLOOP_CAPABILITY("lock") Lock {
public:
	explicit Lock(LockKind kind) { ph_lock_init(&lock_, static_cast<uint32_t>(kind)); }
	Lock(const Lock &) = delete;
	Lock &operator=(const Lock &) = delete;

	void acquire() PLOOP_ACQUIRE() PLOOP_UNCHECKED { ph_lock(&lock_); }
	void release() PLOOP_RELEASE() PLOOP_UNCHECKED { ph_unlock(&lock_); }

private:
	ploop_lock lock_ = {};
};

// Holds a lock while it lives.
class PLOOP_SCOPED_CAPABILITY LockHolder {
public:
	explicit LockHolder(Lock &lock) PLOOP_ACQUIRE(lock) : lock_(lock) { lock_.acquire(); }
	~LockHolder() PLOOP_RELEASE() { lock_.release(); }
	LockHolder(const LockHolder &) = delete;
	LockHolder &operator=(const LockHolder &) = delete;

private:
	Lock &lock_;
};

} // namespace ploop
