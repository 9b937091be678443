// SPDX-License-Identifier: GPL-2.0
// LowSpace alone, and Stop with the parts that it brings to a stop, without a target.
#include <array>
#include <sstream>

#include "core/target/stop.h"
#include "unit/parts.h"

namespace ploop {

namespace {

constexpr uint64_t kCluster = 32768;

void block_device(sim::File &file)
{
	file.facts.block_device = true;
}

// ---- LowSpace ------------------------------------------------------------------

struct LowSpaceBench : Bench {
	explicit LowSpaceBench(const std::function<void(sim::File &)> &shape = {})
		: Bench({}, shape)
	{
		alarm.set_events(&events);
		EXPECT_TRUE(low_space.create().ok());
		on_timer = [this](ploop_timer which) {
			EXPECT_EQ(which, PLOOP_TIMER_SPACE);
			inbox.signal(kSignalSpace);
		};
		on_round = [this] {
			if ((std::exchange(signals, 0) & kSignalSpace) != 0)
				low_space.look();
		};
	}
	void look()
	{
		low_space.look();
		settle();
	}
	void look_at(uint64_t free_mib)
	{
		world.disk.capacity = world.disk.used() + (free_mib << 20);
		look();
	}
	uint64_t looks() const { return world.calls(sim::call_of(PLOOP_OP_FREE_SPACE)); }
	uint64_t told() const { return events.lowspace.raised(); }

