// SPDX-License-Identifier: GPL-2.0
// The commit: how published mappings become durable, and what waits for it.
//
// A round sweeps the BAT once, in batches:
//	(1) copy the published entries of up to kBatch dirty pages
//	(2) fdatasync: the data of these entries is durable
//	(3) write the copies
//	... next batch, until the sweep has seen every page
//	(4) fdatasync: the entries are durable
// and then ends the flushes that were there when it began, and lets go of the
// quarantine that was there then. A page changed after its copy stays dirty. A
// round without a dirty page is one fdatasync.
//
// Everything here is the target's worker's.
#pragma once

#include "base/bitmap.h"
#include "base/request.h"
#include "map/map.h"
#include "map/operation.h"

namespace ploop {

class Target;

class Committer {
public:
	explicit Committer(Target &target) : target_(target) {}
	Committer(const Committer &) = delete;
	Committer &operator=(const Committer &) = delete;
	~Committer();

	Status create(ploop_host *host, uint32_t pages);

	// The request ends when a round that begins from now on has ended.
	void join(ploop_rq *rq);
	// A round is to begin even if nobody waits.
	void want() { wanted_ = true; }
	// The entry of the cluster changed: its page is dirty from now on.
	void mark_dirty(VirtualCluster cluster);

	// Begins a round if there is reason for one.
	void run();
	// Is a round waiting for space? Then retry() begins it again.
	bool parked() const { return phase_ == Phase::parked; }
	void retry();
	// Ends the waiting flushes, for want of space.
	void give_up();
	// Hands the waiting flushes back, as long as device-mapper takes them.
	void hand_back();
	// Ends those flushes that have waited for space as long as they should.
	void expire();
	// Since when the oldest flush waits for the next round; 0: none does.
	uint64_t waiting_since_ms() const
	{
		return next_.empty() ? 0 : next_.first()->parked_at_ms;
	}

	bool idle() const { return phase_ == Phase::idle && next_.empty() && !wanted_; }
	bool running() const { return phase_ != Phase::idle && phase_ != Phase::parked; }
	bool waiting() const { return !next_.empty(); }
	uint32_t dirty_pages() const { return nr_dirty_; }
	// While the worker is quiet: the dirty pages, for who takes them over.
	Bitmap &hand_over()
	{
		nr_dirty_ = 0;
		return dirty_;
	}
	// After the worker was quiet: its timers were stopped.
	void restart() { timer_armed_ = false; }
	// How the last round ended.
	Status last_status() const { return last_status_; }
	// The background timer has fired.
	void timer_fired();

private:
	static constexpr uint32_t kBatch = 16;

	enum class Phase : uint8_t { idle, data_sync, write_pages, map_sync, parked };

	void arm_timer();
	void arm_timer_if_needed();
	void rest();
	void end_without_space(ploop_rq *rq);
	void begin();
	void next_batch();
	void copy_batch();
	void write_batch();
	void start_page(uint32_t i);
	void page_written(Status status);
	void synced(Status status);
	void succeed();
	void fail(Status status);
	void end_waiting(RequestQueue &queue, int error);

	static void on_page(Target &target, Operation &operation, int64_t result);
	static void on_sync(Target &target, Operation &operation, int64_t result);

	Target &target_;
	Phase phase_ = Phase::idle;
	bool wanted_ = false;
	bool timer_armed_ = false;
	Bitmap dirty_;	  // pages that differ from what is on disk
	Bitmap in_round_; // pages that this round has copied
	uint32_t nr_dirty_ = 0;
	uint64_t sweep_ = 0; // the next page to look at
	RequestQueue next_;  // flushes for the next round
	RequestQueue round_; // those of this one
	Operation sync_;
	Operation pages_[kBatch];
	char *copies_ = nullptr; // kBatch pages
	uint32_t batch_[kBatch] = {};
	uint32_t batch_count_ = 0;
	uint32_t batch_running_ = 0;
	bool data_is_durable_ = false; // of this batch's entries
	bool page_0_waits_ = false;    // for the others of the batch
	uint32_t batch_tries_ = 0;
	Status batch_status_;
	Status last_status_;
};

} // namespace ploop
