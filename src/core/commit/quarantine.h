// SPDX-License-Identifier: GPL-2.0
// The quarantine: a cluster that was unmapped is used again only when
//	(a) the BAT without it is durable, and
//	(b) all I/O begun before it was unmapped has ended,
// and it was given back to the host, and that is durable, so that it reads as zeros.
// Where the host could not do that, it is free, but dirty.
//
//	unmapped -> committing -> durable -> draining -> freeing -> punched -> free
//
// What is to be freed is sorted by place, and punched in long runs: a file system may
// have to wait for all direct I/O of the file at each.
//
// Everything here is the target's worker's.
#pragma once

#include "base/bitmap.h"
#include "base/mode.h"
#include "commit/upward.h"
#include "io/upward.h"
#include "map/cluster_list.h"
#include "map/delta_stack.h"
#include "map/dirty_pages.h"
#include "map/operation.h"

namespace ploop {

class Quarantine final : public Unmapped {
public:
	Quarantine(ploop_host *host, Inbox &inbox, Modes &modes, const DeltaStack &stack,
		   Space &space, DirtyPages &dirty, CommitWatcher &watcher)
		: host_(host), inbox_(inbox), modes_(modes), stack_(stack), space_(space),
		  dirty_(dirty), watcher_(watcher)
	{
	}
	Quarantine(const Quarantine &) = delete;
	Quarantine &operator=(const Quarantine &) = delete;

	// Once; @clusters: as many as the Space knows. Process context.
	Status create(uint64_t clusters);

	// The cluster is about to be unmapped. False: no memory to remember it.
	bool add(FileCluster cluster) override;

	void commit_begins() { committing_.splice(unmapped_); }
	// The disk may still have the old entries: they wait for the next round.
	void commit_failed() { unmapped_.splice(committing_); }
	void commit_succeeded() { durable_.splice(committing_); }

	// Asks that all I/O begun until now be waited for; drained() tells.
	void want_drain() { drain_wanted_ = true; }
	bool drained() const { return !drain_wanted_ && !flipping_; }
	void epoch_drained();
	// What is not free yet is not going to be: the map will be read again, and what it
	// does not name is free then.
	void forget();
	// What is to be freed, and was not given to the host yet, waits for the next resume.
	void stop_freeing() { freeing_stopped_ = true; }
	void restart() { freeing_stopped_ = false; }

	void run();
	// Unmapped clusters that no commit has seen: freeing them needs one.
	bool needs_commit() const { return !unmapped_.empty(); }
	uint64_t count() const { return added_ - gone_; }
	// Clusters that ever came here; of them, those that need no further commit, and
	// those that have left.
	uint64_t added() const { return added_; }
	uint64_t committed() const { return added_ - unmapped_.count(); }
	uint64_t gone() const { return gone_; }
	bool idle() const { return count() == 0 && !operation_.running() && drained(); }
	// Idle but for what a failed commit, or the end of freeing, keeps in quarantine.
	bool settled() const
	{
		return durable_.empty() && draining_.empty() && !operation_.running() &&
		       drained() && (freeing_stopped_ || (nr_freeing_ == 0 && nr_punched_ == 0));
	}

private:
	// A batch is synced, so that what it freed can be used, at the latest after so many.
	static constexpr uint32_t kRunsMost = 64;

	enum class Step : uint8_t { idle, punching, syncing };

	void begin_step();
	bool punch();
	void ended(Operation &operation, int64_t result);
	void punched(Status status);
	void synced(Status status);
	void collect(ClusterList &list);

	ploop_host *host_;
	Inbox &inbox_;
	Modes &modes_;
	const DeltaStack &stack_;
	Space &space_;
	DirtyPages &dirty_;
	CommitWatcher &watcher_;

	uint64_t added_ = 0;
	uint64_t gone_ = 0;
	ClusterList unmapped_;
	ClusterList committing_;
	ClusterList durable_;
	ClusterList draining_;
	Bitmap freeing_;
	Bitmap punched_; // and not synced yet
	uint64_t nr_freeing_ = 0;
	uint64_t nr_punched_ = 0;
	uint64_t cursor_ = 0; // where the next run is looked for
	uint32_t runs_ = 0;   // of this batch
	uint64_t sync_errors_since_ = 0;
	bool flipping_ = false;
	bool drain_wanted_ = false;
	bool freeing_stopped_ = false;
	Step step_ = Step::idle;
	Run run_;
	Operation operation_;
};

} // namespace ploop
