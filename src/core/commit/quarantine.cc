// SPDX-License-Identifier: GPL-2.0
#include "commit/quarantine.h"

namespace ploop {

Status Quarantine::create(uint64_t clusters)
{
	PLOOP_TRY(freeing_.allocate(clusters));
	PLOOP_TRY(punched_.allocate(clusters));
	operation_.report_syncs(modes_);
	return operation_.create<&Quarantine::ended>(*this, host_, inbox_);
}

bool Quarantine::add(FileCluster cluster)
{
	const bool first = unmapped_.empty();

	if (!unmapped_.push(cluster))
		return false;
	added_++;
	if (first)
		dirty_.hasten_timer(DirtyPages::kDiscardDelayMs);
	return true;
}

void Quarantine::forget()
{
	commit_failed();
	for (ClusterList *list : {&unmapped_, &durable_, &draining_}) {
		while (!list->empty())
			list->pop_first();
	}
	if (nr_freeing_ > 0)
		freeing_.clear_all();
	if (nr_punched_ > 0)
		punched_.clear_all();
	nr_freeing_ = nr_punched_ = 0;
	gone_ = added_;
	cursor_ = 0;
	runs_ = 0;
}

// Those that nobody can be using any more, in their places.
void Quarantine::collect(ClusterList &list)
{
	while (!list.empty()) {
		freeing_.set(list.pop_first().raw());
		nr_freeing_++;
	}
	cursor_ = 0;
}

void Quarantine::epoch_drained()
{
	flipping_ = false;
	collect(draining_);
}

void Quarantine::run()
{
	if (!flipping_ && (drain_wanted_ || !durable_.empty())) {
		draining_.splice(durable_);
		drain_wanted_ = false;
		flipping_ = true;
		ph_epoch_flip(host_);
	}
	if (step_ == Step::idle)
		begin_step();
}

// Gives the host its space back, run by run, and makes that durable.
void Quarantine::begin_step()
{
	if (!freeing_stopped_ && runs_ < kRunsMost && punch())
		return;
	if (nr_punched_ == 0)
		return;
	step_ = Step::syncing;
	operation_.start(PLOOP_OP_SYNC, stack_.top().file(), 0, 0);
}

bool Quarantine::punch()
{
	const Geometry &geometry = stack_.geometry();
	uint64_t first = nr_freeing_ == 0 ? freeing_.length()
					  : freeing_.find(true, cursor_, freeing_.length());

	if (first == freeing_.length())
		return false;
	const uint64_t end = freeing_.find(false, first, freeing_.length());
	run_ = {FileCluster(static_cast<uint32_t>(first)), static_cast<uint32_t>(end - first)};
	freeing_.clear_range(first, end);
	nr_freeing_ -= run_.length;
	cursor_ = end;
	if (runs_++ == 0)
		sync_errors_since_ = modes_.nr_sync_errors();
	step_ = Step::punching;
	operation_.start(PLOOP_OP_PUNCH, stack_.top().file(), geometry.offset_of(run_.first),
			 uint64_t{run_.length} * geometry.cluster_bytes());
	return true;
}

void Quarantine::ended(Operation &, int64_t result)
{
	const Step step = step_;

	step_ = Step::idle;
	switch (step) {
	case Step::punching:
		return punched(Status::from(result));
	case Step::syncing:
		return synced(Status::from(result));
	case Step::idle:
		return;
	}
}

// What could not be punched is free, but dirty.
void Quarantine::punched(Status status)
{
	const Run run = std::exchange(run_, {});

	if (status.ok()) {
		punched_.set_range(run.first.raw(), uint64_t{run.first.raw()} + run.length);
		nr_punched_ += run.length;
	} else {
		space_.give(run, false);
		gone_ += run.length;
		watcher_.space_came();
	}
	begin_step();
}

void Quarantine::synced(Status status)
{
	uint64_t first = 0;

	status = modes_.sync_result(status, sync_errors_since_);
	while (nr_punched_ > 0) {
		first = punched_.find(true, first, punched_.length());
		const uint64_t end = punched_.find(false, first, punched_.length());
		const uint32_t length = static_cast<uint32_t>(end - first);
		punched_.clear_range(first, end);
		space_.give({FileCluster(static_cast<uint32_t>(first)), length}, status.ok());
		nr_punched_ -= length;
		gone_ += length;
	}
	runs_ = 0;
	watcher_.space_came();
	begin_step();
}

} // namespace ploop
