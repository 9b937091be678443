// SPDX-License-Identifier: GPL-2.0
// The worker's round: what came in is handed to the part that decides.
#include "target/target.h"

namespace ploop {

void Target::timer(ploop_timer which)
{
	switch (which) {
	case PLOOP_TIMER_RETRY:
		return inbox_.signal(kSignalRetryTimer);
	case PLOOP_TIMER_COMMIT:
		return inbox_.signal(kSignalCommitTimer);
	case PLOOP_TIMER_EXPIRE:
		return inbox_.signal(kSignalExpire);
	case PLOOP_TIMER_SPACE:
		return inbox_.signal(kSignalSpace);
	case PLOOP_TIMER_FREE:
		return inbox_.signal(kSignalFree);
	case PLOOP_TIMERS:
		return;
	}
}

void Target::work()
{
	unsigned int budget = kDispatchesMost;
	bool more = true;

	handle_signals();
	for (unsigned int pass = 0; more && budget > 0 && pass < kPassesMost; pass++) {
		for (; budget > 0 && inbox_.has_ready(); budget--)
			dispatch(inbox_.next());
		run_parts();
		more = take_inboxes() || inbox_.has_ready();
	}
	// Under a load that never lets up signals have their turn, too, and so have
	// others on this processor.
	if (more)
		inbox_.kick();
	else
		stop_.advance();
	publish_counters();
}

void Target::handle_signals()
{
	const uint32_t signals = inbox_.take_signals();

	if ((signals & kSignalDrained) != 0)
		quarantine_.epoch_drained();
	if ((signals & kSignalCommitTimer) != 0)
		committer_.timer_fired();
	if ((signals & kSignalFree) != 0)
		pool_.reclaim();
	if ((signals & kSignalClean) != 0)
		pool_.forget_clean();
	if ((signals & kSignalSuspend) != 0)
		outage_.suspend_begins();
	if ((signals & kSignalUndone) != 0)
		outage_.suspend_undone();
	if ((signals & kSignalRetryNow) != 0)
		outage_.retry_now();
	if ((signals & kSignalRetryTimer) != 0)
		outage_.on_timer();
	if ((signals & kSignalExpire) != 0)
		outage_.on_expire();
	if ((signals & kSignalPolicy) != 0)
		outage_.policy_changed();
	if ((signals & (kSignalSpace | kSignalPolicy | kSignalUndone)) != 0)
		low_space_.look();
	if ((signals & kSignalStop) != 0)
		stop_.begin();
}

// True if anything came in.
bool Target::take_inboxes()
{
	ploop_node *operations = inbox_.take_operations();
	const bool any = operations != nullptr;

	// Operations touch parts that do not care for their order among each other.
	while (operations != nullptr) {
		ploop_node *const node = operations;
		operations = node->next;
		Operation::ended(node);
	}
	return inbox_.take_requests() || any;
}

void Target::run_parts()
{
	new_places_.run();
	// What discards free counts before a want of space does.
	ranges_.run();
	outage_.collect();
	pool_.run();
	quarantine_.run();
	if (outage_.lasts() && quarantine_.needs_commit())
		committer_.want();
	committer_.run();
}

void Target::dispatch(ploop_rq *rq)
{
	switch (stage_of(rq)) {
	case Stage::fresh:
		break;
	case Stage::data_done:
		return new_places_.data_done(rq);
	case Stage::lost:
		return new_places_.lost(rq);
	case Stage::commit:
		return endings_.finish(rq, {});
	case Stage::ended:
		return endings_.finish(rq, Status::from(state(rq).error));
	case Stage::overwrite:
	case Stage::first_data:
	case Stage::over:
		return; // in the host's hands: never here
	}

	if (policy_.read_only)
		return end_request(rq, rq->op == PLOOP_RQ_FLUSH ? 0 : -kEROFS);
	switch (static_cast<ploop_rq_op>(rq->op)) {
	case PLOOP_RQ_WRITE:
		return new_places_.start(rq);
	case PLOOP_RQ_FLUSH:
		return committer_.join(rq);
	case PLOOP_RQ_DISCARD:
	case PLOOP_RQ_WRITE_ZEROES:
		return ranges_.start(rq);
	case PLOOP_RQ_READ:
		return; // served in map()
	}
}

void Target::publish_counters()
{
	counters_.used_clusters.store_relaxed(space_.nr_used() - pool_.held());
	counters_.quarantined.store_relaxed(quarantine_.count());
}

} // namespace ploop
