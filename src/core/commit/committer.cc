// SPDX-License-Identifier: GPL-2.0
#include "commit/committer.h"

namespace ploop {

namespace {

constexpr uint32_t kTriesPerPage = 8; // a write cut short is repeated, not for ever

} // namespace

Committer::~Committer()
{
	ph_free(copies_);
}

Status Committer::create(uint32_t pages)
{
	static_assert(kBatch * kBatPageBytes <= PLOOP_ALLOC_MAX);
	copies_ = static_cast<char *>(ph_alloc(kBatch * kBatPageBytes));
	if (copies_ == nullptr)
		return Status::error(kENOMEM);
	PLOOP_TRY(in_round_.allocate(pages));
	for (uint32_t i = 0; i < kBatch; i++)
		PLOOP_TRY(pages_[i].create<&Committer::on_page>(*this, host_, inbox_, i));
	sync_.report_syncs(modes_);
	return sync_.create<&Committer::on_sync>(*this, host_, inbox_);
}

void Committer::restart()
{
	phase_ = Phase::idle;
	wanted_ = stopping_ = false;
	retry_ms_ = kRetryFirstMs;
	dirty_.timer_over();
}

void Committer::join(ploop_rq *rq)
{
	if (modes_.failed())
		return end_request(rq, gate_.status().code());
	state(rq).parked_at_ms = ph_now_ms();
	next_.push(rq);
	if (parked())
		watcher_.flush_waits();
}

void Committer::arm_timer_if_needed()
{
	if (quarantine_.needs_commit())
		dirty_.hasten_timer(DirtyPages::kDiscardDelayMs);
	else if (dirty_.count() > 0 || !gate_.is_open())
		dirty_.arm_timer(DirtyPages::kCommitDelayMs);
}

void Committer::timer_fired()
{
	dirty_.timer_over();
	if (phase_ == Phase::failing)
		phase_ = Phase::idle; // it was the delay before the next try
	// The last commit of a suspend is its own; none begins behind it.
	if (phase_ != Phase::parked && !stopping_)
		wanted_ = true;
}

void Committer::run()
{
	// While it is being tried again, who waits for a commit waits for that.
	if (phase_ == Phase::failing && stopping_ && wanted_)
		phase_ = Phase::idle;
	if (phase_ != Phase::idle || (!wanted_ && next_.empty()))
		return;
	if (modes_.failed()) {
		wanted_ = false;
		return end_waiting(next_, gate_.status().code());
	}
	begin();
}

void Committer::begin()
{
	wanted_ = false;
	sweep_ = 0;
	nr_in_round_ = 0;
	copied_.clear();
	gate_since_ = gate_.nr_shut();
	sync_errors_since_ = modes_.nr_sync_errors();
	round_.splice(next_);
	// What was unmapped until here is in none of the copies of this round.
	quarantine_.commit_begins();
	if (!begin_data_sync())
		write_pages();
}

// Step (1). True if there is data to be synced before its entries are copied.
bool Committer::begin_data_sync()
{
	bool any = false;

	if (!map_.may_have_unsynced())
		return false;
	for (uint32_t page = dirty_.find(0); page < dirty_.pages(); page = dirty_.find(page + 1))
		any = map_.begin_sync(page) || any;
	if (any)
		start_sync(Phase::data_sync);
	else
		map_.forget_unsynced();
	return any;
}

void Committer::start_sync(Phase phase)
{
	phase_ = phase;
	sync_.start(PLOOP_OP_SYNC, stack_.top().file(), 0, 0);
}

void Committer::on_sync(Operation &, int64_t result)
{
	Status status = modes_.sync_result(Status::from(result), sync_errors_since_);

	// Another's error may be about to be counted.
	if (status.ok() && modes_.failed())
		status = Status::from(modes_.last_error());
	if (!status.ok())
		return fail(status);
	if (phase_ == Phase::map_sync)
		return succeed();
	write_pages();
}

// Step (2), a batch of it.
void Committer::write_pages()
{
	copy_batch();
	if (batch_count_ == 0)
		return start_sync(Phase::map_sync);
	phase_ = Phase::write_pages;
	batch_status_ = {};
	batch_tries_ = 0;
	batch_running_ = batch_count_;
	for (uint32_t i = 0; i < batch_count_; i++)
		start_page(i);
}

void Committer::copy_batch()
{
	batch_count_ = 0;
	while (batch_count_ < kBatch) {
		const uint32_t page = dirty_.find(sweep_);
		sweep_ = page + 1;
		if (page == dirty_.pages())
			return;
		dirty_.take(page);
		in_round_.set(page);
		nr_in_round_++;
		batch_[batch_count_] = page;
		// What is not synced yet is the next round's.
		if (map_.copy_page(page, stack_.top().id(),
				   reinterpret_cast<uint32_t *>(copies_ + size_t{batch_count_} *
										  kBatPageBytes),
				   copied_))
			dirty_.mark_page(page);
		batch_count_++;
	}
}

// The header's bytes are not ours to write: page 0 begins behind it.
void Committer::start_page(uint32_t i)
{
	char *const copy = copies_ + size_t{i} * kBatPageBytes;
	const uint64_t offset = uint64_t{batch_[i]} * kBatPageBytes;

	if (offset == 0)
		pages_[i].start(PLOOP_OP_WRITE_BUFFERED, stack_.top().file(), kHeaderBytes,
				kBatPageBytes - kHeaderBytes, copy + kHeaderBytes);
	else
		pages_[i].start(PLOOP_OP_WRITE, stack_.top().file(), offset, kBatPageBytes, copy);
}

void Committer::on_page(Operation &operation, int64_t result)
{
	const bool cut_short = result > 0 && static_cast<uint64_t>(result) < operation.bytes();

	if (cut_short && batch_tries_++ < kTriesPerPage * kBatch)
		return start_page(operation.argument());
	if (result >= 0 && static_cast<uint64_t>(result) != operation.bytes())
		result = -kEIO;
	page_written(Status::from(result));
}

void Committer::page_written(Status status)
{
	// Another error tells more than a want of space.
	if (!status.ok() && (batch_status_.ok() || batch_status_.no_space()))
		batch_status_ = status;
	if (--batch_running_ > 0)
		return;
	if (!batch_status_.ok())
		return fail(batch_status_);
	write_pages();
}

void Committer::succeed()
{
	phase_ = Phase::idle;
	last_status_ = {};
	retry_ms_ = kRetryFirstMs;
	// The words first: who finds the count lowered may write through them as durable.
	if (copied_.known())
		map_.round_succeeded(copied_);
	for (uint64_t page = in_round_.find(true, 0, in_round_.length()); page < in_round_.length();
	     page = in_round_.find(true, page + 1, in_round_.length())) {
		if (!copied_.known())
			map_.round_succeeded(static_cast<uint32_t>(page));
		in_round_.clear(page);
	}
	dirty_.lower(std::exchange(nr_in_round_, 0));
	gate_.open(gate_since_);
	modes_.pages_written();
	watcher_.commit_proves_space();
	quarantine_.commit_succeeded();
	// What was unmapped during the round may be of a page that it wrote afterwards.
	arm_timer_if_needed();
	end_waiting(round_, 0);
	watcher_.commit_ended({});
}

// The next round writes all of this one's pages again.
void Committer::put_pages_back()
{
	for (uint64_t page = in_round_.find(true, 0, in_round_.length()); page < in_round_.length();
	     page = in_round_.find(true, page + 1, in_round_.length())) {
		map_.round_failed(static_cast<uint32_t>(page));
		dirty_.put_back(static_cast<uint32_t>(page));
		in_round_.clear(page);
	}
	nr_in_round_ = 0;
}

void Committer::fail(Status status)
{
	const bool of_page = phase_ == Phase::write_pages;

	last_status_ = status;
	phase_ = Phase::idle;
	put_pages_back();
	quarantine_.commit_failed();
	round_.splice(next_);
	next_.splice(round_);

	if (!status.no_space() && (of_page || status.passes()))
		return try_later(status, of_page);
	if (!status.no_space()) {
		modes_.fail(status);
		end_waiting(next_, gate_.status().code());
		return watcher_.commit_ended(status);
	}
	if (stopping_ || policy_.suspending() == Suspending::flush ||
	    policy_.error_if_no_space.load_relaxed()) {
		give_up();
		return watcher_.commit_ended(status);
	}
	phase_ = Phase::parked;
	wanted_ = false;
	if (policy_.suspending() == Suspending::noflush)
		hand_back();
	watcher_.commit_ended(status);
}

// Nothing is lost: memory has what the disk has not. @shut: who waits is told of the
// error, with the gate shut before; else it waits for the next try.
void Committer::try_later(Status status, bool shut)
{
	if (shut || stopping_) {
		gate_.shut(status);
		end_waiting(next_, status.code());
	}
	if (shut)
		modes_.page_failed(status);
	if (!stopping_) {
		phase_ = Phase::failing;
		dirty_.hasten_timer(retry_ms_);
		retry_ms_ = min_of(retry_ms_ * 2, kRetryLongestMs);
	}
	watcher_.commit_ended(status);
}

void Committer::retry()
{
	phase_ = Phase::idle;
	begin();
}

void Committer::give_up()
{
	rest();
	while (!next_.empty())
		end_without_space(next_.pop());
}

void Committer::hand_back()
{
	while (!next_.empty() && ph_may_requeue(host_))
		end_request(next_.pop(), PLOOP_END_REQUEUE);
	if (next_.empty())
		rest();
}

// Nobody waits for the round any more; the timer's does what there is to do.
void Committer::rest()
{
	if (phase_ == Phase::parked)
		phase_ = Phase::idle;
	wanted_ = false;
	arm_timer_if_needed();
}

void Committer::expire()
{
	while (!next_.empty() && policy_.expired(state(next_.first()).parked_at_ms, ph_now_ms()))
		end_without_space(next_.pop());
}

// The gate is shut before the flush ends (invariant 4): device-mapper forgets the
// error of a flush and sends the write that follows. One that nobody tries to lift
// would stay for ever.
void Committer::end_without_space(ploop_rq *rq)
{
	gate_.shut(Status::error(kENOSPC));
	must_hold(!gate_.is_open(), "4: no flush fails before the gate is shut");
	dirty_.arm_timer(DirtyPages::kCommitDelayMs);
	watcher_.tell_ended();
	end_request(rq, -kENOSPC);
}

void Committer::end_waiting(RequestQueue &queue, int error)
{
	must_hold(error == 0 || !gate_.is_open(), "4: no flush fails before the gate is shut");
	must_hold(error != 0 || phase_ == Phase::idle, "4: no flush succeeds before its commit");
	while (ploop_rq *rq = queue.pop())
		end_request(rq, error);
}

} // namespace ploop
