// SPDX-License-Identifier: GPL-2.0
#include "nospace/low_space.h"

#include "target/target.h"

namespace ploop {

Status LowSpace::create(ploop_host *host)
{
	return operation_.create(target_, host, on_free_space);
}

void LowSpace::look()
{
	if (mark_mib() == 0) {
		below_.store_relaxed(false);
		return;
	}
	if (operation_.running() || target_.stopping())
		return;
	operation_.start(PLOOP_OP_FREE_SPACE, target_.image_.file(), 0, 0);
}

void LowSpace::on_free_space(Target &target, Operation &, int64_t result)
{
	LowSpace &self = target.low_space_;

	// A block device has no file system: what it gives is its free clusters.
	if (result == -kEOPNOTSUPP) {
		target.extend_to_device();
		self.judge(target.space_.nr_free() * target.geometry_.cluster_bytes());
	} else if (result >= 0) {
		self.judge(static_cast<uint64_t>(result));
	}
	if (self.mark_mib() != 0 && !target.stopping())
		ph_timer_arm(target.host_, PLOOP_TIMER_SPACE, kPeriodMs);
}

void LowSpace::judge(uint64_t free_bytes)
{
	const uint64_t free_mib = free_bytes >> 20;
	const uint64_t mark = mark_mib();

	free_mib_.store_relaxed(free_mib);
	if (!below() && free_mib < mark) {
		below_.store_relaxed(true);
		target_.raise_lowspace(free_mib);
	} else if (below() && free_mib >= mark + max_of<uint64_t>(1, mark / 8)) {
		// Only well above it, so that a free space that wavers is one event.
		below_.store_relaxed(false);
	}
}

} // namespace ploop
