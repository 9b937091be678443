// SPDX-License-Identifier: GPL-2.0
// What the way of a request needs of the rooms above: they implement it.
#pragma once

#include "base/request.h"
#include "format/format.h"

namespace ploop {

// Where requests wait for space.
class Parking {
public:
	// Any context: the request met a want of space and waits from now on. It may be
	// gone on return.
	virtual void park(ploop_rq *rq) = 0;
	// Any context: has a write that needs a new cluster to wait without trying?
	virtual bool holds_back(const ploop_rq *rq) const = 0;
	// Any context: something that needs space has succeeded.
	virtual void space_proved() = 0;
	// The worker: how a request that was to tell whether there is space has ended.
	virtual void tried(Status status) = 0;

protected:
	~Parking() = default;
};

// What makes durable.
class Durability {
public:
	// Any context: a flush.
	virtual void flush(ploop_rq *rq) = 0;
	// The worker: the request ends when a commit that begins from now on has ended.
	virtual void join(ploop_rq *rq) = 0;

protected:
	~Durability() = default;
};

// Where clusters go that were unmapped.
class Unmapped {
public:
	// The worker: the cluster is about to be unmapped. False: no memory to remember it.
	virtual bool add(FileCluster cluster) = 0;

protected:
	~Unmapped() = default;
};

// The last step of a request that the worker has served.
class Endings {
public:
	Endings(Parking &parking, Durability &durability)
		: parking_(parking), durability_(durability)
	{
	}

	// A FUA one waits for its commit, any other ends. The worker.
	void finish(ploop_rq *rq, Status status)
	{
		if (has_mark(rq, kMarkProbe)) {
			clear_mark(rq, kMarkProbe);
			parking_.tried(status);
		}
		if (status.ok() && is_fua(rq) && !has_mark(rq, kMarkDurable))
			return durability_.join(rq);
		end_request(rq, status.code());
	}

private:
	Parking &parking_;
	Durability &durability_;
};

} // namespace ploop
