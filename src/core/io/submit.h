// SPDX-License-Identifier: GPL-2.0
// How a request begins, in its submitter's context: served from the map where that
// can be, else handed to the worker.
//
// Process context, as device-mapper calls us in; no lock, no allocation, and for mapped
// requests no line written that others share.
#pragma once

#include "base/gate.h"
#include "io/transfer.h"
#include "map/dirty_pages.h"
#include "map/pool.h"

namespace ploop {

class Submitter {
public:
	Submitter(ploop_host *host, const Policy &policy, const Gate &gate, const DeltaStack &stack,
		  Map &map, DirtyPages &dirty, Pool &pool, Transfers &transfers, Inbox &inbox,
		  Parking &parking, Durability &durability)
		: host_(host), policy_(policy), gate_(gate), stack_(stack), map_(map),
		  dirty_(dirty), pool_(pool), transfers_(transfers), inbox_(inbox),
		  parking_(parking), durability_(durability)
	{
	}
	Submitter(const Submitter &) = delete;
	Submitter &operator=(const Submitter &) = delete;

	// Takes over a request, which may have ended before this returns.
	void map(ploop_rq *rq);

private:
	void read(ploop_rq *rq);
	void write(ploop_rq *rq);
	void overwrite(ploop_rq *rq, MapWord word);
	void write_hole(ploop_rq *rq);
	bool publish(ploop_rq *rq, MapWord &word);
	void leave(ploop_rq *rq);

	ploop_host *host_;
	const Policy &policy_;
	const Gate &gate_;
	const DeltaStack &stack_;
	Map &map_;
	DirtyPages &dirty_;
	Pool &pool_;
	Transfers &transfers_;
	Inbox &inbox_;
	Parking &parking_;
	Durability &durability_;
};

} // namespace ploop
