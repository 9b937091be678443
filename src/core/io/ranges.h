// SPDX-License-Identifier: GPL-2.0
// Discard and write-zeroes: requests that span any number of clusters, walked
// one after the other, a bounded number of clusters in one go. A few requests are
// under way at a time, so that one that waits for the host holds up no other.
//
// Everything here is the target's worker's.
#pragma once

#include "io/new_places.h"
#include "map/operation.h"

namespace ploop {

class Ranges final : public PlaceUser {
public:
	Ranges(ploop_host *host, Inbox &inbox, const Policy &policy, const Gate &gate,
	       const DeltaStack &stack, Map &map, Space &space, DirtyPages &dirty,
	       NewPlaces &new_places, Parking &parking, Endings &endings, Unmapped &unmapped)
		: host_(host), inbox_(inbox), policy_(policy), gate_(gate), stack_(stack),
		  map_(map), space_(space), dirty_(dirty), new_places_(new_places),
		  parking_(parking), endings_(endings), unmapped_(unmapped)
	{
	}
	Ranges(const Ranges &) = delete;
	Ranges &operator=(const Ranges &) = delete;

	Status create();

	// Begins a request, or goes on with one that was parked, or that has waited for a
	// place.
	void start(ploop_rq *rq);
	void run();
	bool idle() const;

private:
	static constexpr uint32_t kClustersAtATime = 1024;
	static constexpr uint32_t kWalks = 4;

	// What a request asks of one cluster.
	struct Piece {
		VirtualCluster cluster;
		uint32_t first_sector; // in the cluster
		uint32_t nr_sectors;
		bool whole;
	};

	struct Walk {
		ploop_rq *rq = nullptr;
		uint64_t cursor = 0;  // sectors of the image, next to be done
		bool waiting = false; // for the operation or an allocation
		uint32_t epoch = kNoEpoch;
		Operation zero;
	};

	Walk *walk_of(const ploop_rq *rq);
	bool begin_next(Walk &walk);
	bool advance(Walk &walk, uint32_t &steps);
	Piece piece_of(const Walk &walk) const;
	void step(Walk &walk, const Piece &piece);
	bool unmap(const Piece &piece, MapWord word);
	void zero(Walk &walk, const Piece &piece, MapWord word);
	void piece_done(Walk &walk, Status status);
	void allocated(ploop_rq *rq, Status status) override;
	void leave(Walk &walk);
	void park(Walk &walk);
	void finish(Walk &walk, Status status);
	bool keeps_space(const ploop_rq *rq) const;
	void on_zeroed(Operation &operation, int64_t result);

	ploop_host *host_;
	Inbox &inbox_;
	const Policy &policy_;
	const Gate &gate_;
	const DeltaStack &stack_;
	Map &map_;
	Space &space_;
	DirtyPages &dirty_;
	NewPlaces &new_places_;
	Parking &parking_;
	Endings &endings_;
	Unmapped &unmapped_;
	RequestQueue queue_;
	Walk walks_[kWalks];
};

} // namespace ploop
