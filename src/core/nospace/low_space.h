// SPDX-License-Identifier: GPL-2.0
// Low space, told before the fact: an event when the free space below the image
// falls under a mark, and again only after it was well above.
//
// Everything here is the target's worker's, but for the values read by status.
#pragma once

#include "base/atomics.h"
#include "map/operation.h"

namespace ploop {

class Target;

class LowSpace {
public:
	explicit LowSpace(Target &target) : target_(target) {}
	LowSpace(const LowSpace &) = delete;
	LowSpace &operator=(const LowSpace &) = delete;

	Status create(ploop_host *host);

	// Any context: 0 turns it off. Acts with the next look().
	void set_mark_mib(uint32_t mib) { mark_mib_.store_relaxed(mib); }
	uint32_t mark_mib() const { return mark_mib_.load_relaxed(); }
	bool below() const { return below_.load_relaxed(); }
	// As of the last look; ~0: never looked.
	uint64_t free_mib() const { return free_mib_.load_relaxed(); }

	// Looks at the free space now, if there is a mark, and then periodically.
	void look();
	bool idle() const { return !operation_.running(); }

	static constexpr uint32_t kPeriodMs = 2000;

private:
	void judge(uint64_t free_bytes);
	static void on_free_space(Target &target, Operation &operation, int64_t result);

	Target &target_;
	Operation operation_;
	Atomic<uint32_t> mark_mib_;
	Atomic<bool> below_;
	Atomic<uint64_t> free_mib_{~uint64_t{0}};
};

} // namespace ploop
