// SPDX-License-Identifier: GPL-2.0
// The deltas of a table, and how the device lies on them.
#pragma once

#include "base/request.h"
#include "map/delta.h"

namespace ploop {

class DeltaStack {
public:
	explicit DeltaStack(ploop_host *host) : top_(host, DeltaId{}) {}
	DeltaStack(const DeltaStack &) = delete;
	DeltaStack &operator=(const DeltaStack &) = delete;

	// Once, before anything else: the table's geometry, where the device begins in
	// the image, and how long it is.
	void shape(Geometry geometry, uint64_t skip_sectors, uint64_t nr_sectors)
	{
		geometry_ = geometry;
		skip_sectors_ = skip_sectors;
		sectors_ = skip_sectors + nr_sectors;
	}

	// ---- Any context ----

	const Geometry &geometry() const { return geometry_; }
	uint64_t skip_sectors() const { return skip_sectors_; }
	// Sectors that the image must have, those before the device included.
	uint64_t sectors() const { return sectors_; }
	uint64_t clusters() const { return geometry_.clusters_for_sectors(sectors_); }
	// Where a request lies, counted from the image's begin.
	uint64_t position(const ploop_rq *rq) const { return rq->sector + skip_sectors_; }
	VirtualCluster cluster_of(const ploop_rq *rq) const
	{
		return geometry_.cluster_of(position(rq));
	}
	// Of a read or write: all of a cluster?
	bool covers_cluster(const ploop_rq *rq) const
	{
		return rq->nr_sectors == geometry_.cluster_sectors();
	}

	// The one that is written. Its file and facts stay as they are from the
	// constructor on.
	Delta &top() { return top_; }
	const Delta &top() const { return top_; }
	const Delta &delta(DeltaId) const { return top_; }

private:
	Geometry geometry_;
	uint64_t skip_sectors_ = 0;
	uint64_t sectors_ = 0;
	Delta top_;
};

} // namespace ploop