	DeviceEvents events;
	Alarm alarm{&host};
	FakePoolUser user;
	Pool pool{&host, inbox, policy, modes, stack, space, user};
	LowSpace low_space{&host, inbox, stack, space, pool, alarm};
};

} // namespace

TEST(LowSpace, WithoutAMarkItDoesNotLook)
{
	LowSpaceBench bench;

	bench.look_at(0);
	bench.world.advance_ms(60000);
	EXPECT_EQ(bench.looks(), 0u);
	EXPECT_FALSE(bench.low_space.below());
	EXPECT_EQ(bench.low_space.free_mib(), ~uint64_t{0});
}

TEST(LowSpace, ItTellsOnceThatSpaceFellUnderTheMark)
{
	LowSpaceBench bench;

	bench.low_space.set_mark_mib(80);
	bench.look_at(80);
	EXPECT_FALSE(bench.low_space.below()) << "at the mark is not under it";
	EXPECT_EQ(bench.low_space.free_mib(), 80u);
	bench.look_at(79);
	EXPECT_TRUE(bench.low_space.below());
	EXPECT_EQ(bench.low_space.free_mib(), 79u);
	EXPECT_EQ(bench.told(), 1u);
	EXPECT_TRUE(bench.host.logged("79 MiB are left, low_water is 80 MiB"));
	bench.look_at(10);
	EXPECT_EQ(bench.told(), 1u);
	EXPECT_EQ(bench.host.events, 1u);
	EXPECT_EQ(bench.host.logs.size(), 1u);
}

TEST(LowSpace, ItTellsAgainOnlyAfterSpaceWasWellAboveTheMark)
{
	struct Case {
		uint32_t mark;
		uint64_t well_above;
	};
	for (const Case &c : {Case{80, 90}, {1, 2}}) {
		LowSpaceBench bench;

		bench.low_space.set_mark_mib(c.mark);
		bench.look_at(c.mark - 1);
		bench.look_at(c.well_above - 1);
		EXPECT_TRUE(bench.low_space.below());
		bench.look_at(c.mark - 1);
		EXPECT_EQ(bench.told(), 1u);
		bench.look_at(c.well_above);
		EXPECT_FALSE(bench.low_space.below());
		bench.look_at(c.mark - 1);
		EXPECT_EQ(bench.told(), 2u);
	}
}

TEST(LowSpace, ItLooksEveryNowAndThenUntilTheMarkIsTakenAway)
{
	LowSpaceBench bench;

	bench.low_space.set_mark_mib(80);
	bench.look_at(79);
	bench.world.advance_ms(LowSpace::kPeriodMs - 1);
	EXPECT_EQ(bench.looks(), 1u);
	bench.world.advance_ms(1);
	EXPECT_EQ(bench.looks(), 2u);
	bench.world.advance_ms(LowSpace::kPeriodMs);
	EXPECT_EQ(bench.looks(), 3u);
	bench.low_space.set_mark_mib(0);
	bench.world.advance_ms(60000);
	EXPECT_EQ(bench.looks(), 3u);
	EXPECT_FALSE(bench.low_space.below());
}

TEST(LowSpace, OneLookAtATime)
{
	LowSpaceBench bench;

	bench.low_space.set_mark_mib(80);
	bench.low_space.look();
	EXPECT_FALSE(bench.low_space.idle());
	bench.low_space.look();
	bench.settle();
	EXPECT_TRUE(bench.low_space.idle());
	EXPECT_EQ(bench.looks(), 1u);
}

TEST(LowSpace, AnErrorSaysNothingAndItLooksAgain)
{
	LowSpaceBench bench;

	bench.low_space.set_mark_mib(80);
	bench.world.fail_nth({.calls = sim::call_of(PLOOP_OP_FREE_SPACE)});
	bench.look_at(10);
	EXPECT_FALSE(bench.low_space.below());
	EXPECT_EQ(bench.low_space.free_mib(), ~uint64_t{0});
	bench.world.advance_ms(LowSpace::kPeriodMs);
	EXPECT_TRUE(bench.low_space.below());
}

// Those that the pool has at hand are free, too, and so is what others have added.
TEST(LowSpace, ABlockDeviceHasItsFreeClusters)
{
	LowSpaceBench bench(block_device);
	ploop::Run run;

	bench.file.set_size(65 * kCluster);
	ASSERT_TRUE(bench.space.extend(65));
	ASSERT_TRUE(bench.space.take_dirty(64, run));
	bench.space.give(run, true);
	ASSERT_TRUE(bench.pool.create().ok());
	bench.pool.open();
	bench.pool.run();
	ASSERT_EQ(bench.pool.at_hand(), 64u);
	bench.low_space.set_mark_mib(2);
	bench.look();
	EXPECT_EQ(bench.low_space.free_mib(), 2u);
	EXPECT_FALSE(bench.low_space.below());
	bench.file.set_size(97 * kCluster);
	bench.look();
	EXPECT_EQ(bench.low_space.free_mib(), 3u);
	EXPECT_EQ(bench.space.end(), 97u);
}

TEST(LowSpace, ItDoesNotLookWhileAllStops)
{
	LowSpaceBench bench;

	bench.low_space.set_mark_mib(80);
	bench.low_space.look();
	bench.low_space.set_stopping(true); // while one is under way
	bench.settle();
	EXPECT_TRUE(bench.low_space.idle());
	bench.look();
	bench.world.advance_ms(60000);
	EXPECT_EQ(bench.looks(), 1u);
	bench.low_space.set_stopping(false);
	bench.look();
	bench.world.advance_ms(LowSpace::kPeriodMs);
	EXPECT_EQ(bench.looks(), 3u);
}

// ---- Stop ----------------------------------------------------------------------

namespace {

using Steps = std::vector<std::string>;

// An image that is in use, of 10 clusters with old bytes, and 4 clean ones behind them. The
// worker's round is the target's, but for the order in which it looks at what came.
struct StopBench : Bench {
	explicit StopBench(const std::function<void(sim::File &)> &shape = {})
		: Bench({.in_use = sim::IMAGE_IN_USE, .file_clusters = 10}, shape)
	{
		alarm.set_events(&events);
		policy.retry_ms.store_relaxed(100);
		EXPECT_TRUE(pool.create().ok());
		EXPECT_TRUE(ranges.create().ok());
		EXPECT_TRUE(quarantine.create(space.limit()).ok());
		EXPECT_TRUE(committer.create(map.pages()).ok());
		EXPECT_TRUE(low_space.create().ok());
		EXPECT_TRUE(stop.create().ok());
		if (space.end() < 14) {
			file.set_size(14 * kCluster);
			space.grow(14);
		}
		stop.set_marked(true);
		modes.begin(Mode::rw);
		resume();
		on_done = [this](ploop_rq *rq, int64_t result) { transfers.done(rq, result); };
		on_request = [this](ploop_rq *rq) { dispatch(rq); };
		on_drained = [this] { quarantine.epoch_drained(); };
		on_round = [this] { run_parts(); };
		on_timer = [this](ploop_timer which) { inbox.signal(kSignals[which]); };
	}

