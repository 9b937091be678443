// SPDX-License-Identifier: GPL-2.0
// The quarantine: a cluster that was unmapped is used again only when
//	(a) the BAT without it is durable, and
//	(b) all I/O begun before it was unmapped has ended,
// and it was given back to the host, so that it reads as zeros. Where the host could
// not do that, it is free, but dirty.
//
//	unmapped -> committing -> durable -> draining -> freeing -> free
//
// Everything here is the target's worker's.
#pragma once

#include "map/cluster_list.h"
#include "map/operation.h"

namespace ploop {

class Target;

class Freer {
public:
	explicit Freer(Target &target) : target_(target) {}
	Freer(const Freer &) = delete;
	Freer &operator=(const Freer &) = delete;

	Status create(ploop_host *host);

	// The cluster has just been unmapped. False: no memory to remember it.
	bool add(FileCluster cluster)
	{
		if (!unmapped_.push(cluster))
			return false;
		added_++;
		return true;
	}

	void commit_begins() { committing_.splice(unmapped_); }
	void commit_failed();
	void commit_succeeded() { durable_.splice(committing_); }

	// Asks that all I/O begun until now be waited for; drained() tells.
	void want_drain() { drain_wanted_ = true; }
	bool drained() const { return !drain_wanted_ && !flipping_; }
	void epoch_drained();
	// The map is going to be read again: what it does not name is free then.
	void forget();

	void run();
	// Unmapped clusters that no commit has seen: freeing them needs one.
	bool needs_commit() const { return !unmapped_.empty(); }
	uint64_t count() const { return added_ - gone_; }
	// Clusters that ever came here; of them, those that need no further commit, and
	// those that have left.
	uint64_t added() const { return added_; }
	uint64_t committed() const { return added_ - unmapped_.count(); }
	uint64_t gone() const { return gone_; }
	bool idle() const { return count() == 0 && !punch_.running() && drained(); }
	// Idle but for what a failed commit keeps in quarantine.
	bool settled() const
	{
		return durable_.empty() && draining_.empty() && freeing_.empty() &&
		       !punch_.running() && drained();
	}

private:
	void punch();
	void punched(Status status);
	static void on_punched(Target &target, Operation &operation, int64_t result);

	Target &target_;
	uint64_t added_ = 0;
	uint64_t gone_ = 0;
	ClusterList unmapped_;
	ClusterList committing_;
	ClusterList durable_;
	ClusterList draining_;
	ClusterList freeing_;
	bool flipping_ = false;
	bool drain_wanted_ = false;
	Operation punch_;
	FileCluster run_first_;
	uint32_t run_length_ = 0;
};

} // namespace ploop
