// SPDX-License-Identifier: GPL-2.0
// The way of a request: from the submitter to the file, or to the worker; and
// the worker's round.
#include "target/target.h"

namespace ploop {

namespace {

bool aligned(uint64_t offset, uint32_t bytes, uint32_t align_bytes)
{
	return align_bytes != 0 && ((offset | bytes) & (align_bytes - 1)) == 0;
}

} // namespace

uint32_t Target::map_limit(uint64_t sector) const
{
	return geometry_.cluster_sectors() - geometry_.sector_in_cluster(sector + skip_sectors_);
}

// ---- Any context -------------------------------------------------------------

void Target::signal(Signal signal)
{
	signals_.or_release(signal); // pairs with the exchange in handle_signals()
	ph_kick(host_);
}

void Target::timer(ploop_timer which)
{
	switch (which) {
	case PLOOP_TIMER_RETRY:
		return signal(kSignalRetryTimer);
	case PLOOP_TIMER_COMMIT:
		return signal(kSignalCommitTimer);
	case PLOOP_TIMER_EXPIRE:
		return signal(kSignalExpire);
	case PLOOP_TIMER_SPACE:
		return signal(kSignalSpace);
	case PLOOP_TIMERS:
		return;
	}
}

void Target::to_worker(ploop_rq *rq, Stage stage)
{
	set_stage(rq, stage);
	// Whoever pushed the first of the list kicks, for all that the list holds.
	if (ph_list_push(&inbox_, &rq->node))
		ph_kick(host_);
}

void Target::operation_ended(ploop_node *node)
{
	ploop_host *const host = host_; // once the last one is pushed, we may be gone

	if (ph_list_push(&operations_, node))
		ph_kick(host);
}

void Target::map(ploop_rq *rq)
{
	static_assert(static_cast<int>(Stage::fresh) == 0); // as the request begins
	rq->epoch = kNoEpoch;
	rq->slot = kNoSlot;

	switch (static_cast<ploop_rq_op>(rq->op)) {
	case PLOOP_RQ_READ:
		return read(rq);
	case PLOOP_RQ_WRITE:
		return write(rq);
	case PLOOP_RQ_FLUSH:
	case PLOOP_RQ_DISCARD:
	case PLOOP_RQ_WRITE_ZEROES:
		return to_worker(rq, Stage::fresh);
	}
}

void Target::read(ploop_rq *rq)
{
	// Before the map is read: the cluster is not reused while we are in.
	rq->epoch = ph_epoch_enter(host_);
	const MapWord word = map_.get(geometry_.cluster_of(position(rq)));

	if (word.is_mapped()) {
		set_stage(rq, Stage::overwrite);
		return submit(rq, word.cluster(), (rq->flags & PLOOP_RQ_INLINE) != 0);
	}
	ph_epoch_exit(host_, rq->epoch);
	ph_rq_zero_fill(rq);
	end_request(rq, 0);
}

void Target::write(ploop_rq *rq)
{
	if (const Status shut = gate(); !shut.ok())
		return end_request(rq, shut.code());
	if (read_only_)
		return end_request(rq, -kEROFS);

	rq->epoch = ph_epoch_enter(host_);
	const MapWord word = map_.get(geometry_.cluster_of(position(rq)));

	if (word.is_mapped()) {
		set_stage(rq, Stage::overwrite);
		return submit(rq, word.cluster(), (rq->flags & PLOOP_RQ_INLINE) != 0);
	}
	ph_epoch_exit(host_, rq->epoch);
	rq->epoch = kNoEpoch;
	to_worker(rq, Stage::fresh);
}

void Target::submit(ploop_rq *rq, FileCluster cluster, bool try_inline)
{
	const ploop_file_facts &facts = image_.facts();
	uint32_t flags = 0;

	rq->file_offset =
		geometry_.offset_of(cluster) +
		(uint64_t{geometry_.sector_in_cluster(position(rq))} << PLOOP_SECTOR_SHIFT);
	rq->done_bytes = 0;
	clear_mark(rq, kMarkInline);
	clear_mark(rq, kMarkCopied);
	if (!aligned(rq->file_offset, bytes_of(rq), facts.dio_align_bytes)) {
		set_mark(rq, kMarkCopied);
		flags = PLOOP_IO_COPIED;
	} else if (try_inline && facts.inline_ok) {
		set_mark(rq, kMarkInline);
		flags = PLOOP_IO_INLINE;
	}
	ph_rq_io(rq, image_.file(), rq->file_offset, 0, bytes_of(rq), flags);
}

void Target::continue_io(ploop_rq *rq)
{
	const uint32_t left = bytes_of(rq) - rq->done_bytes;
	const uint64_t offset = rq->file_offset + rq->done_bytes;

	clear_mark(rq, kMarkInline);
	if (!aligned(offset, left, image_.facts().dio_align_bytes))
		set_mark(rq, kMarkCopied);
	ph_rq_io(rq, image_.file(), offset, rq->done_bytes, left,
		 has_mark(rq, kMarkCopied) ? PLOOP_IO_COPIED : 0);
}

void Target::io_done(ploop_rq *rq, int64_t result)
{
	const bool was_inline = has_mark(rq, kMarkInline);
	const bool was_direct = !has_mark(rq, kMarkCopied);

	if (result > 0) {
		rq->done_bytes += static_cast<uint32_t>(result);
		if (rq->done_bytes < bytes_of(rq))
			return continue_io(rq);
		return io_ended(rq, {});
	}
	// What could not be done without waiting is done by the host's worker. There a
	// read learns, too, whether the error was its own: Linux 6.1 tells it of one of
	// another's writeback, once.
	if (was_inline && result < 0 && !(is_write(rq) && (result == -kENOSPC || result == -kEIO)))
		return continue_io(rq);
	if (!was_inline && result < 0 && !is_write(rq) && !has_mark(rq, kMarkReadAgain)) {
		set_mark(rq, kMarkReadAgain);
		return continue_io(rq);
	}
	// Direct I/O has rules of its own for memory and length; a copy meets them.
	if (was_direct && (result == -kEINVAL || result == -kEOPNOTSUPP || result == -kEAGAIN)) {
		set_mark(rq, kMarkCopied);
		return continue_io(rq);
	}
	// No progress and no error: the file was cut short behind our back.
	io_ended(rq, result == 0 ? Status::error(kEIO) : Status::from(result));
}

// Pushes come before the epoch is left: when an epoch has drained, all that its
// requests had to say lies in the inbox or the parking lot. The request may be
// gone once it is pushed.
void Target::io_ended(ploop_rq *rq, Status status)
{
	ploop_host *const host = host_;
	const uint32_t epoch = rq->epoch;

	rq->epoch = kNoEpoch;
	rq->error = status.code();
	if (stage_of(rq) == Stage::first_data) {
		to_worker(rq, Stage::data_done);
	} else if (status.no_space() && is_write(rq)) {
		outage_.park(rq);
	} else if (status.ok() && is_write(rq) && is_fua(rq)) {
		to_worker(rq, Stage::commit);
	} else if (has_mark(rq, kMarkProbe)) {
		to_worker(rq, Stage::ended);
	} else {
		ph_epoch_exit(host, epoch);
		return end_request(rq, status.code());
	}
	ph_epoch_exit(host, epoch);
}

// ---- The worker --------------------------------------------------------------

void Target::work()
{
	bool more = true;

	handle_signals();
	for (unsigned int pass = 0; more && pass < kPassesMost; pass++) {
		while (ploop_rq *rq = ready_.pop())
			dispatch(rq);
		run_parts();
		more = take_inboxes() || !ready_.empty();
	}
	// Under a load that never lets up signals have their turn, too, and so have
	// others on this processor.
	if (more)
		ph_kick(host_);
	else if (stop_ != Stop::none)
		advance_stop();
	publish_counters();
}

void Target::handle_signals()
{
	// Acquire: what was written before the signal is seen.
	const uint32_t signals = signals_.exchange_acquire(0);

	if ((signals & kSignalDrained) != 0)
		freer_.epoch_drained();
	if ((signals & kSignalCommitTimer) != 0)
		committer_.timer_fired();
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
		begin_stop();
}

// True if anything came in.
bool Target::take_inboxes()
{
	ploop_node *operations = ph_list_take(&operations_);
	ploop_node *requests = oldest_first(ph_list_take(&inbox_));
	const bool any = operations != nullptr || requests != nullptr;

	// Operations touch parts that do not care for their order among each other.
	while (operations != nullptr) {
		ploop_node *const node = operations;
		operations = node->next;
		Operation::ended(node);
	}
	while (requests != nullptr) {
		ploop_node *const node = requests;
		requests = node->next;
		ready_.push(request_of(node));
	}
	return any;
}

void Target::run_parts()
{
	outage_.collect();
	writer_.run();
	walker_.run();
	freer_.run();
	if (outage_.active() && freer_.needs_commit())
		committer_.want();
	committer_.run();
}

void Target::dispatch(ploop_rq *rq)
{
	switch (stage_of(rq)) {
	case Stage::fresh:
		break;
	case Stage::data_done:
		return writer_.data_done(rq);
	case Stage::commit:
		return finish(rq, {});
	case Stage::ended:
		return finish(rq, Status::from(rq->error));
	case Stage::overwrite:
	case Stage::first_data:
	case Stage::over:
		return; // in the host's hands: never here
	}

	if (read_only_)
		return end_request(rq, rq->op == PLOOP_RQ_FLUSH ? 0 : -kEROFS);
	switch (static_cast<ploop_rq_op>(rq->op)) {
	case PLOOP_RQ_WRITE:
		return writer_.start(rq);
	case PLOOP_RQ_FLUSH:
		return committer_.join(rq);
	case PLOOP_RQ_DISCARD:
	case PLOOP_RQ_WRITE_ZEROES:
		return walker_.start(rq);
	case PLOOP_RQ_READ:
		return; // served in map()
	}
}

void Target::finish(ploop_rq *rq, Status status)
{
	if (has_mark(rq, kMarkProbe)) {
		clear_mark(rq, kMarkProbe);
		outage_.probe_ended(status);
	}
	if (status.ok() && is_fua(rq))
		return committer_.join(rq);
	end_request(rq, status.code());
}

} // namespace ploop
