// SPDX-License-Identifier: GPL-2.0
// The commit: how published mappings become durable, and what waits for it.
//
// A round, whatever the number of dirty pages:
//	(1) only with unsynced words: fdatasync; what was unsynced when it began is synced
//	(2) one pass over the dirty pages: fresh and synced words go in round and are
//	    copied, an unsynced one is copied as what the disk has, and its page stays
//	    dirty; the copies are written, a batch at a time
//	(3) fdatasync: what is in round is durable
// and then the flushes end that were there when it began, and the quarantine that was
// there then is let go. A round without a dirty page is one fdatasync.
//
//	idle -> data_sync -> write_pages -> map_sync -> idle
//	        any of them -- no space --> parked -- retry() --> from the start
//	        a page or a passing error -> failing -- timer --> from the start
//
// A page that could not be written has lost nothing: memory has all of it. So the gate
// is shut with that error, and the round is tried again until it succeeds. What a sync
// tells, once, of data that may be gone, is for ever.
//
// Everything here is the target's worker's, but for the flushes of Flushes.
#pragma once

#include "base/gate.h"
#include "base/mode.h"
#include "base/policy.h"
#include "commit/quarantine.h"
#include "map/dirty_pages.h"
#include "map/map.h"
#include "map/operation.h"

namespace ploop {

class Committer {
public:
	Committer(ploop_host *host, Inbox &inbox, const Policy &policy, Gate &gate, Modes &modes,
		  const DeltaStack &stack, Map &map, DirtyPages &dirty, Quarantine &quarantine,
		  CommitWatcher &watcher)
		: host_(host), inbox_(inbox), policy_(policy), gate_(gate), modes_(modes),
		  stack_(stack), map_(map), dirty_(dirty), quarantine_(quarantine),
		  watcher_(watcher)
	{
	}
	Committer(const Committer &) = delete;
	Committer &operator=(const Committer &) = delete;
	~Committer();

	// Once. Process context.
	Status create(uint32_t pages);

	// The request ends when a round that begins from now on has ended.
	void join(ploop_rq *rq);
	// A round is to begin even if nobody waits.
	void want() { wanted_ = true; }
	// From now on the rounds belong to the stop, or not any more.
	void set_stopping(bool stopping) { stopping_ = stopping; }

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
		return next_.empty() ? 0 : state(next_.first()).parked_at_ms;
	}

	bool idle() const { return phase_ == Phase::idle && next_.empty() && !wanted_; }
	bool running() const
	{
		switch (phase_) {
		case Phase::data_sync:
		case Phase::write_pages:
		case Phase::map_sync:
			return true;
		case Phase::idle:
		case Phase::failing:
		case Phase::parked:
			return false;
		}
		return false;
	}
	bool waiting() const { return !next_.empty(); }
	// How the last round ended.
	Status last_status() const { return last_status_; }
	// The background timer has fired.
	void timer_fired();
	// After the worker was quiet, with a resume.
	void restart();

private:
	static constexpr uint32_t kBatch = 16;
	static constexpr uint32_t kRetryFirstMs = 100;
	static constexpr uint32_t kRetryLongestMs = 5000;

	enum class Phase : uint8_t { idle, data_sync, write_pages, map_sync, failing, parked };

	void arm_timer_if_needed();
	void rest();
	void end_without_space(ploop_rq *rq);
	void begin();
	bool begin_data_sync();
	void write_pages();
	void copy_batch();
	void start_page(uint32_t i);
	void page_written(Status status);
	void start_sync(Phase phase);
	void succeed();
	void fail(Status status);
	void put_pages_back();
	void try_later(Status status, bool shut);
	void end_waiting(RequestQueue &queue, int error);
	void on_page(Operation &operation, int64_t result);
	void on_sync(Operation &operation, int64_t result);

	ploop_host *host_;
	Inbox &inbox_;
	const Policy &policy_;
	Gate &gate_;
	Modes &modes_;
	const DeltaStack &stack_;
	Map &map_;
	DirtyPages &dirty_;
	Quarantine &quarantine_;
	CommitWatcher &watcher_;

	Phase phase_ = Phase::idle;
	bool wanted_ = false;
	bool stopping_ = false;
	Bitmap in_round_; // pages that this round has copied
	uint32_t nr_in_round_ = 0;
	FewWords copied_;	  // words that this round has copied
	uint32_t sweep_ = 0;	  // the next page to look at
	uint64_t gate_since_ = 0; // Gate::nr_shut() when the round began
	uint64_t sync_errors_since_ = 0;
	RequestQueue next_;  // flushes for the next round
	RequestQueue round_; // those of this one
	Operation sync_;
	Operation pages_[kBatch];
	char *copies_ = nullptr; // kBatch pages
	uint32_t batch_[kBatch] = {};
	uint32_t batch_count_ = 0;
	uint32_t batch_running_ = 0;
	uint32_t batch_tries_ = 0;
	uint32_t retry_ms_ = kRetryFirstMs;
	Status batch_status_;
	Status last_status_;
};

} // namespace ploop
