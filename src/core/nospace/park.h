// SPDX-License-Identifier: GPL-2.0
// The lockless meeting of those who park requests with the one who wakes them.
//
// Requests are parked from any context, hard irq included, by many at a time.
// One side at a time, the target's worker, takes them. In an outage the worker
// has nothing to do with new arrivals until the retry timer fires, so a park
// costs one push then; at any other time (no outage yet, suspending, space was
// freed) somebody must look at the request at once. `attentive` says which.
//
//	park                        be_attentive
//	----                        ------------
//	push (release)              attentive = true
//	full fence            <-->  full fence
//	look at attentive           take all (acquire)
//
// Either the one who parks sees that it must wake the worker, or the worker's
// take sees the request: the two fences pair, and without either one both may
// look too early and the request is forgotten.
#pragma once

namespace ploop {

template <class Atomics, class Node>
class ParkLot {
public:
	// Any context. True: the caller must kick the worker. The node is the
	// taker's from here on.
	bool park(Node *node)
	{
		list_.push(node);
		Atomics::full_fence(); // pairs with the one in be_attentive()
		return attentive_.load_relaxed();
	}

	// The worker: from now on whoever parks wakes it. Returns all parked
	// until now, newest first.
	Node *be_attentive()
	{
		attentive_.store_relaxed(true);
		Atomics::full_fence(); // pairs with the one in park()
		return list_.take();
	}

	// The worker: from now on parked requests wait for its timer, which it
	// arms. Those who parked before and saw `attentive` have kicked it.
	void be_quiet() { attentive_.store_relaxed(false); }

	// The worker: takes all, newest first, and leaves `attentive` as it is.
	Node *take() { return list_.take(); }

private:
	typename Atomics::List list_;
	typename Atomics::template Word<bool> attentive_{true};
};

} // namespace ploop
