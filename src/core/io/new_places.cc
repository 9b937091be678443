// SPDX-License-Identifier: GPL-2.0
#include "io/new_places.h"

namespace ploop {

void NewPlaces::start(ploop_rq *rq)
{
	if (const Status shut = gate_.status(); !shut.ok())
		return endings_.finish(rq, shut);

	const MapWord word = map_.get(stack_.cluster_of(rq));
	switch (word.state) {
	case MapState::fresh:
	case MapState::unsynced:
	case MapState::syncing:
	case MapState::in_round:
	case MapState::durable:
		return write_mapped(rq, word);
	case MapState::slot:
		return join(slots_[word.slot], rq);
	case MapState::hole:
		return write_hole(rq);
	case MapState::lower:
		// Only a stack of several deltas has such words.
		return endings_.finish(rq, Status::error(kEIO));
	}
}

// Nobody but the worker unmaps, so the word stays; the epoch protects what follows.
void NewPlaces::write_mapped(ploop_rq *rq, MapWord word)
{
	if (word.state == MapState::fresh) {
		dirty_.mark(stack_.cluster_of(rq)); // its publisher may not have, yet
		set_mark(rq, kMarkFirst);
	}
	state(rq).epoch = ph_epoch_enter(host_);
	begun_ = true;
	transfers_.start(rq, word, Stage::overwrite, false);
}

void NewPlaces::write_hole(ploop_rq *rq)
{
	const bool honest = stack_.top().facts().zeros_honest;
	FileCluster place;

	// Zeros into a hole are there already; FUA asks whether durably so.
	if (ph_rq_is_zero(rq))
		return endings_.finish(rq, {});
	if (parking_.holds_back(rq)) {
		set_mark(rq, kMarkUntried);
		return parking_.park(rq);
	}
	Slot *const slot = find_unused();
	if (pool_.take(place)) {
		if (honest)
			return publish(rq, place);
		if (slot != nullptr)
			return open_slot(*slot, rq, place, SlotState::open);
		pool_.give(place);
		return waiting_slot_.push(rq);
	}
	// No need to make clean what the write covers.
	if (slot != nullptr && take_exclusive(rq, place))
		return open_slot(*slot, rq, place, SlotState::exclusive);
	wait_for_place(rq);
}

bool NewPlaces::take_exclusive(const ploop_rq *rq, FileCluster &place)
{
	Run run;

	if (!stack_.covers_cluster(rq) || !space_.take_dirty(1, run))
		return false;
	place = run.first;
	return true;
}

// Before the data: until that is written the cluster reads as the hole did.
void NewPlaces::publish(ploop_rq *rq, FileCluster place)
{
	MapWord word = MapWord::at(MapState::fresh, stack_.top().id(), place);

	if (!map_.publish(stack_.cluster_of(rq), word)) {
		pool_.give(place);
		return start(rq);
	}
	write_mapped(rq, word);
}

void NewPlaces::lost(ploop_rq *rq)
{
	pool_.give(FileCluster(state(rq).place));
	set_stage(rq, Stage::fresh);
	start(rq);
}

// ---- Slots -------------------------------------------------------------------

NewPlaces::Slot *NewPlaces::find_unused()
{
	if (used_slots_ == kSlots)
		return nullptr;
	for (Slot &slot : slots_) {
		if (slot.state == SlotState::unused)
			return &slot;
	}
	return nullptr;
}

void NewPlaces::open_slot(Slot &slot, ploop_rq *rq, FileCluster place, SlotState how)
{
	MapWord word = MapWord{}.with_slot(index_of(slot));

	slot.cluster = stack_.cluster_of(rq);
	slot.place = place;
	slot.writers = 0;
	if (!map_.publish(slot.cluster, word)) {
		// Somebody published in `.map`.
		space_.give(place, how == SlotState::open);
		return start(rq);
	}
	slot.before = MapWord{};
	slot.state = how;
	used_slots_++;
	write_data(slot, rq);
}

void NewPlaces::join(Slot &slot, ploop_rq *rq)
{
	if (slot.state == SlotState::open)
		return write_data(slot, rq);
	slot.waiting.push(rq);
}

void NewPlaces::write_data(Slot &slot, ploop_rq *rq)
{
	must_hold(slot.state == SlotState::open || slot.state == SlotState::published ||
			  (slot.writers == 0 && stack_.covers_cluster(rq)),
		  "3: zero where it is not written");
	slot.writers++;
	state(rq).slot = index_of(slot);
	state(rq).epoch = ph_epoch_enter(host_);
	transfers_.start(rq, MapWord::at(MapState::slot, stack_.top().id(), slot.place),
			 Stage::first_data, false);
}

void NewPlaces::data_done(ploop_rq *rq)
{
	Slot &slot = slots_[state(rq).slot];
	const Status status = Status::from(state(rq).error);

	state(rq).slot = kNoSlot;
	set_stage(rq, Stage::fresh);
	if (status.ok() && slot.state != SlotState::published)
		publish(slot);
	leave(slot, status);
	// After the publication: a write that was told to have succeeded is mapped.
	if (status.no_space())
		parking_.park(rq);
	else
		endings_.finish(rq, status);
}

// After the data, which no sync has made durable yet.
void NewPlaces::publish(Slot &slot)
{
	must_hold(space_.is_used(slot.place), "2: what is mapped is not free");
	slot.state = SlotState::published;
	parking_.space_proved();
	dirty_.mark(slot.cluster);
	map_.note_unsynced();
	map_.set(slot.cluster, MapWord::at(MapState::unsynced, stack_.top().id(), slot.place));
}

void NewPlaces::leave(Slot &slot, Status status)
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
void NewPlaces::admit_waiting(Slot &slot)
{
	while (ploop_rq *rq = slot.waiting.pop())
		inbox_.again(rq);
}

// Nobody could write into it: it was never mapped, in memory or on disk.
void NewPlaces::drop(Slot &slot, Status why)
{
	map_.set(slot.cluster, slot.before);
	space_.give(slot.place, false);
	if (!why.ok() && !why.no_space())
		space_.avoid(slot.place);
	retire(slot);
}

void NewPlaces::retire(Slot &slot)
{
	admit_waiting(slot);
	slot.state = SlotState::unused;
	used_slots_--;
}

// ---- Waiting -----------------------------------------------------------------

void NewPlaces::wait_for_place(ploop_rq *rq)
{
	waiting_place_.push(rq);
	pool_.want();
}

// Whoever gets its turn may find its cluster mapped, and leave what it waited for to
// the next: so this goes on until nothing is left, not one for one.
void NewPlaces::run()
{
	while (used_slots_ < kSlots && !waiting_slot_.empty())
		start(waiting_slot_.pop());
	for (uint32_t n = pool_.at_hand(); n > 0 && !waiting_place_.empty(); n--)
		inbox_.again(waiting_place_.pop());
	if (!waiting_place_.empty())
		pool_.want();
}

void NewPlaces::pool_refilled(Status status)
{
	if (status.ok())
		return run();
	while (ploop_rq *rq = waiting_place_.pop())
		without_place(rq, status);
}

void NewPlaces::without_place(ploop_rq *rq, Status status)
{
	if (!is_write(rq))
		return user_->allocated(rq, status);
	if (status.no_space())
		return parking_.park(rq);
	endings_.finish(rq, status);
}

// In an outage the probe alone may try.
bool NewPlaces::pool_may_try() const
{
	return !parking_.holds_back(nullptr);
}

// ---- Without data ------------------------------------------------------------

void NewPlaces::allocate(ploop_rq *rq, VirtualCluster cluster, PlaceUser &user)
{
	MapWord word = MapWord::at(MapState::fresh, stack_.top().id(), FileCluster());

	user_ = &user;
	if (parking_.holds_back(rq)) {
		set_mark(rq, kMarkUntried);
		return user.allocated(rq, Status::error(kENOSPC));
	}
	if (!pool_.take(word.cluster))
		return wait_for_place(rq);
	const FileCluster place = word.cluster;
	if (map_.publish(cluster, word))
		dirty_.mark(cluster);
	else
		pool_.give(place); // somebody writes into it: that allocates, too
	user.allocated(rq, {});
}

} // namespace ploop
