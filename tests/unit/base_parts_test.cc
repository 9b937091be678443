// SPDX-License-Identifier: GPL-2.0
// Gate, Modes and Inbox, each alone.
#include "unit/parts.h"

namespace ploop {

TEST(Gate, OnlyARoundThatBeganAfterItWasShutOpensIt)
{
	sim::World world;
	Gate gate;
	const uint64_t before = gate.nr_shut();

	gate.shut(Status::error(kENOSPC));
	EXPECT_EQ(gate.status().code(), -kENOSPC);
	gate.open(before);
	EXPECT_FALSE(gate.is_open()) << "opened by a round that knows nothing of the error";
	const uint64_t after = gate.nr_shut();
	gate.shut(Status::error(kEIO));
	gate.open(after);
	EXPECT_FALSE(gate.is_open()) << "it was shut again while the round ran";
	gate.open(gate.nr_shut());
	EXPECT_TRUE(gate.is_open());
}

TEST(Gate, WhatIsShutForEverIsNotOpenedByARound)
{
	sim::World world;
	Gate gate;

	gate.shut_for_ever(Status::error(kEIO));
	gate.shut(Status::error(kENOSPC));
	EXPECT_EQ(gate.status().code(), -kEIO) << "a lesser error took the place of the first";
	gate.open(gate.nr_shut());
	EXPECT_FALSE(gate.is_open());
	gate.reset();
	EXPECT_TRUE(gate.is_open());
}

TEST(Modes, FailureShutsTheGateAndIsToldOnce)
{
	Bench bench;

	bench.modes.begin(Mode::rw);
	bench.another_sync_fails(kENOSPC);
	bench.another_sync_fails(kENOMEM);
	EXPECT_EQ(bench.modes.mode(), Mode::rw) << "what passes is no failure";
	bench.another_sync_fails(kEBADF);
	EXPECT_TRUE(bench.modes.failed());
	EXPECT_EQ(bench.modes.last_error(), -kEBADF);
	EXPECT_EQ(bench.gate.status().code(), -kEIO);
	bench.modes.fail(Status::error(kEIO));
	bench.modes.set(Mode::rw);
	bench.settle();
	EXPECT_TRUE(bench.modes.failed());
	EXPECT_EQ(bench.modes.last_error(), -kEBADF);
	EXPECT_EQ(bench.host.logs.size(), 1u);
	EXPECT_EQ(bench.host.events, 1u);
	EXPECT_NE(bench.signals & kSignalRetryNow, 0u) << "who waits for space has to end";
}

TEST(Modes, AnOutageThatIsForgottenIsNotAnnounced)
{
	Bench bench;

	bench.modes.begin(Mode::rw);
	bench.modes.set(Mode::nospace);
	bench.modes.set(Mode::nospace);
	EXPECT_EQ(bench.host.logs.size(), 1u);
	bench.modes.forget_nospace();
	EXPECT_EQ(bench.modes.mode(), Mode::rw);
	bench.modes.begin(Mode::ro);
	bench.modes.forget_nospace();
	EXPECT_EQ(bench.modes.mode(), Mode::ro);
	EXPECT_EQ(bench.host.logs.size(), 1u);
}

TEST(Inbox, WhatComesInIsServedInOrderBehindWhatIsReady)
{
	Bench bench;
	sim::Request &first = bench.request(PLOOP_RQ_WRITE, 1);
	sim::Request &second = bench.request(PLOOP_RQ_WRITE, 2);
	sim::Request &third = bench.request(PLOOP_RQ_WRITE, 3);

	bench.inbox.send(&first, Stage::fresh);
	bench.inbox.send(&second, Stage::lost);
	bench.inbox.again(&third);
	EXPECT_TRUE(bench.inbox.take_requests());
	EXPECT_FALSE(bench.inbox.take_requests());
	EXPECT_EQ(bench.inbox.next(), &third);
	EXPECT_EQ(bench.inbox.next(), &first);
	EXPECT_EQ(bench.inbox.next(), &second);
	EXPECT_EQ(stage_of(&second), Stage::lost);
	EXPECT_FALSE(bench.inbox.has_ready());
	EXPECT_TRUE(bench.host.kicked);
}

TEST(Inbox, SignalsMergeAndAreTakenOnce)
{
	Bench bench;

	bench.inbox.signal(kSignalStop);
	bench.inbox.signal(kSignalExpire);
	bench.inbox.signal(kSignalStop);
	EXPECT_EQ(bench.inbox.take_signals(), uint32_t{kSignalStop | kSignalExpire});
	EXPECT_EQ(bench.inbox.take_signals(), 0u);
}

// Its error is told once: whoever looks before the worker has come to its end must find it.
TEST(Operation, AFailedSyncIsHeardOfBeforeItsEndIsHandled)
{
	struct Part {
		void ended(Operation &, int64_t result)
		{
			EXPECT_EQ(result, -kEIO);
			failed_then = bench.modes.failed();
			errors_then = bench.modes.nr_sync_errors();
		}
		Bench &bench;
		bool failed_then = false;
		uint64_t errors_then = 0;
	};
	Bench bench;
	Part part{bench};
	Operation operation;

	bench.modes.begin(Mode::rw);
	operation.report_syncs(bench.modes);
	ASSERT_TRUE(operation.create<&Part::ended>(part, &bench.host, bench.inbox).ok());
	bench.world.fail_nth({.calls = sim::call_of(PLOOP_OP_SYNC), .error = -EIO});
	bench.world.call("sync",
			 [&] { operation.start(PLOOP_OP_SYNC, bench.stack.top().file(), 0, 0); });
	bench.settle();
	EXPECT_TRUE(part.failed_then);
	EXPECT_EQ(part.errors_then, 1u);
}

} // namespace ploop
