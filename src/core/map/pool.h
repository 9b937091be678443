// SPDX-License-Identifier: GPL-2.0
// Clean clusters, ready to be taken in any context, and how there come to be more.
//
// A cluster is clean when it reads as zeros, durably so, inside the durable size of
// the file, is named by no entry on disk, and no I/O on it is under way. A few of
// them lie in a lockless ring; the rest is known to the Space. The worker refills
// ahead of need: free clusters that may hold anything are punched or zeroed, or the
// file grows; then a sync, without which none of it is durable.
//
//	idle -> cleaning ------------+-> syncing -> idle
//	     -> reserving -> growing-+
//
// Whoever takes in `.map` has entered the epoch before, and leaves it when its data
// has ended: so a closed pool, and a drained epoch, say that nobody holds any.
#pragma once

#include "base/mode.h"
#include "base/policy.h"
#include "map/delta_stack.h"
#include "map/operation.h"
#include "map/ring.h"

namespace ploop {

// Who waits for a clean cluster, in the room above.
class PoolUser {
public:
	// There are some again; or not, for this reason. The worker.
	virtual void pool_refilled(Status status) = 0;
	// Has who waits to be kept from the host, for want of space?
	virtual bool pool_may_try() const = 0;

protected:
	~PoolUser() = default;
};

class Pool {
public:
	Pool(ploop_host *host, Inbox &inbox, const Policy &policy, Modes &modes,
	     const DeltaStack &stack, Space &space, PoolUser &user)
		: host_(host), inbox_(inbox), policy_(policy), modes_(modes), stack_(stack),
		  space_(space), user_(user)
	{
	}
	Pool(const Pool &) = delete;
	Pool &operator=(const Pool &) = delete;

	// Once. Process context.
	Status create();

	// ---- Any context, inside an epoch ----

	// Takes a clean cluster; false if there is none at hand.
	bool take(FileCluster &cluster);
	// Puts one back that was not used; false if there is no room: then the worker
	// has to give() it.
	bool put_back(FileCluster cluster) { return ring_.put(cluster.raw()); }

	// ---- The worker ----

	void open();
	// Is it filled ahead of need? It is after open().
	void set_ahead(bool ahead) { ahead_ = ahead; }
	// From now on nobody takes any.
	void close() { closed_.store_relaxed(true); }
	// After the epoch has drained: all that is left is the Space's again.
	void empty();

	// Somebody waits, and is told by pool_refilled().
	void want() { wanted_ = true; }
	// Gives back one that was taken and is clean still.
	void give(FileCluster cluster) { space_.give(cluster, true); }
	// What is clean was made so under another policy.
	void forget_clean();
	// Fills up, and begins a step if there is need for one.
	void run();
	bool idle() const { return step_ == Step::idle; }
	// What is free in the file, and holds somebody's old bytes, is given back to the host
	// in the background, from soon on: what a suspend or a crash has left.
	void reclaim_later();
	// The timer of that has fired.
	void reclaim() { reclaiming_ = ahead_; }
	// About so many can be taken without a wait.
	uint32_t at_hand() const { return closed_.load_relaxed() ? 0 : ring_.count(); }
	// Taken from the Space, but by nobody yet.
	uint64_t held() const { return ring_.count() + cleaning_; }
	// Is the image on a block device that others have made larger? If so, the
	// space there is known now.
	bool extend_to_device();

private:
	static constexpr uint32_t kCells = 256;
	static constexpr uint32_t kRunsMost = 64; // of one sync
	static constexpr uint32_t kReclaimDelayMs = 1000;
	static constexpr uint64_t kStepMaxBytes = 128ull << 20;

	enum class Step : uint8_t { idle, cleaning, reserving, growing, syncing };

	bool needs_more() const;
	void clean_run(Run run);
	bool take_dirty(Run &run);
	void cleaned(Status status);
	void give_cleaned(bool clean);
	void begin_step();
	bool begin_cleaning();
	bool begin_growing();
	uint64_t most_at_once() const;
	uint64_t grow_bytes() const { return grow_to_ * stack_.geometry().cluster_bytes(); }
	void ended(Operation &operation, int64_t result);
	void sync();
	void synced(Status status);
	void failed(Status status);
	void tell_too_large();
	void fill();

	ploop_host *host_;
	Inbox &inbox_;
	const Policy &policy_;
	Modes &modes_;
	const DeltaStack &stack_;
	Space &space_;
	PoolUser &user_;

	Ring<HostAtomics, kCells> ring_;
	Atomic<bool> closed_{true};
	Atomic<bool> asked_;   // the worker was kicked, because little is left
	Atomic<uint32_t> low_; // fewer than so many in the ring are little

	Step step_ = Step::idle;
	bool wanted_ = false;	      // somebody waits
	bool ahead_ = true;	      // more is made before somebody waits
	bool demanded_ = false;	      // something was taken since the pool was opened
	bool starved_ = false;	      // the last step found no space
	bool told_too_large_ = false; // that the file cannot grow
	bool outdated_ = false;	      // the step under way began under another policy
	uint64_t sync_errors_since_ = 0;
	uint64_t at_once_ = 1; // clusters of the next step
	uint64_t grow_to_ = 0; // clusters
	Run runs_[kRunsMost];  // being cleaned, or clean but for the sync
	uint32_t nr_runs_ = 0;
	uint64_t cleaning_ = 0;	  // clusters in them
	bool reclaiming_ = false; // without anybody's need
	Operation operation_;
};

} // namespace ploop
