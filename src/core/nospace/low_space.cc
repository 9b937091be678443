// SPDX-License-Identifier: GPL-2.0
#include "nospace/low_space.h"

#include "base/text.h"

namespace ploop {

void LowSpace::look()
{
	if (mark_mib() == 0) {
		below_.store_relaxed(false);
		return;
	}
	if (operation_.running() || stopping_)
		return;
	operation_.start(PLOOP_OP_FREE_SPACE, stack_.top().file(), 0, 0);
}

void LowSpace::on_free_space(Operation &, int64_t result)
{
	// A block device has no file system: what it gives is its free clusters.
	if (result == -kEOPNOTSUPP) {
		pool_.extend_to_device();
		judge((space_.nr_free() + pool_.held()) * stack_.geometry().cluster_bytes());
	} else if (result >= 0) {
		judge(static_cast<uint64_t>(result));
	}
	if (mark_mib() != 0 && !stopping_)
		ph_timer_arm(host_, PLOOP_TIMER_SPACE, kPeriodMs);
}

void LowSpace::judge(uint64_t free_bytes)
{
	const uint64_t free_mib = free_bytes >> 20;
	const uint64_t mark = mark_mib();

	free_mib_.store_relaxed(free_mib);
	if (!below() && free_mib < mark) {
		below_.store_relaxed(true);
		tell(free_mib);
	} else if (below() && free_mib >= mark + max_of<uint64_t>(1, mark / 8)) {
		// Only well above it, so that a free space that wavers is one event.
		below_.store_relaxed(false);
	}
}

void LowSpace::tell(uint64_t free_mib)
{
	char line[160];
	Text text(line, sizeof(line));

	text << "low on space below the image: " << free_mib << " MiB are left, low_water is "
	     << mark_mib() << " MiB";
	ph_log(host_, PLOOP_LOG_WARNING, line);
	alarm_.raise_lowspace();
}

} // namespace ploop
