// SPDX-License-Identifier: GPL-2.0
// The I/O of requests on the files of deltas: from the place that the map names to
// its end, in whatever pieces and ways the host needs.
//
// Any context throughout. The request has entered an epoch, and leaves it here.
#pragma once

#include "base/gate.h"
#include "base/inbox.h"
#include "io/upward.h"
#include "map/delta_stack.h"
#include "map/map.h"

namespace ploop {

class Transfers {
public:
	Transfers(ploop_host *host, const DeltaStack &stack, Inbox &inbox, Parking &parking)
		: host_(host), stack_(stack), inbox_(inbox), parking_(parking)
	{
	}
	Transfers(const Transfers &) = delete;
	Transfers &operator=(const Transfers &) = delete;

	// Starts it at @word's place. @stage says what the end means; state(rq).epoch was
	// entered before the word was read. @try_inline: here, if the host can.
	void start(ploop_rq *rq, MapWord word, Stage stage, bool try_inline);
	// The host's: how the I/O has ended.
	void done(ploop_rq *rq, int64_t result);

private:
	void resume(ploop_rq *rq);
	bool begins_anew(ploop_rq *rq, int64_t result);
	void ended(ploop_rq *rq, Status status);
	bool is_aligned(const ploop_rq *rq) const;
	const Delta &delta_of(const ploop_rq *rq) const;

	ploop_host *host_;
	const DeltaStack &stack_;
	Inbox &inbox_;
	Parking &parking_;
};

} // namespace ploop
