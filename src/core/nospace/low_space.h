// SPDX-License-Identifier: GPL-2.0
// Low space, told before the fact: an event when the free space below the image
// falls under a mark, and again only after it was well above.
//
// Everything here is the target's worker's, but for the values read by status.
#pragma once

#include "map/pool.h"
#include "nospace/alarm.h"

namespace ploop {

class LowSpace {
public:
	LowSpace(ploop_host *host, Inbox &inbox, const DeltaStack &stack, const Space &space,
		 Pool &pool, Alarm &alarm)
		: host_(host), inbox_(inbox), stack_(stack), space_(space), pool_(pool),
		  alarm_(alarm)
	{
	}
	LowSpace(const LowSpace &) = delete;
	LowSpace &operator=(const LowSpace &) = delete;

	Status create()
	{
		return operation_.create<&LowSpace::on_free_space>(*this, host_, inbox_);
	}

	// Any context: 0 turns it off. Acts with the next look().
	void set_mark_mib(uint32_t mib) { mark_mib_.store_relaxed(mib); }
	uint32_t mark_mib() const { return mark_mib_.load_relaxed(); }
	bool below() const { return below_.load_relaxed(); }
	// As of the last look; ~0: never looked.
	uint64_t free_mib() const { return free_mib_.load_relaxed(); }

	// Looks at the free space now, if there is a mark, and then periodically.
	void look();
	bool idle() const { return !operation_.running(); }
	// From now on it does not look any more, or does again.
	void set_stopping(bool stopping) { stopping_ = stopping; }

	static constexpr uint32_t kPeriodMs = 2000;

private:
	void judge(uint64_t free_bytes);
	void tell(uint64_t free_mib);
	void on_free_space(Operation &operation, int64_t result);

	ploop_host *host_;
	Inbox &inbox_;
	const DeltaStack &stack_;
	const Space &space_;
	Pool &pool_;
	Alarm &alarm_;
	Operation operation_;
	bool stopping_ = false;
	Atomic<uint32_t> mark_mib_;
	Atomic<bool> below_;
	Atomic<uint64_t> free_mib_{~uint64_t{0}};
};

} // namespace ploop
