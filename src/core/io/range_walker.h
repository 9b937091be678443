// SPDX-License-Identifier: GPL-2.0
// Discard and write-zeroes: requests that span any number of clusters, walked
// one after the other, a bounded number of clusters in one go.
//
// Only the walker unmaps, so what it looks at stays mapped while it works on
// it. Everything here is the target's worker's.
#pragma once

#include "base/request.h"
#include "map/map.h"
#include "map/operation.h"

namespace ploop {

class Target;

class RangeWalker {
public:
	explicit RangeWalker(Target &target) : target_(target) {}
	RangeWalker(const RangeWalker &) = delete;
	RangeWalker &operator=(const RangeWalker &) = delete;

	Status create(ploop_host *host);

	// Begins a request, or goes on with one that was parked: file_offset is
	// the sector it had come to.
	void start(ploop_rq *rq);
	// The cluster that Writer::allocate() was asked for is there, or not.
	void done(Status status);
	void run();
	bool idle() const { return current_ == nullptr && queue_.empty(); }

private:
	static constexpr uint32_t kClustersAtATime = 1024;

	// What a request asks of one cluster.
	struct Piece {
		VirtualCluster cluster;
		uint32_t first_sector; // in the cluster
		uint32_t nr_sectors;
		bool whole;
	};

	bool begin_next();
	void allocate(const Piece &piece);
	void park();
	Piece next_piece() const;
	void step(const Piece &piece);
	void unmap(const Piece &piece, MapWord word);
	void zero(const Piece &piece, MapWord word);
	void advance(const Piece &piece);
	void finish(Status status);
	static void on_zeroed(Target &target, Operation &operation, int64_t result);

	Target &target_;
	RequestQueue queue_;
	ploop_rq *current_ = nullptr;
	uint64_t cursor_ = 0;  // sectors of the device, next to be done
	bool waiting_ = false; // for an operation or an allocation
	Operation zero_;
	Piece zero_piece_ = {};
};

} // namespace ploop
