// SPDX-License-Identifier: GPL-2.0
// What status shows: the table's words, and the keys behind them.
#include "target/target.h"

namespace ploop {

void Target::status(ploop_status kind, Text &text) const
{
	const DeviceEvents &events = alarm_.events();
	const bool pending = events.enospc.pending();

	if (kind == PLOOP_STATUS_IMA)
		text << "target_name=ploop,target_version=1.0.0,deltas=1,format=v2,cluster_sectors="
		     << stack_.geometry().cluster_sectors()
		     << ",mode=" << (policy_.read_only ? "ro" : "rw") << ';';
	if (kind == PLOOP_STATUS_IMA)
		return;

	text << "1 v2 " << stack_.geometry().cluster_sectors() << ' ';
	if (policy_.fallocate_new.load_relaxed())
		text << 'f';
	if (pending)
		text << 's';
	if (!policy_.fallocate_new.load_relaxed() && !pending)
		text << 'o';
	if (stack_.skip_sectors() != 0)
		text << " off=" << stack_.skip_sectors();
	if (kind == PLOOP_STATUS_TABLE)
		return;

	const uint64_t oldest = outage_.oldest_ms();
	text << " mode=" << name_of(modes_.mode())
	     << " used=" << counters_.used_clusters.load_relaxed() << " total=" << stack_.clusters()
	     << " quarantined=" << counters_.quarantined.load_relaxed()
	     << " parked=" << outage_.nr_parked()
	     << " parked_oldest_ms=" << (oldest == 0 ? 0 : ph_now_ms() - oldest)
	     << " enospc_events=" << events.enospc.raised() << " retries=" << outage_.nr_retries()
	     << " retry_ms=" << policy_.retry_ms.load_relaxed()
	     << " timeout_s=" << policy_.timeout_s.load_relaxed()
	     << " policy=" << (policy_.error_if_no_space.load_relaxed() ? "error" : "queue")
	     << " enospc_errors=" << outage_.nr_ended() << " last_error=" << modes_.last_error()
	     << " dirty_bat_pages=" << dirty_.count();
	if (modes_.map_error() != 0)
		text << " map_error=" << modes_.map_error();
	if (claim_.unwritten.present())
		text << " dirty-suspended";
	if (low_space_.mark_mib() != 0) {
		text << " low_water=" << low_space_.mark_mib() << " host_free_mib=";
		if (low_space_.free_mib() == ~uint64_t{0})
			text << '-';
		else
			text << low_space_.free_mib();
		text << " lowspace_events=" << events.lowspace.raised();
	}
	if (pending)
		text << " event_ENOSPC";
	if (events.lowspace.pending())
		text << " event_LOWSPACE";
}

} // namespace ploop