	void resume()
	{
		stop.reset();
		gate.reset();
		pool.open();
		pool.run();
	}
	// What the last stop has written is what a resume finds.
	void reload()
	{
		char buffer[PLOOP_ERROR_BYTES];
		Text error(buffer, sizeof(buffer));

		world.call("reload", [&] {
			EXPECT_TRUE(stack.top()
					    .read_header(stack.geometry(), stack.sectors(), error)
					    .ok());
			EXPECT_TRUE(stack.top().read_map(map, space, error).ok());
		});
	}
	void dispatch(ploop_rq *rq)
	{
		switch (stage_of(rq)) {
		case Stage::fresh:
			break;
		case Stage::data_done:
			return new_places.data_done(rq);
		case Stage::ended:
			return endings.finish(rq, Status::from(state(rq).error));
		default:
			ADD_FAILURE() << "a stage that no part here gives";
			return;
		}
		if (is_write(rq))
			return new_places.start(rq);
		if (rq->op == PLOOP_RQ_FLUSH)
			return committer.join(rq);
		ranges.start(rq);
	}
	void handle_signals()
	{
		const uint32_t came = std::exchange(signals, 0);

		if ((came & kSignalCommitTimer) != 0)
			committer.timer_fired();
		if ((came & kSignalFree) != 0)
			pool.reclaim();
		if ((came & kSignalSuspend) != 0)
			outage.suspend_begins();
		if ((came & kSignalUndone) != 0)
			outage.suspend_undone();
		if ((came & kSignalRetryNow) != 0)
			outage.retry_now();
		if ((came & kSignalRetryTimer) != 0)
			outage.on_timer();
		if ((came & kSignalExpire) != 0)
			outage.on_expire();
		if ((came & kSignalSpace) != 0)
			low_space.look();
		if ((came & kSignalStop) != 0)
			stop.begin();
	}
	void run_parts()
	{
		handle_signals();
		new_places.run();
		ranges.run();
		outage.collect();
		pool.run();
		quarantine.run();
		if (outage.lasts() && quarantine.needs_commit())
			committer.want();
		committer.run();
		if (inbox.take_requests() || inbox.has_ready())
			inbox.kick();
		else
			stop.advance();
	}

	sim::Request &send(ploop_rq_op op, uint64_t cluster, uint32_t sectors = 64,
			   uint8_t flags = 0)
	{
		sim::Request &rq = request(op, cluster, sectors, flags);

		inbox.send(&rq, Stage::fresh);
		return rq;
	}
	void map_word(uint32_t cluster, uint32_t place)
	{
		EXPECT_TRUE(space.claim(FileCluster(place)));
		set_word(cluster, MapState::durable, place);
	}
	// One that its submitter served: the epoch alone knows of it.
	sim::Request &overwrite(uint32_t cluster)
	{
		sim::Request &rq = request(PLOOP_RQ_WRITE, cluster);

		state(&rq).epoch = ph_epoch_enter(&host);
		transfers.start(&rq, word(cluster), Stage::overwrite, false);
		return rq;
	}
	// Something for the last commit.
	void make_dirty()
	{
		map_word(200, 9);
		set_word(200, MapState::fresh, 9);
		dirty.mark(VirtualCluster(200));
	}
	void begin_stop()
	{
		steps_from = world.trace_lines().size();
		stop.prepare_wait();
		inbox.signal(kSignalStop);
		settle();
	}
	bool done() const { return inbox.still(); }
	bool pool_is_open()
	{
		FileCluster place;

		return pool.take(place) && pool.put_back(place);
	}
	// The operations on the file that were started since the stop began.
	Steps steps() const
	{
		const auto &lines = world.trace_lines();
		Steps result;

		for (size_t i = steps_from; i < lines.size(); i++) {
			std::istringstream words(lines[i]);
			std::string time, start, number, name;
			words >> time >> start >> number >> name;
			if (start == "start" && name.substr(0, 3) != "rq-")
				result.push_back(name);
		}
		return result;
	}
	bool marked_on_disk() const
	{
		return file.crash_image(sim::Cut::Drop, 0).read(44, 1)[0] != 0;
	}
	void fail(ploop_op_kind kind, int error, uint64_t nth = 1, bool sticky = false)
	{
		world.fail_nth({.calls = sim::call_of(kind),
				.nth = nth,
				.error = error,
				.sticky = sticky});
	}
	void slow(ploop_op_kind kind, uint32_t ms) { world.delay_ms[sim::call_of(kind)] = ms; }

