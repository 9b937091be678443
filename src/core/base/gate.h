// SPDX-License-Identifier: GPL-2.0
// The gate before all that writes. It is shut before any flush ends with an error,
// because device-mapper forgets that error and sends the write that follows; and it
// opens again when a whole commit that began after it was shut has succeeded
// (invariant 4).
#pragma once

#include "base/atomics.h"
#include "base/lock.h"
#include "base/types.h"

namespace ploop {

class Gate {
public:
	Gate() : lock_(LockKind::gate) {}
	Gate(const Gate &) = delete;
	Gate &operator=(const Gate &) = delete;

	// Any context. Acquire: pairs with the release of shut() and open().
	Status status() const { return Status::from(code_.load_acquire()); }
	bool is_open() const { return code_.load_acquire() == 0; }

	// Any context: writes end with this error from now on.
	void shut(Status status)
	{
		LockHolder holder(lock_);

		nr_shut_++;
		if (!for_ever_)
			code_.store_release(status.code());
	}
	// Any context: and nothing opens it again.
	void shut_for_ever(Status status)
	{
		LockHolder holder(lock_);

		nr_shut_++;
		for_ever_ = true;
		code_.store_release(status.code());
	}
	// How often it was shut: a commit asks when it begins.
	uint64_t nr_shut()
	{
		LockHolder holder(lock_);

		return nr_shut_;
	}
	// A commit has succeeded that began when nr_shut() was @since.
	void open(uint64_t since)
	{
		LockHolder holder(lock_);

		if (!for_ever_ && nr_shut_ == since)
			code_.store_release(0);
	}
	// With a resume, while nobody else is there.
	void reset()
	{
		LockHolder holder(lock_);

		for_ever_ = false;
		code_.store_release(0);
	}

private:
	Atomic<int> code_;
	Lock lock_;
	uint64_t nr_shut_ PLOOP_GUARDED_BY(lock_) = 0;
	bool for_ever_ PLOOP_GUARDED_BY(lock_) = false;
};

} // namespace ploop
