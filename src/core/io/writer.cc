// SPDX-License-Identifier: GPL-2.0
#include "io/writer.h"

#include "target/target.h"

namespace ploop {

Status Writer::create(ploop_host *host)
{
	for (Slot &slot : slots_)
		PLOOP_TRY(slot.operation.create(target_, host, on_prepared, index_of(slot)));
	return grow_.create(target_, host, on_grown);
}

bool Writer::idle() const
{
	return used_slots_ == 0 && waiting_slot_.empty() && waiting_space_.empty() &&
	       !grow_.running();
}

void Writer::start(ploop_rq *rq)
{
	if (const Status shut = target_.gate(); !shut.ok())
		return target_.finish(rq, shut);

	const MapWord word = target_.map_.get(target_.geometry_.cluster_of(target_.position(rq)));
	switch (word.state) {
	case MapState::mapped:
		// Nobody but us unmaps, so the word stays; the epoch protects what follows.
		rq->epoch = ph_epoch_enter(target_.host_);
		target_.overwritten_ = true;
		set_stage(rq, Stage::overwrite);
		return target_.submit(rq, word.cluster(), false);
	case MapState::pending:
		return join(slots_[word.index], rq);
	case MapState::hole:
		// Zeros into a hole are there already.
		if (ph_rq_is_zero(rq))
			return target_.finish(rq, {});
		return allocate(rq, target_.geometry_.cluster_of(target_.position(rq)));
	}
}

void Writer::join(Slot &slot, ploop_rq *rq)
{
	if (slot.state == SlotState::open)
		return write_data(slot, rq);
	slot.waiting.push(rq);
}

Writer::Slot *Writer::find_unused()
{
	for (Slot &slot : slots_) {
		if (slot.state == SlotState::unused)
			return &slot;
	}
	return nullptr;
}

void Writer::allocate(ploop_rq *rq, VirtualCluster cluster)
{
	FileCluster place;
	Slot *slot = find_unused();

	if (target_.outage_.blocks(rq))
		return no_space(rq);
	if (slot == nullptr)
		return waiting_slot_.push(rq);
	if (!target_.space_.take(place))
		return grow(rq);

	slot->cluster = cluster;
	slot->place = place;
	slot->writers = 0;
	used_slots_++;
	target_.map_.set(slot->cluster, MapWord::pending(index_of(*slot)));
	prepare(*slot, rq);
}

bool Writer::covers(const ploop_rq *rq) const
{
	return rq->nr_sectors == target_.geometry_.cluster_sectors();
}

// Makes the cluster zero where the write does not cover it (invariant 3).
void Writer::prepare(Slot &slot, ploop_rq *rq)
{
	const Geometry &geometry = target_.geometry_;
	const bool with_data = is_write(rq);
	const bool zero = target_.space_.is_zero(slot.place);

	slot.leader = rq;
	if (with_data && covers(rq) && !zero) {
		slot.state = SlotState::exclusive;
		return write_data(slot, rq);
	}
	if (with_data && zero) {
		slot.state = SlotState::open;
		return write_data(slot, rq);
	}
	slot.state = SlotState::preparing;
	// Space that was asked for (NOUNMAP, falloc_new_clu) is reserved, other is freed.
	const bool reserve = !with_data || target_.fallocate_new_.load_relaxed();
	slot.operation.start(reserve ? PLOOP_OP_ZERO : PLOOP_OP_PUNCH, target_.image_.file(),
			     geometry.offset_of(slot.place), geometry.cluster_bytes());
}

void Writer::on_prepared(Target &target, Operation &operation, int64_t result)
{
	Slot &slot = target.writer_.slots_[operation.argument()];

	if (operation.zero_otherwise(result))
		return;
	target.writer_.prepared(slot, Status::from(result));
}

void Writer::prepared(Slot &slot, Status status)
{
	ploop_rq *const leader = slot.leader;

	slot.leader = nullptr;
	if (!status.ok()) {
		drop(slot, status);
		return failed(leader, status);
	}
	target_.space_.set_zero(slot.place, true);
	slot.state = SlotState::open;
	if (is_write(leader)) {
		write_data(slot, leader);
	} else {
		publish(slot);
		target_.walker_.done({});
	}
	admit_waiting(slot);
	if (slot.writers == 0)
		retire(slot);
}

void Writer::write_data(Slot &slot, ploop_rq *rq)
{
	must_hold(slot.state == SlotState::open || slot.state == SlotState::published ||
			  (rq == slot.leader && covers(rq)),
		  "3: zero where it is not written");
	// From the first byte on, the cluster is no longer known to be zero.
	target_.space_.set_zero(slot.place, false);
	slot.writers++;
	rq->slot = index_of(slot);
	rq->epoch = ph_epoch_enter(target_.host_);
	set_stage(rq, Stage::first_data);
	target_.submit(rq, slot.place, false);
}

void Writer::data_done(ploop_rq *rq)
{
	Slot &slot = slots_[rq->slot];
	const Status status = Status::from(rq->error);

	rq->slot = kNoSlot;
	set_stage(rq, Stage::fresh);
	if (status.ok() && slot.state != SlotState::published)
		publish(slot);
	leave(slot, status);
	// After the publication: a write that was told to have succeeded is mapped.
	if (status.no_space())
		target_.outage_.park(rq);
	else
		target_.finish(rq, status);
}

void Writer::publish(Slot &slot)
{
	must_hold(target_.space_.is_used(slot.place), "2: what is mapped is not free");
	must_hold(slot.state != SlotState::preparing, "3: zero before it is mapped");
	slot.state = SlotState::published;
	target_.outage_.space_proved();
	target_.map_.set(slot.cluster, MapWord::mapped(Image::kLevel, slot.place));
	target_.committer_.mark_dirty(slot.cluster);
}

void Writer::leave(Slot &slot, Status status)
{
	slot.writers--;
	if (slot.state == SlotState::published)
		admit_waiting(slot);
	if (slot.writers > 0)
		return;
	if (slot.state == SlotState::published)
		retire(slot);
	else
		drop(slot, status);
}

// Those who waited find out anew what the cluster is now.
void Writer::admit_waiting(Slot &slot)
{
	while (ploop_rq *rq = slot.waiting.pop())
		target_.again(rq);
}

// Nobody could write into it: it was never mapped, in memory or on disk.
void Writer::drop(Slot &slot, Status why)
{
	target_.map_.set(slot.cluster, MapWord{});
	target_.space_.give(slot.place, false);
	if (!why.ok() && !why.no_space())
		target_.space_.avoid(slot.place);
	retire(slot);
}

void Writer::retire(Slot &slot)
{
	admit_waiting(slot);
	slot.state = SlotState::unused;
	slot.leader = nullptr;
	used_slots_--;
}

// Whoever gets its turn may find its cluster mapped, and leave the slot to the
// next: so this goes on until the slots are taken, not one for one.
void Writer::run()
{
	while (used_slots_ < kSlots && !waiting_slot_.empty()) {
		ploop_rq *const rq = waiting_slot_.pop();
		if (is_write(rq))
			start(rq);
		else
			target_.walker_.start(rq);
	}
}

void Writer::no_space(ploop_rq *rq)
{
	failed(rq, Status::error(kENOSPC));
}

void Writer::failed(ploop_rq *rq, Status status)
{
	if (!is_write(rq))
		return target_.walker_.done(status);
	if (status.no_space())
		return target_.outage_.park(rq);
	target_.finish(rq, status);
}

// ---- Growth ------------------------------------------------------------------

void Writer::grow(ploop_rq *rq)
{
	const uint64_t end = target_.space_.end();

	if (target_.image_.facts().block_device || end >= target_.space_.limit())
		return more_by_itself() ? target_.again(rq) : no_space(rq);
	waiting_space_.push(rq);
	if (grow_.running())
		return;

	grow_to_ = min_of(end + grow_step_, target_.space_.limit());
	const uint64_t from = end * target_.geometry_.cluster_bytes();
	if (target_.fallocate_new_.load_relaxed())
		grow_.start(PLOOP_OP_RESERVE, target_.image_.file(), from, grow_bytes() - from);
	else
		grow_.start(PLOOP_OP_TRUNCATE, target_.image_.file(), grow_bytes(), 0);
}

// A block device may be larger by now. And what the host could not write once, it
// may be able to; but whoever waits is not to be sent there, one after the other,
// each to end with that error.
bool Writer::more_by_itself()
{
	return target_.extend_to_device() ||
	       (!target_.outage_.active() && target_.space_.forget_avoided());
}

uint64_t Writer::grow_bytes() const
{
	return grow_to_ * target_.geometry_.cluster_bytes();
}

// Space is reserved behind the end first, then the size is set in one step: the
// file is a whole number of clusters at every instant.
void Writer::on_grown(Target &target, Operation &operation, int64_t result)
{
	const bool reserved = result >= 0 || result == -kEOPNOTSUPP;

	if (operation.kind() == PLOOP_OP_RESERVE && reserved)
		return operation.start(PLOOP_OP_TRUNCATE, target.image_.file(),
				       target.writer_.grow_bytes(), 0);
	target.writer_.grown(Status::from(result));
}

void Writer::grown(Status status)
{
	const uint64_t step_max =
		max_of<uint64_t>(1, kGrowMaxBytes / target_.geometry_.cluster_bytes());

	if (status.ok()) {
		target_.space_.grow(grow_to_);
		grow_step_ = min_of(grow_step_ * 2, step_max);
	} else if ((status.no_space() || status.code() == -kEFBIG) && grow_step_ > 1) {
		grow_step_ /= 2; // there may be room for less
	} else if (status.no_space()) {
		while (ploop_rq *rq = waiting_space_.pop())
			no_space(rq);
	} else {
		while (ploop_rq *rq = waiting_space_.pop())
			failed(rq, status);
	}
	while (ploop_rq *rq = waiting_space_.pop())
		target_.again(rq);
}

} // namespace ploop
