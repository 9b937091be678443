// SPDX-License-Identifier: GPL-2.0
#include "map/pool.h"

#include "base/text.h"

namespace ploop {

Status Pool::create()
{
	operation_.report_syncs(modes_);
	return operation_.create<&Pool::ended>(*this, host_, inbox_);
}

// ---- Any context -------------------------------------------------------------

bool Pool::take(FileCluster &cluster)
{
	uint32_t number = 0;

	// Whoever entered the epoch after close() and its flip sees it closed: the flip's
	// release pairs with the acquire in ph_epoch_enter().
	if (closed_.load_relaxed())
		return false;
	const bool taken = ring_.take(number);
	if (ring_.count() < low_.load_relaxed() && !asked_.load_relaxed() &&
	    !asked_.exchange_relaxed(true))
		inbox_.kick();
	cluster = FileCluster(number);
	return taken;
}

// ---- The worker --------------------------------------------------------------

void Pool::open()
{
	at_once_ = 1;
	wanted_ = demanded_ = starved_ = reclaiming_ = false;
	ahead_ = true;
	closed_.store_relaxed(false);
}

void Pool::empty()
{
	uint32_t number = 0;

	must_hold(closed_.load_relaxed(), "7: nobody takes what is trimmed");
	while (ring_.take(number))
		space_.give(FileCluster(number), true);
}

void Pool::forget_clean()
{
	uint32_t number = 0;

	while (ring_.take(number))
		space_.give(FileCluster(number), true);
	space_.forget_clean();
	starved_ = false;
	outdated_ = step_ != Step::idle;
}

void Pool::fill()
{
	FileCluster cluster;

	while (ring_.count() < kCells && space_.take_clean(cluster)) {
		if (!ring_.put(cluster.raw()))
			return space_.give(cluster, true);
	}
}

bool Pool::needs_more() const
{
	if (wanted_)
		return true;
	// Ahead of need: half a step is left, and nothing has failed.
	return reclaiming_ || (ahead_ && demanded_ && !starved_ && user_.pool_may_try() &&
			       (space_.nr_clean() + ring_.count()) * 2 < at_once_);
}

void Pool::run()
{
	if (closed_.load_relaxed())
		return;
	if (asked_.exchange_relaxed(false))
		demanded_ = true;
	fill();
	if (wanted_ && ring_.count() > 0) {
		wanted_ = false;
		demanded_ = true;
		user_.pool_refilled({});
	}
	if (step_ == Step::idle && needs_more())
		begin_step();
	low_.store_relaxed(static_cast<uint32_t>(
		min_of<uint64_t>(kCells / 2, ceil_div<uint64_t>(at_once_, 2))));
}

void Pool::begin_step()
{
	outdated_ = false;
	sync_errors_since_ = modes_.nr_sync_errors();
	if (reclaiming_ && !wanted_) {
		reclaiming_ = begin_cleaning();
		return;
	}
	demanded_ = true;
	if (begin_cleaning() || begin_growing())
		return;
	// What the host could not write once, it may be able to; but whoever waits is not to
	// be sent there, one after the other, each to end with that error.
	if (user_.pool_may_try() && space_.forget_avoided() && begin_cleaning())
		return;
	failed(Status::error(kENOSPC));
}

uint64_t Pool::most_at_once() const
{
	return max_of<uint64_t>(1, kStepMaxBytes / stack_.geometry().cluster_bytes());
}

bool Pool::begin_cleaning()
{
	Run run;

	if (!take_dirty(run) && (!extend_to_device() || !take_dirty(run)))
		return false;
	clean_run(run);
	return true;
}

bool Pool::take_dirty(Run &run)
{
	// To punch is cheap, to write zeros is not.
	const bool zeroes =
		stack_.top().facts().block_device || policy_.fallocate_new.load_relaxed();

	return space_.take_dirty(static_cast<uint32_t>(zeroes ? at_once_ : most_at_once()), run);
}

void Pool::clean_run(Run run)
{
	const Geometry &geometry = stack_.geometry();

	runs_[nr_runs_++] = run;
	cleaning_ += run.length;
	step_ = Step::cleaning;
	operation_.start(policy_.fallocate_new.load_relaxed() ? PLOOP_OP_ZERO : PLOOP_OP_PUNCH,
			 stack_.top().file(), geometry.offset_of(run.first),
			 uint64_t{run.length} * geometry.cluster_bytes());
}

// Where nobody waits, one sync is for many runs.
void Pool::cleaned(Status status)
{
	Run run;

	if (!status.ok())
		return failed(status);
	if (reclaiming_ && !wanted_ && nr_runs_ < kRunsMost && take_dirty(run))
		return clean_run(run);
	sync();
}

void Pool::give_cleaned(bool clean)
{
	while (nr_runs_ > 0)
		space_.give(runs_[--nr_runs_], clean);
	cleaning_ = 0;
}

void Pool::reclaim_later()
{
	if (!stack_.top().facts().block_device && space_.has_dirty())
		ph_timer_arm(host_, PLOOP_TIMER_FREE, kReclaimDelayMs);
}

bool Pool::extend_to_device()
{
	return stack_.top().facts().block_device && space_.extend(stack_.top().clusters_now());
}

// Space is reserved behind the end first, then the size is set in one step: the file
// is a whole number of clusters at every instant.
bool Pool::begin_growing()
{
	const uint64_t end = space_.end();

	if (stack_.top().facts().block_device || end >= space_.limit())
		return false;
	grow_to_ = min_of(end + at_once_, space_.limit());
	if (policy_.fallocate_new.load_relaxed()) {
		const uint64_t from = end * stack_.geometry().cluster_bytes();
		step_ = Step::reserving;
		operation_.start(PLOOP_OP_RESERVE, stack_.top().file(), from, grow_bytes() - from);
	} else {
		step_ = Step::growing;
		operation_.start(PLOOP_OP_TRUNCATE, stack_.top().file(), grow_bytes(), 0);
	}
	return true;
}

void Pool::ended(Operation &operation, int64_t result)
{
	const Status status = Status::from(result);

	switch (step_) {
	case Step::cleaning:
		if (operation.zero_otherwise(result))
			return;
		return cleaned(status);
	case Step::reserving:
		if (!status.ok() && status.code() != -kEOPNOTSUPP)
			return failed(status);
		step_ = Step::growing;
		return operation.start(PLOOP_OP_TRUNCATE, stack_.top().file(), grow_bytes(), 0);
	case Step::growing:
		return status.ok() ? sync() : failed(status);
	case Step::syncing:
		return synced(status);
	case Step::idle:
		return;
	}
}

void Pool::sync()
{
	step_ = Step::syncing;
	operation_.start(PLOOP_OP_SYNC, stack_.top().file(), 0, 0);
}

void Pool::synced(Status status)
{
	status = modes_.sync_result(status, sync_errors_since_);
	if (!status.ok())
		return failed(status);
	step_ = Step::idle;
	starved_ = told_too_large_ = false;
	if (nr_runs_ > 0)
		give_cleaned(true);
	else
		space_.grow(grow_to_);
	if (outdated_)
		forget_clean();
	// Others have their turn between two batches that nobody waits for.
	if (std::exchange(reclaiming_, false))
		reclaim_later();
	else
		at_once_ = min_of(at_once_ * 2, most_at_once());
	run();
}

// Once per want: until something could be made again.
void Pool::tell_too_large()
{
	char line[160];
	Text text(line, sizeof(line));

	if (std::exchange(told_too_large_, true))
		return;
	text << "the image cannot grow beyond " << space_.end() << " clusters of "
	     << (stack_.geometry().cluster_bytes() >> 10)
	     << " KiB: too large a file for the file system below";
	ph_log(host_, PLOOP_LOG_ERROR, line);
}

void Pool::failed(Status status)
{
	const bool was_sync = step_ == Step::syncing;
	const bool growing = step_ == Step::growing || step_ == Step::reserving;

	step_ = Step::idle;
	if (nr_runs_ > 0) {
		const Run last = runs_[nr_runs_ - 1];
		give_cleaned(false);
		if (!status.no_space() && !was_sync)
			space_.avoid(last.first);
	}
	if (std::exchange(reclaiming_, false) && !wanted_)
		return;

	// There may be room for less.
	if ((status.no_space() || (growing && status.code() == -kEFBIG)) && at_once_ > 1) {
		at_once_ /= 2;
		return run();
	}
	starved_ = true;
	if (!std::exchange(wanted_, false))
		return;
	if (growing && status.code() == -kEFBIG)
		tell_too_large();
	user_.pool_refilled(status);
}

} // namespace ploop
