// SPDX-License-Identifier: GPL-2.0
// ParkLot of src/core/park.h: nobody who parks is forgotten.
//
// The worker is one thread. A kick, and the timer, are the host's: what parked
// with a kick, or waits while the timer is armed, is met by a later round of
// the worker; that round is done at the end, when all threads have ended.
#include "relaxed.h"

#include "core/nospace/park.h"

namespace {

using model::Node;
using model::truth;

constexpr int kData = 7;

// @parkers threads that park one request each, and the worker, which is the last.
template <class Test, unsigned parkers>
struct ParkTest : rl::test_suite<Test, parkers + 1> {
	ploop::ParkLot<model::Atomics, Node> lot;
	Node nodes[parkers];
	model::Kick worker_kick;
	bool timer_armed = false;

	void before()
	{
		truth = {};
		for (Node &node : nodes)
			node.data($) = 0;
	}

	void thread(unsigned index)
	{
		if (index == parkers)
			return static_cast<Test *>(this)->worker();
		nodes[index].data($) = kData;
		if (lot.park(&nodes[index]))
			worker_kick.kick();
	}

	// Reads what those who parked wrote: a race, if the order does not hold.
	bool take_in(Node *newest_first)
	{
		const bool any = newest_first != nullptr;

		while (newest_first != nullptr) {
			Node *const node = newest_first;
			newest_first = node->next($);
			RL_ASSERT(node->data($) == kData);
			node->taken++;
		}
		return any;
	}

	void after()
	{
		if (worker_kick.begin_round() || timer_armed)
			take_in(lot.take());
		for (const Node &node : nodes)
			RL_ASSERT(node.taken == 1);
	}
};

// Nothing but the meeting itself, as in an outage that a suspend, a retry or
// freed space ends: requests are parked while the worker becomes attentive.
template <unsigned parkers>
struct Meeting : ParkTest<Meeting<parkers>, parkers> {
	void before()
	{
		ParkTest<Meeting<parkers>, parkers>::before();
		this->lot.be_quiet();
	}

	void worker() { this->take_in(this->lot.be_attentive()); }
};

// An outage from its begin to its end: a probe that fails, one that succeeds,
// and after that a request that still met the want of space.
template <unsigned parkers>
struct Outage : ParkTest<Outage<parkers>, parkers> {
	bool active = false;

	void worker()
	{
		collect();
		begin();
		timer_fires();
		begin(); // the probe met ENOSPC: the timer is armed again
		timer_fires();
		release();
		collect();
	}

	void begin()
	{
		active = true;
		this->timer_armed = true;
		this->lot.be_quiet();
	}

	void timer_fires()
	{
		this->timer_armed = false;
		this->take_in(this->lot.be_attentive());
	}

	void release()
	{
		this->take_in(this->lot.be_attentive());
		active = false;
	}

	// A round of the worker because of a kick; a new outage, if it finds something.
	void collect()
	{
		if (!this->worker_kick.begin_round())
			return;
		if (this->take_in(this->lot.take()) && !active)
			begin();
	}
};

constexpr model::Scenario kScenarios[] = {
	{"park_meets_attentive", model::holds_always<Meeting<2>>},
	{"park_in_outage_alone", model::holds_always<Outage<1>>},
	{"park_in_outage",
	 [](std::ostream &log) { return model::holds_within<Outage<2>>(5, log); }},
	{"park_in_outage_random",
	 [](std::ostream &log) { return model::holds_often<Outage<3>>(200000, log); }},
};

} // namespace

int main(int argc, char **argv)
{
	return model::main_of(kScenarios, argc, argv);
}
