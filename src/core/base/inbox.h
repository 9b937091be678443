// SPDX-License-Identifier: GPL-2.0
// What others have for the target's worker: requests, ended operations, signals.
//
// Anybody hands in, in any context; the worker, one thread at a time, takes out.
// Whoever hands in the first thing of a list kicks the worker, for all that the
// list holds.
#pragma once

#include "base/atomics.h"
#include "base/request.h"

namespace ploop {

enum Signal : uint32_t {
	kSignalRetryTimer = 1,
	kSignalCommitTimer = 2,
	kSignalRetryNow = 4,
	kSignalSuspend = 8,
	kSignalUndone = 16,
	kSignalDrained = 32, // all who had entered the old epoch have left it
	kSignalStop = 64,
	kSignalExpire = 128,
	kSignalSpace = 256,
	kSignalPolicy = 512,
	kSignalFree = 1024,
	kSignalClean = 2048, // new clusters are to be made in another way
};

constexpr size_t kCacheLine = 64;

// On lines of its own: who hands in must not take the line of what all read.
class alignas(kCacheLine) Inbox {
public:
	explicit Inbox(ploop_host *host) : host_(host) {}
	Inbox(const Inbox &) = delete;
	Inbox &operator=(const Inbox &) = delete;

	// ---- Any context ----

	// The worker looks at the request, which may be gone on return.
	void send(ploop_rq *rq, Stage stage)
	{
		set_stage(rq, stage);
		if (ph_list_push(&requests_, &state(rq).node))
			ph_kick(host_);
	}

	// The worker handles the end of the operation. Process context.
	void send_ended(ploop_node *operation)
	{
		ploop_host *const host = host_; // once the last one is pushed, we may be gone

		if (ph_list_push(&operations_, operation))
			ph_kick(host);
	}

	void signal(Signal signal)
	{
		signals_.or_release(signal); // pairs with the exchange in take_signals()
		ph_kick(host_);
	}

	// The worker runs once more, for what it left undone.
	void kick() { ph_kick(host_); }

	// ---- The worker ----

	// Dispatches the request (again), after what is being done now.
	void again(ploop_rq *rq) { ready_.push(rq); }
	// Between the end of a suspend and the next resume: nothing may begin.
	void set_still(bool still) { still_ = still; }
	bool still() const { return still_; }
	ploop_rq *next() { return ready_.pop(); }
	bool has_ready() const { return !ready_.empty(); }

	// Acquire: what was written before the signal is seen.
	uint32_t take_signals() { return signals_.exchange_acquire(0); }
	// Newest first.
	ploop_node *take_operations() { return ph_list_take(&operations_); }
	// Moves the requests that came in behind those that are ready; true if any did.
	bool take_requests()
	{
		ploop_node *node = oldest_first(ph_list_take(&requests_));
		const bool any = node != nullptr;

		while (node != nullptr) {
			ploop_rq *const rq = request_of(node);
			node = node->next;
			ready_.push(rq);
		}
		return any;
	}

private:
	ploop_list requests_ = {};
	ploop_list operations_ = {};
	Atomic<uint32_t> signals_;
	ploop_host *host_;
	RequestQueue ready_;
	bool still_ = false;
};

} // namespace ploop
