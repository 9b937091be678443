// SPDX-License-Identifier: GPL-2.0
#include "commit/freer.h"

#include "target/target.h"

namespace ploop {

Status Freer::create(ploop_host *host)
{
	return punch_.create(target_, host, on_punched);
}

// The disk may still have the old entries: they wait for the next round.
void Freer::commit_failed()
{
	unmapped_.splice(committing_);
}

void Freer::forget()
{
	FileCluster first;
	uint32_t length = 0;

	commit_failed();
	while (!unmapped_.empty()) {
		unmapped_.pop_run(first, length);
		gone_ += length;
	}
}

void Freer::epoch_drained()
{
	flipping_ = false;
	freeing_.splice(draining_);
}

void Freer::run()
{
	if (!flipping_ && (drain_wanted_ || !durable_.empty())) {
		draining_.splice(durable_);
		drain_wanted_ = false;
		flipping_ = true;
		ph_epoch_flip(target_.host_);
	}
	if (!punch_.running() && !freeing_.empty())
		punch();
}

// Gives the host its space back; what could not be punched is free, but dirty.
void Freer::punch()
{
	const Geometry &geometry = target_.geometry_;

	freeing_.pop_run(run_first_, run_length_);
	punch_.start(PLOOP_OP_PUNCH, target_.image_.file(), geometry.offset_of(run_first_),
		     uint64_t{run_length_} * geometry.cluster_bytes());
}

void Freer::on_punched(Target &target, Operation &, int64_t result)
{
	target.freer_.punched(Status::from(result));
}

void Freer::punched(Status status)
{
	for (uint32_t i = 0; i < run_length_; i++)
		target_.space_.give(FileCluster(run_first_.raw() + i), status.ok());
	gone_ += run_length_;
	// By batches: who waits for space is tried again with all of one.
	if (freeing_.empty() || target_.outage_.active())
		target_.outage_.retry_now();
}

} // namespace ploop