	static constexpr std::array<Signal, PLOOP_TIMERS> kSignals = {
		kSignalRetryTimer, kSignalCommitTimer, kSignalExpire, kSignalSpace, kSignalFree};
	size_t steps_from = 0;
	DeviceEvents events;
	FakeDurability durability;
	Alarm alarm{&host};
	Outage outage{&host, inbox, policy, gate, modes, alarm, committer, quarantine};
	Endings endings{outage, durability};
	Pool pool{&host, inbox, policy, modes, stack, space, new_places};
	Transfers transfers{&host, stack, inbox, outage};
	NewPlaces new_places{&host, gate,      stack, map,    space,  dirty,
			     pool,  transfers, inbox, outage, endings};
	Ranges ranges{&host, inbox, policy,	gate,	stack,	 map,
		      space, dirty, new_places, outage, endings, quarantine};
	Quarantine quarantine{&host, inbox, modes, stack, space, dirty, outage};
	Committer committer{&host, inbox, policy, gate,	      modes,
			    stack, map,	  dirty,  quarantine, outage};
	LowSpace low_space{&host, inbox, stack, space, pool, alarm};
	Stop stop{&host, inbox,	     policy, modes,	stack,	    space,  dirty,
		  pool,	 new_places, ranges, committer, quarantine, outage, low_space};
};

void no_zeros_honest(sim::File &file)
{
	file.facts.zeros_honest = false;
}

} // namespace

TEST(Stop, ItGoesTheWholeWay)
{
	StopBench bench;
	const sim::Request &discard = bench.send(PLOOP_RQ_DISCARD, 5);

	bench.map_word(5, 3);
	bench.make_dirty();
	EXPECT_FALSE(bench.stop.under_way());
	bench.begin_stop();
	EXPECT_EQ(discard.ends, 1);
	EXPECT_EQ(bench.steps(), (Steps{"write-buffered", "sync",    // the last commit
					"punch", "sync",	     // the quarantine empties
					"truncate",		     // the free tail
					"write-buffered", "sync"})); // the mark
	EXPECT_TRUE(bench.done());
	EXPECT_FALSE(bench.stop.under_way());
	EXPECT_TRUE(bench.stop.status().ok());
	bench.world.call("wait", [&] { bench.stop.wait(); });
	EXPECT_EQ(bench.durable_entry(200), 9u);
	EXPECT_EQ(bench.dirty.count(), 0u);
	EXPECT_EQ(bench.quarantine.count(), 0u);
	EXPECT_EQ(bench.file.size(), 10 * kCluster);
	EXPECT_FALSE(bench.marked_on_disk());
	EXPECT_FALSE(bench.stop.marked());
}

TEST(Stop, QuietWaitsForAllThatTheWorkerKnowsOf)
{
	const std::array<std::function<void(StopBench &)>, 5> busy = {
		[](StopBench &bench) {
			bench.world.delay_ms[sim::CALL_RQ_WRITE] = 10;
			bench.send(PLOOP_RQ_WRITE, 5, 1);
		},
		[](StopBench &bench) {
			bench.map_word(5, 3);
			bench.slow(PLOOP_OP_ZERO, 10);
			bench.send(PLOOP_RQ_WRITE_ZEROES, 5, 64, PLOOP_RQ_NOUNMAP);
		},
		[](StopBench &bench) {
			bench.slow(PLOOP_OP_PUNCH, 10);
			bench.inbox.signal(kSignalFree);
		},
		[](StopBench &bench) {
			bench.slow(PLOOP_OP_FREE_SPACE, 10);
			bench.low_space.set_mark_mib(1);
			bench.low_space.look();
		},
		[](StopBench &bench) {
			bench.slow(PLOOP_OP_SYNC, 10);
			bench.send(PLOOP_RQ_FLUSH, 0, 0);
		},
	};
	for (size_t i = 0; i < busy.size(); i++) {
		StopBench bench(no_zeros_honest);

		busy[i](bench);
		bench.settle();
		bench.begin_stop();
		EXPECT_TRUE(bench.stop.under_way()) << i;
		EXPECT_FALSE(bench.done()) << i;
		EXPECT_EQ(bench.steps(), Steps{}) << i;
		EXPECT_TRUE(bench.pool_is_open()) << "what goes on may need it " << i;
		bench.world.advance_ms(100);
		EXPECT_TRUE(bench.done()) << i;
		EXPECT_TRUE(bench.stop.status().ok());
		for (const auto &rq : bench.requests)
			EXPECT_EQ(rq->ends, 1);
	}
}

TEST(Stop, NothingIsMadeAheadOfNeedOnTheWay)
{
	StopBench bench(no_zeros_honest);

	bench.world.delay_ms[sim::CALL_RQ_WRITE] = 10;
	bench.send(PLOOP_RQ_WRITE, 5, 1);
	bench.settle();
	bench.begin_stop();
	bench.inbox.signal(kSignalFree);
	bench.settle();
	EXPECT_TRUE(bench.stop.under_way());
	EXPECT_EQ(bench.steps(), Steps{});
	bench.world.advance_ms(10);
	EXPECT_TRUE(bench.done());
}

TEST(Stop, DrainWaitsForTheIOOfSubmittersWithThePoolClosed)
{
	StopBench bench;

	bench.map_word(5, 3);
	bench.world.delay_ms[sim::CALL_RQ_WRITE] = 10;
	const sim::Request &rq = bench.overwrite(5);
	bench.begin_stop();
	EXPECT_TRUE(bench.stop.under_way());
	EXPECT_FALSE(bench.done());
	EXPECT_FALSE(bench.pool_is_open());
	EXPECT_EQ(bench.steps(), Steps{});
	bench.world.advance_ms(10);
	EXPECT_EQ(rq.ends, 1);
	EXPECT_TRUE(bench.done());
}

// It is in the new epoch, of which the drain knows nothing.
TEST(Stop, WhatTheWorkerBeganDuringTheDrainIsWaitedForToo)
{
	StopBench bench;

	bench.map_word(5, 3);
	bench.map_word(6, 4);
	bench.world.delay_ms[sim::CALL_RQ_WRITE] = 10;
	const sim::Request &old = bench.overwrite(5);
	bench.begin_stop();
	bench.world.delay_ms[sim::CALL_RQ_WRITE] = 30;
	const sim::Request &late = bench.send(PLOOP_RQ_WRITE, 6);
	bench.settle();
	bench.world.advance_ms(10);
	EXPECT_EQ(old.ends, 1);
	EXPECT_EQ(late.ends, 0);
	EXPECT_FALSE(bench.done());
	EXPECT_EQ(bench.steps(), Steps{});
	bench.world.advance_ms(20);
	EXPECT_EQ(late.ends, 1);
	EXPECT_TRUE(bench.done());
}

TEST(Stop, AWriteThatComesDuringTheDrainGetsItsCluster)
{
	StopBench bench;

	bench.map_word(5, 3);
	bench.world.delay_ms[sim::CALL_RQ_WRITE] = 10;
	bench.overwrite(5);
	bench.begin_stop();
	const sim::Request &late = bench.send(PLOOP_RQ_WRITE, 7, 1);
	bench.settle();
	EXPECT_FALSE(bench.word(7).has_place());
	bench.world.advance_ms(10);
	EXPECT_FALSE(bench.done());
	bench.world.advance_ms(10);
	EXPECT_EQ(late.ends, 1);
	EXPECT_EQ(late.ended_with, 0);
	EXPECT_TRUE(bench.done());
	EXPECT_NE(bench.durable_entry(7), 0u);
	EXPECT_TRUE(bench.stop.status().ok());
}

TEST(Stop, AfterACommitThatFailedTheFileStaysAsItIs)
{
	struct Case {
		ploop_op_kind fails;
		int error;
		Steps steps;
	};
	for (const Case &c : {Case{PLOOP_OP_WRITE_BUFFERED, -kENOSPC, {"write-buffered"}},
			      {PLOOP_OP_WRITE_BUFFERED, -kEIO, {"write-buffered"}},
			      {PLOOP_OP_SYNC, -kENOSPC, {"write-buffered", "sync"}},
			      {PLOOP_OP_SYNC, -kEIO, {"write-buffered", "sync"}}}) {
		StopBench bench;

		bench.make_dirty();
		bench.fail(c.fails, c.error);
		bench.begin_stop();
		EXPECT_TRUE(bench.done());
		EXPECT_EQ(bench.stop.status().code(), c.error);
		EXPECT_EQ(bench.steps(), c.steps);
		EXPECT_EQ(bench.file.size(), 14 * kCluster);
		EXPECT_TRUE(bench.stop.marked());
		EXPECT_TRUE(bench.marked_on_disk());
		EXPECT_EQ(bench.dirty.count(), 1u) << "what is unwritten is known to be";
		EXPECT_EQ(bench.modes.failed(), c.fails == PLOOP_OP_SYNC && c.error == -kEIO);
	}
}

TEST(Stop, SettleWaitsForWhatIsOnItsWayToTheHost)
{
	StopBench bench;

	bench.map_word(5, 3);
	bench.slow(PLOOP_OP_PUNCH, 10);
	bench.send(PLOOP_RQ_DISCARD, 5);
	bench.settle();
	bench.committer.want();
	bench.inbox.kick();
	bench.settle();
	ASSERT_EQ(bench.world.calls(sim::call_of(PLOOP_OP_PUNCH)), 1u);
	bench.make_dirty();
	bench.fail(PLOOP_OP_WRITE_BUFFERED, -kENOSPC);
	bench.begin_stop();
	EXPECT_EQ(bench.steps(), Steps{"write-buffered"});
	EXPECT_FALSE(bench.done());
	bench.world.advance_ms(10);
	EXPECT_TRUE(bench.done());
	EXPECT_EQ(bench.steps(), (Steps{"write-buffered", "sync"}));
	EXPECT_EQ(bench.stop.status().code(), -kENOSPC);
}

TEST(Stop, OfAFailedInstanceNothingIsWritten)
{
	StopBench bench;

	bench.make_dirty();
	bench.modes.fail(Status::error(kEIO));
	bench.begin_stop();
	EXPECT_TRUE(bench.done());
	EXPECT_EQ(bench.stop.status().code(), -kEIO);
	EXPECT_EQ(bench.steps(), Steps{});
	EXPECT_TRUE(bench.stop.marked());
}

TEST(Stop, AReadOnlyTableWritesNothing)
{
	StopBench bench;

	bench.policy.read_only = true;
	bench.begin_stop();
	EXPECT_TRUE(bench.done());
	EXPECT_TRUE(bench.stop.status().ok());
	EXPECT_EQ(bench.steps(), Steps{});
}

TEST(Stop, FreeingEndsAfterAFewSeconds)
{
	StopBench bench;

	for (uint32_t i = 0; i < 7; i++)
		bench.map_word(i, 20 + 2 * i); // none beside another: a punch each
	bench.slow(PLOOP_OP_PUNCH, 1000);
	bench.send(PLOOP_RQ_DISCARD, 0, 7 * 64);
	bench.begin_stop();
	bench.world.advance_ms(2900);
	EXPECT_FALSE(bench.done());
	bench.world.advance_ms(1200);
	EXPECT_TRUE(bench.done());
	EXPECT_TRUE(bench.stop.status().ok());
	EXPECT_EQ(bench.quarantine.count(), 3u) << "what is under way ends, no more begins";
	EXPECT_FALSE(bench.stop.marked());
}

TEST(Stop, OnlyAFreeTailOfAFileIsCut)
{
	StopBench device(block_device);
	device.begin_stop();
	EXPECT_TRUE(device.done());
	EXPECT_EQ(device.steps(), (Steps{"sync", "write-buffered", "sync"}));
}

TEST(Stop, AFileWithoutAFreeTailIsNotCut)
{
	StopBench bench;
	FileCluster place;

	while (bench.pool.take(place))
		bench.set_word(5, MapState::durable, place.raw());
	bench.begin_stop();
	EXPECT_TRUE(bench.done());
	EXPECT_EQ(bench.steps(), (Steps{"sync", "write-buffered", "sync"}));
	EXPECT_EQ(bench.file.size(), 14 * kCluster);
}

// It reaches beyond what is known of the file.
TEST(Stop, AnExtensionIsNotCutOff)
{
	StopBench bench([](sim::File &file) {
		file.set_size(1200 * kCluster);
		file.poke(56, std::array<uint8_t, 4>{0, 0x10, 1}); // 1088 clusters
	});

	ASSERT_TRUE(bench.stack.top().larger_than(bench.space.limit()));
	bench.begin_stop();
	EXPECT_TRUE(bench.done());
	EXPECT_EQ(bench.file.size(), 1200 * kCluster);
}

TEST(Stop, ATailThatStaysHarmsNobody)
{
	StopBench bench;

	bench.fail(PLOOP_OP_TRUNCATE, -kEIO);
	bench.begin_stop();
	EXPECT_TRUE(bench.done());
	EXPECT_TRUE(bench.stop.status().ok());
	EXPECT_FALSE(bench.stop.marked());
}

TEST(Stop, WhoDidNotSetTheMarkLeavesIt)
{
	StopBench bench;

	bench.stop.set_marked(false);
	bench.begin_stop();
	EXPECT_EQ(bench.steps(), (Steps{"sync", "truncate", "sync"}));
	EXPECT_TRUE(bench.marked_on_disk());
}

TEST(Stop, AMarkThatStaysIsRemembered)
{
	StopBench bench;

	bench.fail(PLOOP_OP_WRITE_BUFFERED, -kENOSPC);
	bench.begin_stop();
	EXPECT_TRUE(bench.done());
	EXPECT_TRUE(bench.stop.status().ok());
	EXPECT_TRUE(bench.stop.marked());
}

TEST(Stop, AnErrorOfTheLastSyncFailsTheInstance)
{
	StopBench bench;

	bench.fail(PLOOP_OP_SYNC, -kEIO, 2);
	bench.begin_stop();
	EXPECT_TRUE(bench.done());
	EXPECT_EQ(bench.stop.status().code(), -kEIO);
	EXPECT_TRUE(bench.modes.failed());
}

TEST(Stop, WhoWaitsForSpaceIsHandedBackOrEnds)
{
	for (const bool noflush : {false, true}) {
		StopBench bench;

		bench.policy.set_suspending(noflush ? Suspending::noflush : Suspending::flush);
		bench.host.may_requeue = [noflush] { return noflush; };
		for (uint32_t i = 0; i < 3; i++)
			bench.outage.park(&bench.request(PLOOP_RQ_WRITE, 5 + i));
		bench.begin_stop();
		EXPECT_TRUE(bench.done());
		EXPECT_TRUE(bench.outage.holds_nothing());
		for (const auto &rq : bench.requests) {
			EXPECT_EQ(rq->requeued, noflush);
			EXPECT_EQ(rq->ended_with, noflush ? PLOOP_END_REQUEUE : -kENOSPC);
		}
		EXPECT_EQ(bench.host.logged("3 requests ended with ENOSPC; dmsetup suspend "
					    "--noflush --nolockfs keeps them"),
			  !noflush);
	}
}

// The last commit is tried all the same: there may be space by now.
TEST(Stop, AFlushThatWaitsForSpaceEndsBeforeTheLastCommit)
{
	StopBench bench;

	bench.make_dirty();
	bench.fail(PLOOP_OP_WRITE_BUFFERED, -kENOSPC);
	const sim::Request &flush = bench.send(PLOOP_RQ_FLUSH, 0, 0);
	bench.settle();
	ASSERT_TRUE(bench.committer.parked());
	bench.begin_stop();
	EXPECT_EQ(flush.ended_with, -kENOSPC);
	EXPECT_TRUE(bench.done());
	EXPECT_TRUE(bench.stop.status().ok());
	EXPECT_EQ(bench.durable_entry(200), 9u);
}

TEST(Stop, NothingBeginsAfterItIsDone)
{
	StopBench bench;

	bench.low_space.set_mark_mib(1);
	bench.low_space.look();
	bench.settle();
	bench.pool.reclaim_later();
	bench.make_dirty(); // which arms the timer of commits
	bench.begin_stop();
	ASSERT_TRUE(bench.done());
	const size_t steps = bench.steps().size();
	for (const Signal signal : StopBench::kSignals)
		bench.inbox.signal(signal);
	bench.world.advance_ms(60000);
	EXPECT_EQ(bench.steps().size(), steps);
	EXPECT_FALSE(bench.pool_is_open());
}

TEST(Stop, AfterAResetAllBeginsAgain)
{
	for (const bool failed : {false, true}) {
		StopBench bench;

		bench.make_dirty();
		if (failed)
			bench.fail(PLOOP_OP_WRITE_BUFFERED, -kENOSPC);
		bench.begin_stop();
		ASSERT_TRUE(bench.done());
		if (!failed)
			bench.reload();
		bench.resume();
		EXPECT_FALSE(bench.done());
		EXPECT_FALSE(bench.stop.under_way());
		EXPECT_TRUE(bench.stop.status().ok());
		bench.low_space.set_mark_mib(1);
		bench.low_space.look();
		const sim::Request &write = bench.send(PLOOP_RQ_WRITE, 5, 1);
		const sim::Request &discard = bench.send(PLOOP_RQ_DISCARD, 200);
		bench.settle();
		EXPECT_EQ(write.ended_with, 0);
		EXPECT_EQ(discard.ends, 1);
		bench.world.advance_ms(5000); // the commit in the background
		EXPECT_NE(bench.durable_entry(5), 0u);
		EXPECT_EQ(bench.quarantine.count(), 0u);
		EXPECT_GE(bench.world.calls(sim::call_of(PLOOP_OP_FREE_SPACE)), 2u);
		// With the next suspend, who parks before its end is tried once more.
		bench.policy.set_suspending(Suspending::flush);
		sim::Request &parked = bench.request(PLOOP_RQ_WRITE, 6, 1);
		bench.outage.park(&parked);
		bench.settle();
		EXPECT_EQ(parked.ends, 1);
		EXPECT_EQ(parked.ended_with, 0);
		bench.begin_stop();
		EXPECT_TRUE(bench.done());
		EXPECT_TRUE(bench.stop.status().ok());
		EXPECT_EQ(bench.dirty.count(), 0u);
	}
}

// Device-mapper gives a suspend up: nobody was to be stopped yet.
TEST(Stop, ASuspendThatIsUndoneLeavesAllAsItWas)
{
	StopBench bench;

	bench.fill_disk();
	const sim::Request &before = bench.send(PLOOP_RQ_WRITE, 5);
	bench.settle();
	ASSERT_TRUE(bench.outage.lasts());
	bench.policy.set_suspending(Suspending::flush);
	bench.inbox.signal(kSignalSuspend);
	bench.settle();
	EXPECT_EQ(before.ended_with, -kENOSPC);
	bench.policy.set_suspending(Suspending::none);
	bench.inbox.signal(kSignalUndone);
	const sim::Request &after = bench.send(PLOOP_RQ_WRITE, 5);
	bench.settle();
	EXPECT_FALSE(bench.stop.under_way());
	EXPECT_FALSE(bench.done());
	EXPECT_EQ(after.ends, 0);
	EXPECT_EQ(bench.outage.nr_parked(), 1u);
	bench.free_disk();
	bench.world.advance_ms(5000);
	EXPECT_EQ(after.ends, 1);
	EXPECT_EQ(after.ended_with, 0);
}

} // namespace ploop
