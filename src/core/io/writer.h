// SPDX-License-Identifier: GPL-2.0
// Writes that need new clusters: allocation, zeroing, growth, publication.
//
// A cluster being allocated has a slot while anyone writes into it for the
// first time:
//
//	           preparing --(zeroed)--+
//	          /                      v
//	allocate -- clean ------------> open --(first data is written)--> published
//	          \                                                          ^  |
//	           exclusive (covers all of it) ----(written)----------------+  v
//	                                                        slot is free when the
//	                                                        last writer is done
//
// Only `open` lets more than one writer in; in the other two states they queue.
// Publication maps the cluster. A slot whose writers all failed gives it back.
//
// Everything here is the target's worker's.
#pragma once

#include "base/request.h"
#include "map/operation.h"

namespace ploop {

class Target;

class Writer {
public:
	explicit Writer(Target &target) : target_(target) {}
	Writer(const Writer &) = delete;
	Writer &operator=(const Writer &) = delete;

	Status create(ploop_host *host);

	// Begins a write, or begins it anew: it ends, parks, or comes back by
	// data_done().
	void start(ploop_rq *rq);
	// Allocates the cluster for a request; one without data comes back by
	// RangeWalker::done().
	void allocate(ploop_rq *rq, VirtualCluster cluster);
	// The data of a request with a slot was written, or not (rq->error).
	void data_done(ploop_rq *rq);

	// Lets those in who waited for a slot.
	void run();
	// Nothing is under way.
	bool idle() const;

private:
	static constexpr uint32_t kSlots = 64;
	static constexpr uint64_t kGrowMaxBytes = 128ull << 20;

	enum class SlotState : uint8_t { unused, preparing, exclusive, open, published };

	struct Slot {
		SlotState state = SlotState::unused;
		VirtualCluster cluster;
		FileCluster place;
		uint32_t writers = 0;
		ploop_rq *leader = nullptr;
		RequestQueue waiting;
		Operation operation;
	};

	void join(Slot &slot, ploop_rq *rq);
	void prepare(Slot &slot, ploop_rq *rq);
	void write_data(Slot &slot, ploop_rq *rq);
	void prepared(Slot &slot, Status status);
	void publish(Slot &slot);
	void leave(Slot &slot, Status status);
	void admit_waiting(Slot &slot);
	void drop(Slot &slot, Status why);
	void retire(Slot &slot);
	Slot *find_unused();
	bool covers(const ploop_rq *rq) const; // of a write: all of a cluster
	void no_space(ploop_rq *rq);
	void failed(ploop_rq *rq, Status status);
	void grow(ploop_rq *rq);
	bool more_by_itself();
	uint64_t grow_bytes() const;
	void grown(Status status);
	uint32_t index_of(const Slot &slot) const { return static_cast<uint32_t>(&slot - slots_); }

	static void on_prepared(Target &target, Operation &operation, int64_t result);
	static void on_grown(Target &target, Operation &operation, int64_t result);

	Target &target_;
	Slot slots_[kSlots];
	uint32_t used_slots_ = 0;
	RequestQueue waiting_slot_;  // for an unused slot
	RequestQueue waiting_space_; // for the file to grow
	Operation grow_;
	uint64_t grow_step_ = 1; // clusters
	uint64_t grow_to_ = 0;
};

} // namespace ploop
