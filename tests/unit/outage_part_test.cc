// SPDX-License-Identifier: GPL-2.0
// The outage alone, with a committer and a quarantine that have nothing to do.
#include "core/nospace/outage.h"
#include "unit/parts.h"

namespace ploop {

namespace {

struct OutageBench : Bench {
	OutageBench()
	{
		alarm.set_events(&events);
		policy.retry_ms.store_relaxed(100);
		modes.begin(Mode::rw);
		EXPECT_TRUE(quarantine.create(space.limit()).ok());
		EXPECT_TRUE(committer.create(map.pages()).ok());
		// Those who are let go stay out until the test says how they have ended.
		on_request = [this](ploop_rq *rq) { out.push_back(rq); };
		on_round = [this] { outage.collect(); };
		on_timer = [this](ploop_timer which) {
			retry_due = retry_due || which == PLOOP_TIMER_RETRY;
		};
	}

	void park(size_t count)
	{
		for (size_t i = 0; i < count; i++)
			outage.park(&request(PLOOP_RQ_WRITE, 1 + i % 200, 1));
	}
	// The retry timer fires.
	void probe()
	{
		world.advance_ms(10000);
		EXPECT_TRUE(std::exchange(retry_due, false));
		outage.on_timer();
		inbox.kick();
		settle();
	}
	void end_all(int error)
	{
		for (ploop_rq *rq : std::exchange(out, {})) {
			clear_mark(rq, kMarkProbe);
			outage.tried(Status::from(error));
			end_request(rq, error);
		}
		inbox.kick();
		settle();
	}
	size_t nr_ended() const
	{
		size_t count = 0;
		for (const auto &rq : requests)
			count += rq->ends;
		return count;
	}

	DeviceEvents events;
	Alarm alarm{&host};
	std::vector<ploop_rq *> out;
	bool retry_due = false;
	Outage outage{&host, inbox, policy, gate, modes, alarm, committer, quarantine};
	Quarantine quarantine{&host, inbox, modes, stack, space, dirty, outage};
	Committer committer{&host, inbox, policy, gate, modes, stack, map, dirty, quarantine,
			    outage};
};

} // namespace

TEST(Outage, TheFirstToWaitBeginsIt)
{
	OutageBench bench;

	EXPECT_FALSE(bench.outage.holds_back(nullptr));
	bench.park(1);
	bench.settle();
	EXPECT_TRUE(bench.outage.lasts());
	EXPECT_TRUE(bench.outage.holds_back(nullptr));
	EXPECT_EQ(bench.modes.mode(), Mode::nospace);
	EXPECT_TRUE(bench.alarm.enospc_pending());
	EXPECT_EQ(bench.outage.nr_parked(), 1u);
	EXPECT_TRUE(bench.out.empty());
	bench.outage.suspend_ends();
}

TEST(Outage, TheReleaseGrowsWhileAllSucceed)
{
	OutageBench bench;

	bench.park(20);
	bench.settle();
	bench.probe();
	for (size_t step : {1u, 2u, 4u}) {
		ASSERT_EQ(bench.out.size(), step);
		bench.end_all(0);
	}
	EXPECT_EQ(bench.out.size(), 8u);
	bench.end_all(0);
	EXPECT_EQ(bench.out.size(), 5u) << "the rest is less than the next step";
	EXPECT_FALSE(bench.outage.lasts());
	EXPECT_EQ(bench.modes.mode(), Mode::rw);
	for (ploop_rq *rq : std::exchange(bench.out, {}))
		end_request(rq, 0);
}

TEST(Outage, TheReleaseStopsAtTheFirstWithoutSpace)
{
	OutageBench bench;

	bench.park(20);
	bench.settle();
	bench.probe();
	bench.end_all(0);
	ASSERT_EQ(bench.out.size(), 2u);
	ploop_rq *const back = bench.out.back();
	bench.out.pop_back();
	bench.end_all(0);
	bench.outage.park(back);
	bench.settle();
	EXPECT_TRUE(bench.out.empty());
	EXPECT_TRUE(bench.outage.lasts());
	EXPECT_EQ(bench.outage.nr_parked(), 18u);
	bench.probe();
	ASSERT_EQ(bench.out.size(), 1u);
	EXPECT_EQ(bench.out[0], back) << "the oldest is first, however often it has waited";
	bench.end_all(-kEIO);
	EXPECT_EQ(bench.out.size(), 1u) << "another error says nothing of space: the next one";
	bench.end_all(-kEIO);
	bench.outage.suspend_ends();
	for (ploop_rq *rq : std::exchange(bench.out, {})) {
		clear_mark(rq, kMarkProbe);
		bench.outage.tried({});
		end_request(rq, 0);
	}
}

TEST(Outage, ClustersOnTheirWayAreAwaitedFirst)
{
	OutageBench bench;
	FileCluster place;

	bench.space.grow(bench.space.end() + 1);
	ASSERT_TRUE(bench.space.take_clean(place));
	ASSERT_TRUE(bench.quarantine.add(place));
	bench.park(1);
	bench.settle();
	EXPECT_FALSE(bench.outage.lasts());
	EXPECT_FALSE(bench.committer.idle()) << "nobody wants the commit that is waited for";
	bench.quarantine.forget(); // as if all had left it
	bench.outage.space_came();
	bench.inbox.kick();
	bench.settle();
	ASSERT_EQ(bench.out.size(), 1u);
	ploop_rq *const rq = bench.out.back();
	bench.out.clear();
	bench.outage.park(rq);
	bench.settle();
	EXPECT_TRUE(bench.outage.lasts()) << "it has been tried with all there is";
	bench.outage.suspend_ends();
}

TEST(Outage, ASuspendWithoutFlushHandsBack)
{
	OutageBench bench;

	bench.park(3);
	bench.settle();
	bench.host.may_requeue = [] { return true; };
	bench.policy.set_suspending(Suspending::noflush);
	bench.outage.suspend_begins();
	EXPECT_FALSE(bench.outage.lasts());
	for (const auto &rq : bench.requests)
		EXPECT_TRUE(rq->requeued);
	EXPECT_TRUE(bench.outage.holds_nothing());
}

// More than one round takes in, and one more that parks while the rest is waiting for
// the next round: its kick is the one that this round is run for.
TEST(Outage, NobodyIsForgottenBehindARoundsRest)
{
	OutageBench bench;

	bench.policy.error_if_no_space.store_relaxed(true);
	bench.park(3000);
	static_cast<void>(bench.inbox.take_signals());
	bench.outage.collect(); // a part of them
	EXPECT_LT(bench.nr_ended(), 3000u);
	bench.park(1);
	bench.settle();
	EXPECT_EQ(bench.nr_ended(), 3001u);
	bench.outage.suspend_ends();
}

} // namespace ploop
