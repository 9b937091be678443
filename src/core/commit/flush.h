// SPDX-License-Identifier: GPL-2.0
// Flushes. One that finds nothing that is not durable, and the gate open, waits for
// one fdatasync, shared with all that came meanwhile; any other joins a commit round.
//
// Not in its submitter's context: below, nothing tells the flush of a journal above
// from an fsync, and it would wait for locks of the same class.
#pragma once

#include "commit/committer.h"

namespace ploop {

class Flushes final : public Durability {
public:
	Flushes(ploop_host *host, Inbox &inbox, const Policy &policy, const Gate &gate,
		Modes &modes, const DeltaStack &stack, const DirtyPages &dirty,
		Committer &committer)
		: host_(host), inbox_(inbox), policy_(policy), gate_(gate), modes_(modes),
		  stack_(stack), dirty_(dirty), committer_(committer)
	{
	}
	Flushes(const Flushes &) = delete;
	Flushes &operator=(const Flushes &) = delete;

	// Any context.
	void flush(ploop_rq *rq) override;
	// The worker.
	void join(ploop_rq *rq) override;

	// The host's own thread for it, one at a time: serves all that came. Sleeps.
	void run();

private:
	void synced(ploop_rq *rq, Status status);

	ploop_host *host_;
	Inbox &inbox_;
	const Policy &policy_;
	const Gate &gate_;
	Modes &modes_;
	const DeltaStack &stack_;
	const DirtyPages &dirty_;
	Committer &committer_;
	ploop_list waiting_ = {};
};

} // namespace ploop
