// SPDX-License-Identifier: GPL-2.0
// Writes that need a new cluster, where the submitter could not serve itself.
//
// Where the host keeps a mapping honest that is published before its data, a clean
// cluster of the pool is published at once, here as in `.map`. Otherwise, and for a
// write that covers a cluster that is not clean, a slot prepares the place, and the
// word follows the data:
//
//	         clean: open -------(first data is written)--> published
//	        /                                               ^  |
//	hole --+                                                |  v
//	        \                                               | slot is free when the
//	         not clean: exclusive (covers it) --(written)---+ last writer is done
//
// Only `open` lets more than one writer in; beside an exclusive one they queue. A slot
// whose writers all failed gives the place back.
//
// Everything here is the target's worker's.
#pragma once

#include "io/transfer.h"
#include "map/dirty_pages.h"
#include "map/pool.h"

namespace ploop {

// Who wants a cluster to be allocated, without data.
class PlaceUser {
public:
	// The request that allocate() was called for: it has a place now, or none.
	virtual void allocated(ploop_rq *rq, Status status) = 0;

protected:
	~PlaceUser() = default;
};

class NewPlaces final : public PoolUser {
public:
	NewPlaces(ploop_host *host, const Gate &gate, const DeltaStack &stack, Map &map,
		  Space &space, DirtyPages &dirty, Pool &pool, Transfers &transfers, Inbox &inbox,
		  Parking &parking, Endings &endings)
		: host_(host), gate_(gate), stack_(stack), map_(map), space_(space), dirty_(dirty),
		  pool_(pool), transfers_(transfers), inbox_(inbox), parking_(parking),
		  endings_(endings)
	{
	}
	NewPlaces(const NewPlaces &) = delete;
	NewPlaces &operator=(const NewPlaces &) = delete;

	// Begins a write, or begins it anew: it ends, parks, or comes back by
	// data_done().
	void start(ploop_rq *rq);
	// A range request wants this hole to get a place; @user is told.
	void allocate(ploop_rq *rq, VirtualCluster cluster, PlaceUser &user);
	// The data of a request with a slot was written, or not (state(rq).error).
	void data_done(ploop_rq *rq);
	// It brings back a clean cluster, because another published first.
	void lost(ploop_rq *rq);

	// Lets those in who waited.
	void run();
	// Nothing is under way.
	bool idle() const
	{
		return used_slots_ == 0 && waiting_slot_.empty() && waiting_place_.empty();
	}
	// Was anything begun that only the epoch knows of, since the last call?
	bool has_begun() { return std::exchange(begun_, false); }

private:
	static constexpr uint32_t kSlots = 64;

	enum class SlotState : uint8_t { unused, exclusive, open, published };

	struct Slot {
		SlotState state = SlotState::unused;
		VirtualCluster cluster;
		FileCluster place;
		MapWord before; // the word, without the slot
		uint32_t writers = 0;
		RequestQueue waiting;
	};

	void write_mapped(ploop_rq *rq, MapWord word);
	void write_hole(ploop_rq *rq);
	bool take_exclusive(const ploop_rq *rq, FileCluster &place);
	void publish(ploop_rq *rq, FileCluster place);
	void open_slot(Slot &slot, ploop_rq *rq, FileCluster place, SlotState how);
	void join(Slot &slot, ploop_rq *rq);
	void write_data(Slot &slot, ploop_rq *rq);
	void publish(Slot &slot);
	void leave(Slot &slot, Status status);
	void admit_waiting(Slot &slot);
	void drop(Slot &slot, Status why);
	void retire(Slot &slot);
	Slot *find_unused();
	void wait_for_place(ploop_rq *rq);
	void without_place(ploop_rq *rq, Status status);
	void pool_refilled(Status status) override;
	bool pool_may_try() const override;
	uint8_t index_of(const Slot &slot) const { return static_cast<uint8_t>(&slot - slots_); }

	ploop_host *host_;
	const Gate &gate_;
	const DeltaStack &stack_;
	Map &map_;
	Space &space_;
	DirtyPages &dirty_;
	Pool &pool_;
	Transfers &transfers_;
	Inbox &inbox_;
	Parking &parking_;
	Endings &endings_;

	Slot slots_[kSlots];
	uint32_t used_slots_ = 0;
	bool begun_ = false;
	PlaceUser *user_ = nullptr;  // of the range requests that wait
	RequestQueue waiting_slot_;  // for an unused slot
	RequestQueue waiting_place_; // for a clean cluster
};

} // namespace ploop
