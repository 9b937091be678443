// SPDX-License-Identifier: GPL-2.0
#include "commit/committer.h"

#include "target/target.h"

namespace ploop {

namespace {

constexpr uint32_t kTriesPerPage = 8; // a write cut short is repeated, not for ever

} // namespace

Committer::~Committer()
{
	ph_free(copies_);
}

Status Committer::create(ploop_host *host, uint32_t pages)
{
	static_assert(kBatch * kBatPageBytes <= PLOOP_ALLOC_MAX);
	copies_ = static_cast<char *>(ph_alloc(kBatch * kBatPageBytes));
	if (copies_ == nullptr)
		return Status::error(kENOMEM);
	PLOOP_TRY(dirty_.allocate(pages));
	PLOOP_TRY(in_round_.allocate(pages));
	for (uint32_t i = 0; i < kBatch; i++)
		PLOOP_TRY(pages_[i].create(target_, host, on_page, i));
	return sync_.create(target_, host, on_sync);
}

void Committer::join(ploop_rq *rq)
{
	if (target_.failed())
		return end_request(rq, target_.gate().code());
	rq->parked_at_ms = ph_now_ms();
	next_.push(rq);
	if (parked())
		target_.outage_.arm_expire();
}

void Committer::mark_dirty(VirtualCluster cluster)
{
	const uint32_t page = bat_page_of(cluster);

	if (dirty_.test(page))
		return;
	dirty_.set(page);
	nr_dirty_++;
	arm_timer();
}

void Committer::arm_timer()
{
	if (timer_armed_)
		return;
	timer_armed_ = true;
	ph_timer_arm(target_.host_, PLOOP_TIMER_COMMIT, Target::kCommitDelayMs);
}

void Committer::arm_timer_if_needed()
{
	if (nr_dirty_ > 0 || target_.freer_.needs_commit() || !target_.gate().ok())
		arm_timer();
}

void Committer::timer_fired()
{
	timer_armed_ = false;
	// The last commit of a suspend is its own; none begins behind it.
	if (phase_ != Phase::parked && !target_.stopping())
		wanted_ = true;
}

void Committer::run()
{
	if (phase_ != Phase::idle || (!wanted_ && next_.empty()))
		return;
	if (target_.failed()) {
		wanted_ = false;
		return end_waiting(next_, target_.gate().code());
	}
	begin();
}

void Committer::begin()
{
	wanted_ = false;
	sweep_ = 0;
	in_round_.clear_all();
	round_.splice(next_);
	// What was unmapped until here is in none of the copies of this round.
	target_.freer_.commit_begins();
	next_batch();
}

void Committer::next_batch()
{
	copy_batch();
	data_is_durable_ = false;
	phase_ = batch_count_ > 0 ? Phase::data_sync : Phase::map_sync;
	sync_.start(PLOOP_OP_SYNC, target_.image_.file(), 0, 0);
}

// Step (1). The entries are those of clusters whose data has been written.
void Committer::copy_batch()
{
	batch_count_ = 0;
	while (batch_count_ < kBatch) {
		const uint64_t page = dirty_.find(true, sweep_, dirty_.length());
		sweep_ = page + 1;
		if (page == dirty_.length())
			return;
		dirty_.clear(page);
		nr_dirty_--;
		in_round_.set(page);
		batch_[batch_count_] = static_cast<uint32_t>(page);
		target_.map_.copy_page(batch_[batch_count_], Image::kLevel,
				       reinterpret_cast<uint32_t *>(
					       copies_ + size_t{batch_count_} * kBatPageBytes));
		batch_count_++;
	}
}

void Committer::on_sync(Target &target, Operation &, int64_t result)
{
	target.committer_.synced(Status::from(result));
}

void Committer::synced(Status status)
{
	if (!status.ok())
		return fail(status);
	if (phase_ == Phase::map_sync)
		return succeed();
	data_is_durable_ = true;
	write_batch();
}

// Step (3). The header's bytes are not ours to write: page 0 begins behind it, and
// goes through the page cache, where it may share a folio with the pages behind
// it that somebody has read there: so it is written when those have been.
void Committer::write_batch()
{
	phase_ = Phase::write_pages;
	batch_status_ = {};
	batch_tries_ = 0;
	batch_running_ = batch_count_;
	page_0_waits_ = batch_count_ > 1 && batch_[0] == 0;
	for (uint32_t i = page_0_waits_ ? 1 : 0; i < batch_count_; i++)
		start_page(i);
}

void Committer::start_page(uint32_t i)
{
	char *const copy = copies_ + size_t{i} * kBatPageBytes;
	const uint64_t offset = uint64_t{batch_[i]} * kBatPageBytes;

	must_hold(data_is_durable_, "1: data before map");

	if (offset == 0)
		pages_[i].start(PLOOP_OP_WRITE_BUFFERED, target_.image_.file(), kHeaderBytes,
				kBatPageBytes - kHeaderBytes, copy + kHeaderBytes);
	else
		pages_[i].start(PLOOP_OP_WRITE, target_.image_.file(), offset, kBatPageBytes, copy);
}

void Committer::on_page(Target &target, Operation &operation, int64_t result)
{
	Committer &self = target.committer_;

	const bool cut_short = result > 0 && static_cast<uint64_t>(result) < operation.bytes();

	if ((cut_short || result == -kENOMEM) && self.batch_tries_++ < kTriesPerPage * kBatch)
		return self.start_page(operation.argument());
	if (result >= 0 && static_cast<uint64_t>(result) != operation.bytes())
		result = -kEIO;
	self.page_written(Status::from(result));
}

void Committer::page_written(Status status)
{
	// An error that is for ever tells more than a want of space.
	if (!status.ok() && (batch_status_.ok() || batch_status_.no_space()))
		batch_status_ = status;
	batch_running_--;
	if (batch_running_ == 1 && std::exchange(page_0_waits_, false))
		return start_page(0);
	if (batch_running_ > 0)
		return;
	if (!batch_status_.ok())
		return fail(batch_status_);
	next_batch();
}

void Committer::succeed()
{
	phase_ = Phase::idle;
	last_status_ = {};
	target_.open_gate();
	target_.outage_.space_proved();
	target_.freer_.commit_succeeded();
	// What was unmapped during the round may be of a page that it wrote afterwards.
	arm_timer_if_needed();
	end_waiting(round_, 0);
	target_.outage_.commit_ended({});
}

void Committer::fail(Status status)
{
	last_status_ = status;
	phase_ = Phase::idle;
	// The next round writes all of this one's pages again.
	for (uint64_t page = in_round_.find(true, 0, in_round_.length()); page < in_round_.length();
	     page = in_round_.find(true, page + 1, in_round_.length())) {
		if (!dirty_.test(page)) {
			dirty_.set(page);
			nr_dirty_++;
		}
	}
	target_.freer_.commit_failed();
	round_.splice(next_);
	next_.splice(round_);

	if (!status.no_space()) {
		target_.fail(status);
		end_waiting(next_, target_.gate().code());
		return target_.outage_.commit_ended(status);
	}
	if (target_.stopping() || target_.suspending() == Suspending::flush ||
	    target_.error_if_no_space_.load_relaxed()) {
		give_up();
		return target_.outage_.commit_ended(status);
	}
	phase_ = Phase::parked;
	wanted_ = false;
	if (target_.suspending() == Suspending::noflush)
		hand_back();
	target_.outage_.commit_ended(status);
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
	while (!next_.empty() && ph_may_requeue(target_.host_))
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
	while (!next_.empty() && target_.outage_.expired(next_.first()->parked_at_ms))
		end_without_space(next_.pop());
}

// The latch is set before the flush ends (invariant 4): device-mapper forgets the
// error of a flush and sends the write that follows. One that nobody tries to lift
// would stay for ever.
void Committer::end_without_space(ploop_rq *rq)
{
	target_.latch(Status::error(kENOSPC));
	must_hold(!target_.gate().ok(), "4: no flush fails before the gate is shut");
	arm_timer();
	target_.outage_.tell_ended();
	end_request(rq, -kENOSPC);
}

void Committer::end_waiting(RequestQueue &queue, int error)
{
	must_hold(error == 0 || !target_.gate().ok(), "4: no flush fails before the gate is shut");
	must_hold(error != 0 || phase_ == Phase::idle, "4: no flush succeeds before its commit");
	while (ploop_rq *rq = queue.pop())
		end_request(rq, error);
}

} // namespace ploop
