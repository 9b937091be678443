// SPDX-License-Identifier: GPL-2.0
// Quarantine, Committer, Flushes and Unwritten, each alone.
#include <algorithm>
#include <numeric>

#include "core/commit/committer.h"
#include "core/commit/flush.h"
#include "core/commit/quarantine.h"
#include "core/commit/unwritten.h"
#include "unit/parts.h"

namespace ploop {

namespace {

constexpr uint32_t kBytes = 32768;
constexpr uint32_t kPage0 = sim::call_of(PLOOP_OP_WRITE_BUFFERED);
constexpr uint32_t kPage = sim::call_of(PLOOP_OP_WRITE);
constexpr uint32_t kSync = sim::call_of(PLOOP_OP_SYNC);
constexpr uint32_t kPunch = sim::call_of(PLOOP_OP_PUNCH);

using Ends = std::vector<int>;

sim::ImageSpec with_pages(uint32_t pages)
{
	sim::ImageSpec spec;

	spec.entries = pages * kBatPageEntries - kHeaderBytes / 4;
	return spec;
}

// A cluster whose entry lies in that page.
uint32_t in_page(uint32_t page)
{
	return page * kBatPageEntries;
}

std::string repeated(const std::string &word, uint32_t count)
{
	std::string text;

	for (uint32_t i = 0; i < count; i++)
		text += (i == 0 ? "" : " ") + word;
	return text;
}

// ---- The quarantine, whose commits are made by hand ------------------------------

struct QuarantineBench : Bench {
	// All clusters of the file are used, and hold data.
	explicit QuarantineBench(uint32_t clusters = 10)
		: Bench({.file_clusters = clusters + 1}, [](sim::File &made) {
			  made.poke(kBytes, std::vector<uint8_t>(made.size() - kBytes, 0xaa));
		  })
	{
		EXPECT_TRUE(quarantine.create(space.limit()).ok());
		modes.begin(Mode::rw);
		for (uint32_t i = 1; i <= clusters; i++)
			EXPECT_TRUE(space.claim(FileCluster(i)));
		on_drained = [this] { quarantine.epoch_drained(); };
		on_round = [this] { quarantine.run(); };
		on_timer = [this](ploop_timer which) {
			if (which == PLOOP_TIMER_COMMIT)
				commit_due_ms = world.now_ms();
		};
	}

	void add(uint32_t cluster) { EXPECT_TRUE(quarantine.add(FileCluster(cluster))); }
	void add(std::vector<uint32_t> clusters)
	{
		for (uint32_t cluster : clusters)
			add(cluster);
	}
	void run()
	{
		inbox.kick();
		settle();
	}
	void commit()
	{
		quarantine.commit_begins();
		quarantine.commit_succeeded();
		run();
	}
	bool is_used(uint32_t cluster) const { return space.is_used(FileCluster(cluster)); }

	uint64_t commit_due_ms = 0;
	FakeWatcher watcher;
	Quarantine quarantine{&host, inbox, modes, stack, space, dirty, watcher};
};

} // namespace

TEST(QuarantineAlone, FreesNothingBeforeItsCommitHasSucceeded)
{
	QuarantineBench bench;

	bench.add(3);
	bench.run();
	EXPECT_TRUE(bench.quarantine.needs_commit());
	bench.quarantine.commit_begins();
	bench.run();
	EXPECT_FALSE(bench.quarantine.needs_commit());
	EXPECT_EQ(bench.began(), "") << "the disk has the old entry";
	EXPECT_EQ(bench.quarantine.count(), 1u);
	bench.quarantine.commit_succeeded();
	bench.run();
	EXPECT_EQ(bench.began_where(), "punch 98304+32768 sync 0+0");
	EXPECT_FALSE(bench.is_used(3));
	EXPECT_EQ(bench.space.nr_clean(), 1u);
	EXPECT_TRUE(bench.quarantine.idle());
	EXPECT_EQ(bench.watcher.came, 1u) << "who waits for space does not hear of it";
}

TEST(QuarantineAlone, WhatComesDuringARoundWaitsForTheNext)
{
	QuarantineBench bench;

	bench.add(3);
	bench.quarantine.commit_begins();
	bench.add(5);
	EXPECT_TRUE(bench.quarantine.needs_commit());
	EXPECT_EQ(bench.quarantine.added(), 2u);
	EXPECT_EQ(bench.quarantine.committed(), 1u) << "the second needs a commit, still";
	bench.quarantine.commit_succeeded();
	bench.run();
	EXPECT_FALSE(bench.is_used(3));
	EXPECT_TRUE(bench.is_used(5));
	EXPECT_EQ(bench.quarantine.gone(), 1u);
	bench.commit();
	EXPECT_FALSE(bench.is_used(5));
}

TEST(QuarantineAlone, AFailedRoundKeepsAll)
{
	QuarantineBench bench;

	bench.add(3);
	bench.quarantine.commit_begins();
	bench.add(4);
	bench.quarantine.commit_failed();
	bench.run();
	EXPECT_EQ(bench.began(), "");
	EXPECT_TRUE(bench.quarantine.needs_commit());
	bench.commit();
	EXPECT_EQ(bench.began_where(), "punch 98304+65536 sync 0+0");
}

TEST(QuarantineAlone, IoThatBeganBeforeIsWaitedFor)
{
	QuarantineBench bench;
	const uint32_t reader = ph_epoch_enter(&bench.host);

	bench.add(3);
	bench.commit();
	EXPECT_EQ(bench.began(), "") << "punched under somebody's read";
	EXPECT_FALSE(bench.quarantine.settled());
	ph_epoch_exit(&bench.host, reader);
	bench.settle();
	EXPECT_EQ(bench.began(), "punch sync");
}

// The flip under way waits only for those who came before it.
TEST(QuarantineAlone, WhatGetsDurableDuringAFlipWaitsForAnother)
{
	QuarantineBench bench;
	const uint32_t early = ph_epoch_enter(&bench.host);

	bench.add(3);
	bench.commit();
	const uint32_t late = ph_epoch_enter(&bench.host);
	bench.add(5);
	bench.commit();
	ph_epoch_exit(&bench.host, early);
	bench.settle();
	EXPECT_FALSE(bench.is_used(3));
	EXPECT_TRUE(bench.is_used(5)) << "the late one may be reading it";
	EXPECT_EQ(bench.byte_of(5), 0xaa);
	ph_epoch_exit(&bench.host, late);
	bench.settle();
	EXPECT_FALSE(bench.is_used(5));
}

TEST(QuarantineAlone, ADrainWaitsForThoseWhoHadBegun)
{
	QuarantineBench bench;
	const uint32_t early = ph_epoch_enter(&bench.host);

	bench.quarantine.want_drain();
	EXPECT_FALSE(bench.quarantine.drained());
	bench.run();
	EXPECT_FALSE(bench.quarantine.drained());
	const uint32_t late = ph_epoch_enter(&bench.host);
	ph_epoch_exit(&bench.host, early);
	bench.settle();
	EXPECT_TRUE(bench.quarantine.drained());
	bench.quarantine.want_drain();
	EXPECT_FALSE(bench.quarantine.drained()) << "the late one has begun before this";
	ph_epoch_exit(&bench.host, late);
	bench.run();
	EXPECT_TRUE(bench.quarantine.drained());
}

TEST(QuarantineAlone, IsGivenBackOnlyWhenThePunchIsDurable)
{
	QuarantineBench bench;

	bench.world.delay_ms[kSync] = 20;
	bench.add(3);
	bench.commit();
	EXPECT_EQ(bench.began(), "punch sync");
	EXPECT_EQ(bench.durable_byte_of(3), 0xaa);
	EXPECT_TRUE(bench.is_used(3)) << "a power cut would show its old bytes";
	EXPECT_EQ(bench.watcher.came, 0u);
	EXPECT_EQ(bench.quarantine.count(), 1u);
	EXPECT_FALSE(bench.quarantine.settled());
	bench.world.advance_ms(20);
	EXPECT_FALSE(bench.is_used(3));
	EXPECT_EQ(bench.durable_byte_of(3), 0);
}

TEST(QuarantineAlone, IsPunchedInLongRunsInWhateverOrderItCame)
{
	QuarantineBench bench(400);
	std::vector<uint32_t> first(100);
	std::vector<uint32_t> second(200);

	std::iota(first.begin(), first.end(), 201);
	std::iota(second.begin(), second.end(), 1);
	std::shuffle(first.begin(), first.end(), std::mt19937_64(1));
	std::shuffle(second.begin(), second.end(), std::mt19937_64(2));
	bench.world.delay_ms[kPunch] = 10;
	bench.add(first);
	bench.commit();
	bench.add(second);
	bench.commit();
	bench.world.advance_ms(20);
	EXPECT_EQ(bench.began_where(), "punch 6586368+3276800 punch 32768+6553600 sync 0+0")
		<< "one sync is for both";
	EXPECT_EQ(bench.space.nr_clean(), 300u);
}

TEST(QuarantineAlone, ABatchIsSyncedAfter64Runs)
{
	QuarantineBench bench(200);

	for (uint32_t i = 1; i < 200; i += 2)
		bench.add(i);
	bench.world.delay_ms[kPunch] = 1;
	bench.commit();
	bench.world.advance_ms(64);
	EXPECT_EQ(bench.space.nr_clean(), 64u) << "who waits for space waits for all of them";
	EXPECT_EQ(bench.began(), repeated("punch", 64) + " sync punch");
	bench.world.advance_ms(100);
	EXPECT_EQ(bench.began(), repeated("punch", 35) + " sync");
	EXPECT_TRUE(bench.quarantine.idle());
}

TEST(QuarantineAlone, WhatCannotBePunchedIsFreeButDirty)
{
	QuarantineBench bench;

	bench.file.unsupported = 1u << PLOOP_OP_PUNCH;
	bench.add({3, 4, 7});
	bench.commit();
	EXPECT_EQ(bench.began(), "punch punch");
	EXPECT_EQ(bench.space.nr_free(), 3u);
	EXPECT_EQ(bench.space.nr_clean(), 0u) << "it has its old bytes";
	EXPECT_GE(bench.watcher.came, 1u);
	EXPECT_TRUE(bench.quarantine.idle());
}

// What another sync is told of may be a punch of these.
TEST(QuarantineAlone, AnErrorThatAnotherSyncIsToldCountsToo)
{
	QuarantineBench bench;

	bench.world.delay_ms[kSync] = 20;
	bench.add({3, 4});
	bench.commit();
	bench.world.advance_ms(10);
	bench.another_sync_fails(kENOSPC);
	bench.world.advance_ms(20);
	EXPECT_EQ(bench.space.nr_free(), 2u);
	EXPECT_EQ(bench.space.nr_clean(), 0u) << "their old bytes may come back";
}

TEST(QuarantineAlone, WhatIsNotDurableIsFreeButDirty)
{
	QuarantineBench bench;

	bench.world.fail_nth({.calls = kSync, .error = -ENOSPC});
	bench.add({3, 4});
	bench.commit();
	EXPECT_EQ(bench.modes.nr_sync_errors(), 1u) << "the others do not hear of it";
	EXPECT_EQ(bench.space.nr_free(), 2u);
	EXPECT_EQ(bench.space.nr_clean(), 0u);
	EXPECT_TRUE(bench.quarantine.idle());
	bench.add(6);
	bench.commit();
	EXPECT_EQ(bench.space.nr_clean(), 1u);
}

// What is under way is waited for, the rest is for the next resume.
TEST(QuarantineAlone, ASuspendDoesNotWaitForAllPunches)
{
	QuarantineBench bench(20);

	bench.world.delay_ms[kPunch] = 1000;
	for (uint32_t i = 1; i <= 20; i += 2)
		bench.add(i);
	bench.commit();
	bench.world.advance_ms(1500);
	bench.quarantine.stop_freeing();
	EXPECT_FALSE(bench.quarantine.settled());
	bench.world.advance_ms(500);
	EXPECT_TRUE(bench.quarantine.settled());
	EXPECT_EQ(bench.began(), "punch punch sync");
	EXPECT_EQ(bench.space.nr_clean(), 2u);
	EXPECT_EQ(bench.quarantine.count(), 8u);
	EXPECT_FALSE(bench.quarantine.idle());
	bench.quarantine.restart();
	bench.inbox.kick();
	bench.world.advance_ms(10000);
	EXPECT_EQ(bench.began(), repeated("punch", 8) + " sync");
	EXPECT_TRUE(bench.quarantine.idle());
}

TEST(QuarantineAlone, WhatIsForgottenIsNotFreed)
{
	QuarantineBench bench(20);

	bench.world.delay_ms[kPunch] = 10;
	bench.add({1, 3, 5});
	bench.commit();
	bench.world.advance_ms(10); // the second is under way
	bench.quarantine.stop_freeing();
	bench.world.advance_ms(10);
	bench.add({7, 9});
	bench.quarantine.commit_begins();
	bench.add(11);
	EXPECT_EQ(bench.began(), "punch punch sync");
	bench.quarantine.forget();
	EXPECT_EQ(bench.quarantine.count(), 0u);
	EXPECT_FALSE(bench.quarantine.needs_commit());
	bench.quarantine.restart();
	bench.commit();
	bench.world.advance_ms(100);
	EXPECT_EQ(bench.began(), "") << "the map is read again, and may use them";
	bench.add(13);
	bench.commit();
	bench.world.advance_ms(100);
	EXPECT_EQ(bench.began_where(), "punch 425984+32768 sync 0+0");
	EXPECT_TRUE(bench.is_used(5));
	EXPECT_TRUE(bench.quarantine.idle());
}

TEST(QuarantineAlone, WithoutMemoryNothingIsAdded)
{
	QuarantineBench bench;

	bench.world.fail_nth({.calls = sim::CALL_ALLOC, .error = -ENOMEM});
	EXPECT_FALSE(bench.quarantine.add(FileCluster(3)));
	EXPECT_EQ(bench.quarantine.count(), 0u);
	EXPECT_FALSE(bench.quarantine.needs_commit());
	bench.world.advance_ms(5000);
	EXPECT_EQ(bench.commit_due_ms, 0u);
}

// Freed space is soon seen; and whoever goes on discarding does not put that off.
TEST(QuarantineAlone, TheFirstHastensTheCommit)
{
	QuarantineBench bench;

	bench.dirty.mark(VirtualCluster(0)); // in 5 s
	bench.add(3);
	bench.world.advance_ms(900);
	bench.add(4);
	bench.world.advance_ms(5000);
	EXPECT_EQ(bench.commit_due_ms, 1000u);
}

// ---- The committer ---------------------------------------------------------------

namespace {

struct CommitBench : Bench {
	explicit CommitBench(const sim::ImageSpec &spec = {}) : Bench(spec)
	{
		EXPECT_TRUE(quarantine.create(space.limit()).ok());
		EXPECT_TRUE(committer.create(map.pages()).ok());
		modes.begin(Mode::rw);
		on_drained = [this] { quarantine.epoch_drained(); };
		on_request = [this](ploop_rq *rq) {
			if (joins)
				committer.join(rq);
		};
		on_round = [this] {
			if ((std::exchange(signals, 0) & kSignalCommitTimer) != 0)
				committer.timer_fired();
			quarantine.run();
			committer.run();
		};
		on_timer = [this](ploop_timer which) {
			if (which == PLOOP_TIMER_COMMIT)
				inbox.signal(kSignalCommitTimer);
		};
		on_flush = [this] { flushes.run(); };
	}

	// A write has got the cluster a place.
	void publish(uint32_t cluster, uint32_t place, MapState state = MapState::fresh)
	{
		if (state == MapState::unsynced)
			map.note_unsynced();
		set_word(cluster, state, place);
		dirty.mark(VirtualCluster(cluster));
	}
	void run()
	{
		inbox.kick();
		settle();
	}
	// A flush that joins the next round.
	sim::Request &join()
	{
		sim::Request &rq = request(PLOOP_RQ_FLUSH, 0, 0);

		rq.on_end = [this](sim::Request &ended) {
			gate_was_open = gate.is_open();
			durable_then = durable_entry(0);
			ended_order.push_back(&ended);
		};
		committer.join(&rq);
		run();
		return rq;
	}
	// A flush as its submitter sends it.
	sim::Request &flush()
	{
		sim::Request &rq = request(PLOOP_RQ_FLUSH, 0, 0);

		flushes.flush(&rq);
		settle();
		return rq;
	}
	void fail(uint32_t calls, int error, bool sticky = true)
	{
		world.fail_nth({.calls = calls, .error = error, .sticky = sticky});
	}
	MapState state_of(uint32_t cluster) const { return word(cluster).state; }

	bool joins = true; // who comes to the worker
	// When the last flush ended.
	bool gate_was_open = false;
	uint32_t durable_then = 0;
	std::vector<sim::Request *> ended_order;

	FakeWatcher watcher;
	Quarantine quarantine{&host, inbox, modes, stack, space, dirty, watcher};
	Committer committer{&host, inbox, policy, gate,	      modes,
			    stack, map,	  dirty,  quarantine, watcher};
	Flushes flushes{&host, inbox, policy, gate, modes, stack, dirty, committer};
};

} // namespace

TEST(CommitterAlone, FreshWordsNeedOneSync)
{
	CommitBench bench;

	bench.publish(0, 5);
	const sim::Request &rq = bench.join();
	EXPECT_TRUE(rq.ended());
	EXPECT_EQ(rq.ended_with, 0);
	EXPECT_EQ(bench.began_where(), "write-buffered 64+4032 sync 0+0")
		<< "the header is not ours to write";
	EXPECT_EQ(bench.durable_then, 5u) << "the flush ended before its entry was durable";
	EXPECT_EQ(bench.state_of(0), MapState::durable);
	EXPECT_EQ(bench.dirty.count(), 0u);
	EXPECT_EQ(bench.watcher.ends, Ends{0});
	EXPECT_EQ(bench.watcher.proved, 1u);
	EXPECT_TRUE(bench.committer.idle());
}

TEST(CommitterAlone, UnsyncedWordsNeedTwo)
{
	CommitBench bench;

	bench.publish(0, 5, MapState::unsynced);
	const sim::Request &rq = bench.join();
	EXPECT_EQ(rq.ended_with, 0);
	EXPECT_EQ(bench.began(), "sync write-buffered sync") << "its data may be gone";
	EXPECT_EQ(bench.durable_then, 5u);
	EXPECT_EQ(bench.state_of(0), MapState::durable);
	bench.publish(1, 6);
	bench.join();
	EXPECT_EQ(bench.began(), "write-buffered sync") << "nothing is unsynced any more";
}

TEST(CommitterAlone, WhatIsWrittenBehindTheSyncWaitsForTheNextRound)
{
	CommitBench bench;

	bench.world.delay_ms[kSync] = 10;
	bench.publish(0, 5, MapState::unsynced);
	const sim::Request &rq = bench.join();
	bench.publish(1, 6, MapState::unsynced);
	bench.publish(2, 7); // it reads as zeros, or its own
	bench.world.advance_ms(20);
	EXPECT_TRUE(rq.ended());
	EXPECT_EQ(bench.durable_entry(0), 5u);
	EXPECT_EQ(bench.durable_entry(1), 0u) << "its data is not synced";
	EXPECT_EQ(bench.durable_entry(2), 7u);
	EXPECT_EQ(bench.state_of(1), MapState::unsynced);
	EXPECT_EQ(bench.dirty.count(), 1u) << "the next round does not find it";
	bench.began();
	const sim::Request &next = bench.join();
	bench.world.advance_ms(20);
	EXPECT_TRUE(next.ended());
	EXPECT_EQ(bench.began(), "sync write-buffered sync");
	EXPECT_EQ(bench.durable_entry(1), 6u);
}

TEST(CommitterAlone, OneSyncIsForAllPages)
{
	CommitBench bench(with_pages(40));

	for (uint32_t page = 0; page < 40; page++)
		bench.publish(in_page(page), 100 + page);
	EXPECT_EQ(bench.dirty.count(), 40u);
	bench.join();
	EXPECT_EQ(bench.began(), "write-buffered " + repeated("write", 39) + " sync");
	for (uint32_t page = 0; page < 40; page++)
		EXPECT_EQ(bench.durable_entry(in_page(page)), 100 + page);
	EXPECT_EQ(bench.dirty.count(), 0u);
}

TEST(CommitterAlone, WithoutADirtyPageItIsOneSync)
{
	CommitBench bench;

	EXPECT_EQ(bench.join().ended_with, 0);
	EXPECT_EQ(bench.began(), "sync");
	bench.run();
	EXPECT_EQ(bench.began(), "") << "nobody wants a round";
	bench.committer.want();
	bench.run();
	EXPECT_EQ(bench.began(), "sync");
}

TEST(CommitterAlone, WhoComesDuringARoundWaitsForTheNext)
{
	CommitBench bench;

	bench.world.delay_ms[kSync] = 10;
	bench.publish(1, 6);
	const sim::Request &first = bench.join();
	bench.publish(0, 5);
	const sim::Request &second = bench.join();
	EXPECT_EQ(bench.dirty.count(), 2u) << "of the round, and marked again";
	bench.world.advance_ms(10);
	EXPECT_TRUE(first.ended());
	EXPECT_FALSE(second.ended()) << "what it is for is not durable";
	EXPECT_EQ(bench.dirty.count(), 1u);
	bench.world.advance_ms(10);
	EXPECT_TRUE(second.ended());
	EXPECT_EQ(bench.durable_then, 5u);
	EXPECT_EQ(bench.began(), "write-buffered sync write-buffered sync");
}

TEST(CommitterAlone, BeginsByItselfAfterSomeSeconds)
{
	CommitBench bench;

	bench.publish(0, 5);
	bench.world.advance_ms(4999);
	EXPECT_EQ(bench.began(), "");
	bench.world.advance_ms(1);
	EXPECT_EQ(bench.durable_entry(0), 5u);
	bench.began();
	bench.world.advance_ms(20000);
	EXPECT_EQ(bench.began(), "") << "all is durable";
}

TEST(CommitterAlone, LetsTheQuarantineOfItsRoundGo)
{
	CommitBench bench;

	bench.space.grow(4);
	ASSERT_TRUE(bench.space.claim(FileCluster(2)) && bench.space.claim(FileCluster(3)));
	bench.world.delay_ms[kSync] = 10;
	ASSERT_TRUE(bench.quarantine.add(FileCluster(2)));
	bench.dirty.mark(VirtualCluster(0));
	bench.join();
	ASSERT_TRUE(bench.quarantine.add(FileCluster(3)));
	bench.dirty.mark(VirtualCluster(1));
	EXPECT_EQ(bench.began(), "write-buffered sync");
	bench.world.advance_ms(10);
	EXPECT_EQ(bench.began_where(), "punch 65536+32768 sync 0+0");
	EXPECT_TRUE(bench.quarantine.needs_commit());
	bench.world.advance_ms(1100);
	EXPECT_EQ(bench.quarantine.count(), 0u) << "about a second later, not five";
}

TEST(CommitterAlone, AFailedRoundLetsNothingGo)
{
	CommitBench bench;

	bench.space.grow(3);
	ASSERT_TRUE(bench.space.claim(FileCluster(2)));
	ASSERT_TRUE(bench.quarantine.add(FileCluster(2)));
	bench.dirty.mark(VirtualCluster(0));
	bench.fail(kPage0, -EIO, false);
	bench.join();
	EXPECT_EQ(bench.began(), "write-buffered") << "the disk may have the old entry";
	bench.world.advance_ms(100);
	EXPECT_EQ(bench.began(), "write-buffered sync punch sync");
}

// ---- Pages that cannot be written

TEST(CommitterAlone, APageThatCannotBeWrittenShutsTheGateUntilItIs)
{
	CommitBench bench;

	bench.fail(kPage0, -EIO);
	bench.publish(0, 5);
	const sim::Request &rq = bench.join();
	EXPECT_EQ(rq.ended_with, -EIO);
	EXPECT_FALSE(bench.gate_was_open) << "device-mapper sends the write that follows";
	EXPECT_FALSE(bench.modes.failed()) << "memory has all of it";
	EXPECT_EQ(bench.state_of(0), MapState::fresh);
	EXPECT_EQ(bench.dirty.count(), 1u);
	EXPECT_EQ(bench.watcher.ends, Ends{-EIO});
	EXPECT_TRUE(bench.host.logged("the map cannot be written now, error -5"));
	EXPECT_EQ(bench.host.events, 1u);
	bench.world.clear_faults();
	bench.world.advance_ms(100);
	EXPECT_TRUE(bench.gate.is_open());
	EXPECT_EQ(bench.durable_entry(0), 5u);
	EXPECT_EQ(bench.state_of(0), MapState::durable);
	EXPECT_EQ(bench.dirty.count(), 0u);
	EXPECT_TRUE(bench.host.logged("the map is written again"));
	EXPECT_EQ(bench.host.events, 2u);
	EXPECT_EQ(bench.host.logs.size(), 2u);
}

TEST(CommitterAlone, ItIsTriedAgainAfterEverLongerWaits)
{
	CommitBench bench;

	bench.fail(kPage0, -EPERM);
	bench.publish(0, 5);
	bench.join();
	for (uint64_t wait : {100, 200, 400, 800, 1600, 3200, 5000, 5000}) {
		bench.began();
		bench.world.advance_ms(wait - 1);
		EXPECT_EQ(bench.began(), "") << wait;
		bench.world.advance_ms(1);
		EXPECT_EQ(bench.began(), "write-buffered") << wait;
	}
	EXPECT_EQ(bench.host.logs.size(), 1u) << "it is told once";
	const sim::Request &rq = bench.join();
	EXPECT_EQ(bench.began(), "") << "who comes meanwhile waits for the next try";
	EXPECT_FALSE(rq.ended());
	bench.world.clear_faults();
	bench.world.advance_ms(5000);
	EXPECT_EQ(rq.ended_with, 0);
	EXPECT_EQ(bench.durable_then, 5u);
	bench.fail(kPage0, -EPERM);
	bench.publish(1, 6);
	bench.join();
	bench.world.clear_faults();
	bench.world.advance_ms(100);
	EXPECT_TRUE(bench.gate.is_open()) << "the waits begin anew";
	EXPECT_EQ(bench.host.logs.size(), 4u) << "another outage, another two lines";
}

// The data has had its sync, if not its entry.
TEST(CommitterAlone, AFailedRoundLeavesUnsyncedWordsFresh)
{
	CommitBench bench;

	bench.fail(kPage0, -EIO, false);
	bench.publish(0, 5, MapState::unsynced);
	EXPECT_EQ(bench.join().ended_with, -EIO);
	EXPECT_EQ(bench.began(), "sync write-buffered");
	EXPECT_EQ(bench.state_of(0), MapState::fresh);
	bench.world.advance_ms(100);
	EXPECT_EQ(bench.began(), "write-buffered sync");
	EXPECT_EQ(bench.durable_entry(0), 5u);
}

TEST(CommitterAlone, AFailedSyncOfDataIsNone)
{
	CommitBench bench;

	bench.fail(kSync, -ENOSPC, false);
	bench.publish(0, 5, MapState::unsynced);
	const sim::Request &rq = bench.join();
	EXPECT_EQ(bench.began(), "sync");
	EXPECT_FALSE(rq.ended());
	bench.committer.retry();
	bench.settle();
	EXPECT_EQ(bench.began(), "sync write-buffered sync");
	EXPECT_EQ(rq.ended_with, 0);
	EXPECT_EQ(bench.durable_then, 5u);
}

TEST(CommitterAlone, OnlyARoundThatBeganAfterTheGateWasShutOpensIt)
{
	CommitBench bench;

	bench.world.delay_ms[kSync] = 10;
	const sim::Request &rq = bench.join();
	bench.gate.shut(Status::error(kENOSPC));
	bench.world.advance_ms(10);
	EXPECT_EQ(rq.ended_with, 0);
	EXPECT_FALSE(bench.gate.is_open()) << "the error may be about what came after";
	bench.began();
	bench.world.advance_ms(5010);
	EXPECT_EQ(bench.began(), "sync") << "nobody lifts it";
	EXPECT_TRUE(bench.gate.is_open());
}

TEST(CommitterAlone, AShortWriteIsRepeatedButNotForEver)
{
	CommitBench bench;

	bench.world.fail_nth({.calls = kPage0, .error = 0, .short_bytes = 512});
	bench.publish(0, 5);
	EXPECT_EQ(bench.join().ended_with, 0);
	EXPECT_EQ(bench.began(), "write-buffered write-buffered sync");
	EXPECT_EQ(bench.durable_then, 5u);
	bench.world.fail_nth({.calls = kPage0, .error = 0, .sticky = true, .short_bytes = 512});
	bench.publish(1, 6);
	EXPECT_EQ(bench.join().ended_with, -EIO);
	bench.world.clear_faults();
	bench.world.advance_ms(100);
	EXPECT_EQ(bench.durable_entry(1), 6u);
}

TEST(CommitterAlone, AnotherErrorOfABatchTellsMoreThanAWantOfSpace)
{
	for (const bool first : {false, true}) {
		CommitBench bench(with_pages(2));

		bench.fail(kPage0, first ? -EPERM : -ENOSPC);
		bench.fail(kPage, first ? -ENOSPC : -EPERM);
		bench.publish(in_page(0), 5);
		bench.publish(in_page(1), 6);
		EXPECT_EQ(bench.join().ended_with, -EPERM) << first;
		EXPECT_FALSE(bench.committer.parked()) << first;
		EXPECT_EQ(bench.dirty.count(), 2u) << first;
	}
}

// ---- Syncs that fail

TEST(CommitterAlone, WhatASyncTellsIsForEver)
{
	CommitBench bench;

	bench.fail(kSync, -EIO, false);
	bench.publish(0, 5);
	const sim::Request &rq = bench.join();
	EXPECT_EQ(rq.ended_with, -EIO);
	EXPECT_FALSE(bench.gate_was_open);
	EXPECT_TRUE(bench.modes.failed());
	EXPECT_NE(bench.state_of(0), MapState::durable);
	bench.began();
	EXPECT_EQ(bench.join().ended_with, -EIO);
	bench.committer.want();
	bench.world.advance_ms(20000);
	EXPECT_EQ(bench.began(), "") << "the next sync would know of nothing";
	EXPECT_FALSE(bench.gate.is_open());
}

TEST(CommitterAlone, AnErrorOfTheMomentIsTriedAgainWithoutAWord)
{
	CommitBench bench;

	bench.fail(kSync, -ENOMEM);
	bench.publish(0, 5);
	const sim::Request &rq = bench.join();
	EXPECT_FALSE(rq.ended());
	EXPECT_TRUE(bench.gate.is_open());
	EXPECT_TRUE(bench.host.logs.empty());
	bench.world.clear_faults();
	bench.world.advance_ms(99);
	EXPECT_FALSE(rq.ended());
	bench.world.advance_ms(1);
	EXPECT_EQ(rq.ended_with, 0);
	EXPECT_EQ(bench.durable_then, 5u);
}

// They are too many to be remembered, so their pages are looked through.
TEST(CommitterAlone, ARoundOfManyWordsMakesAllDurable)
{
	CommitBench bench;

	for (uint32_t i = 0; i < 100; i++)
		bench.publish(i, 5 + i);
	const sim::Request &rq = bench.join();
	bench.settle();
	EXPECT_EQ(rq.ended_with, 0);
	for (uint32_t i = 0; i < 100; i++)
		EXPECT_EQ(bench.state_of(i), MapState::durable) << i;
}

// The failure of another's sync is set before it is counted.
TEST(CommitterAlone, ARoundBesideAFailureIsNone)
{
	CommitBench bench;

	bench.world.delay_ms[kSync] = 10;
	bench.publish(0, 5);
	const sim::Request &rq = bench.join();
	bench.modes.fail(Status::error(kEIO));
	bench.world.advance_ms(10);
	EXPECT_EQ(rq.ended_with, -kEIO);
	EXPECT_NE(bench.state_of(0), MapState::durable);
	EXPECT_EQ(bench.dirty.count(), 1u);
}

TEST(CommitterAlone, AnErrorThatAnotherSyncIsToldCountsToo)
{
	CommitBench bench;

	bench.world.delay_ms[kSync] = 10;
	bench.publish(0, 5);
	const sim::Request &rq = bench.join();
	bench.another_sync_fails(kENOSPC);
	bench.world.advance_ms(10);
	EXPECT_FALSE(rq.ended()) << "a page of this round may be lost";
	EXPECT_NE(bench.state_of(0), MapState::durable);
	EXPECT_EQ(bench.dirty.count(), 1u);
	EXPECT_TRUE(bench.committer.parked());
	bench.committer.retry();
	bench.world.advance_ms(10);
	EXPECT_EQ(rq.ended_with, 0);
}

// ---- Want of space

TEST(CommitterAlone, WithoutSpaceARoundIsParkedWithItsFlushes)
{
	for (const uint32_t calls : {kSync, kPage0}) {
		CommitBench bench;

		bench.world.advance_ms(50);
		bench.fail(calls, -ENOSPC);
		bench.publish(0, 5);
		sim::Request &first = bench.join();
		EXPECT_TRUE(bench.committer.parked());
		EXPECT_EQ(bench.watcher.ends, Ends{-ENOSPC});
		EXPECT_EQ(bench.watcher.waiting, 0u);
		bench.world.advance_ms(50);
		sim::Request &second = bench.join();
		EXPECT_EQ(bench.watcher.waiting, 1u) << "it waits for space, too";
		EXPECT_EQ(bench.committer.waiting_since_ms(), 51u) << "the oldest is first";
		EXPECT_TRUE(bench.gate.is_open());
		EXPECT_FALSE(first.ended() || second.ended());
		bench.began();
		bench.world.advance_ms(20000);
		EXPECT_EQ(bench.began(), "") << "only a probe begins it again";
		bench.committer.retry();
		bench.settle();
		EXPECT_TRUE(bench.committer.parked());
		EXPECT_FALSE(first.ended() || second.ended());
		bench.world.clear_faults();
		bench.committer.retry();
		bench.settle();
		EXPECT_EQ(bench.ended_order, (std::vector<sim::Request *>{&first, &second}));
		EXPECT_EQ(first.ended_with, 0);
		EXPECT_EQ(second.ended_with, 0);
		EXPECT_EQ(bench.watcher.proved, 1u);
		EXPECT_FALSE(bench.committer.parked());
	}
}

TEST(CommitterAlone, AFlushWithoutSpaceThatMayNotWaitShutsTheGateFirst)
{
	for (const unsigned why : {0, 1, 2}) {
		CommitBench bench;

		bench.policy.error_if_no_space.store_relaxed(why == 0);
		bench.policy.set_suspending(why == 1 ? Suspending::flush : Suspending::none);
		bench.committer.set_stopping(why == 2);
		bench.fail(kPage0, -ENOSPC);
		bench.publish(0, 5);
		const sim::Request &rq = bench.join();
		EXPECT_EQ(rq.ended_with, -ENOSPC) << why;
		EXPECT_FALSE(bench.gate_was_open) << why;
		EXPECT_EQ(bench.watcher.told, 1u) << why;
		EXPECT_EQ(bench.watcher.ends, Ends{-ENOSPC}) << why;
		EXPECT_EQ(bench.committer.last_status().code(), -ENOSPC) << why;
		EXPECT_FALSE(bench.committer.parked()) << why;
		EXPECT_FALSE(bench.modes.failed()) << why;
		bench.world.clear_faults();
		bench.committer.set_stopping(false);
		bench.world.advance_ms(5000);
		EXPECT_TRUE(bench.gate.is_open()) << "nobody lifts it " << why;
		EXPECT_EQ(bench.durable_entry(0), 5u) << why;
	}
}

TEST(CommitterAlone, TheGateThatAFlushHasShutIsOpenedByItself)
{
	CommitBench bench;

	bench.fail(kSync, -ENOSPC, false);
	bench.policy.error_if_no_space.store_relaxed(true);
	EXPECT_EQ(bench.join().ended_with, -ENOSPC);
	EXPECT_FALSE(bench.gate.is_open());
	bench.world.advance_ms(5000);
	EXPECT_TRUE(bench.gate.is_open()) << "no page is dirty, and nobody sends a flush";
}

TEST(CommitterAlone, ASuspendWithoutFlushHandsThemBack)
{
	for (const bool takes : {false, true}) {
		CommitBench bench;

		bench.policy.set_suspending(Suspending::noflush);
		bench.host.may_requeue = [takes] { return takes; };
		bench.fail(kPage0, -ENOSPC);
		bench.publish(0, 5);
		const sim::Request &rq = bench.join();
		EXPECT_EQ(rq.requeued, takes);
		EXPECT_EQ(bench.committer.parked(), !takes) << "it waits for who does not come";
		EXPECT_TRUE(bench.gate.is_open()) << "it has not failed";
		EXPECT_EQ(bench.watcher.told, 0u);
		bench.host.may_requeue = [] { return true; };
		bench.committer.hand_back();
		EXPECT_TRUE(rq.requeued);
		EXPECT_FALSE(bench.committer.parked());
		bench.world.clear_faults();
		bench.world.advance_ms(5000);
		EXPECT_EQ(bench.durable_entry(0), 5u) << "nobody writes what is dirty";
	}
}

TEST(CommitterAlone, AFlushThatHasWaitedLongEnoughEnds)
{
	CommitBench bench;

	bench.policy.timeout_s.store_relaxed(3);
	bench.fail(kPage0, -ENOSPC);
	bench.publish(0, 5);
	const sim::Request &early = bench.join();
	bench.world.advance_ms(2000);
	const sim::Request &late = bench.join();
	bench.world.advance_ms(999);
	bench.committer.expire();
	EXPECT_FALSE(early.ended());
	bench.world.advance_ms(1);
	bench.committer.expire();
	EXPECT_EQ(early.ended_with, -ENOSPC);
	EXPECT_FALSE(bench.gate_was_open);
	EXPECT_FALSE(late.ended());
	EXPECT_TRUE(bench.committer.parked());
	bench.committer.give_up();
	EXPECT_EQ(late.ended_with, -ENOSPC);
	EXPECT_EQ(bench.watcher.told, 2u);
	EXPECT_TRUE(bench.committer.idle());
}

// ---- The stop

TEST(CommitterAlone, TheLastRoundOfASuspendIsNotTriedAgain)
{
	for (const int error : {-EPERM, -ENOSPC}) {
		CommitBench bench;

		bench.publish(0, 5);
		bench.committer.set_stopping(true);
		bench.fail(kPage0, error);
		bench.committer.want();
		bench.run();
		EXPECT_EQ(bench.committer.last_status().code(), error);
		EXPECT_TRUE(bench.committer.idle());
		bench.began();
		bench.world.advance_ms(20000);
		EXPECT_EQ(bench.began(), "") << "a round begins in what is still";
	}
}

TEST(CommitterAlone, TheStopDoesNotWaitForTheNextTry)
{
	CommitBench bench;

	bench.fail(kPage0, -EIO, false);
	bench.publish(0, 5);
	bench.join();
	EXPECT_FALSE(bench.gate.is_open());
	bench.began();
	bench.committer.set_stopping(true);
	bench.committer.want();
	bench.run();
	EXPECT_EQ(bench.began(), "write-buffered sync");
	EXPECT_TRUE(bench.committer.last_status().ok());
	EXPECT_TRUE(bench.gate.is_open());
}

TEST(CommitterAlone, AResumeBeginsAnew)
{
	CommitBench bench;

	bench.fail(kPage0, -ENOSPC);
	bench.publish(0, 5);
	bench.committer.want();
	bench.run();
	ASSERT_TRUE(bench.committer.parked());
	bench.committer.restart();
	EXPECT_TRUE(bench.committer.idle());
	bench.run();
	bench.world.clear_faults();
	EXPECT_EQ(bench.join().ended_with, 0);
	EXPECT_EQ(bench.durable_then, 5u);
}

// ---- Flushes ----------------------------------------------------------------------

TEST(FlushesAlone, OneSyncIsForAllThatCameBeforeIt)
{
	CommitBench bench;

	bench.world.delay_ms[kSync] = 10;
	const sim::Request &first = bench.flush();
	std::vector<const sim::Request *> others;
	for (unsigned i = 0; i < 5; i++)
		others.push_back(&bench.flush());
	bench.world.advance_ms(10);
	EXPECT_TRUE(first.ended());
	EXPECT_EQ(first.ended_with, 0);
	for (const sim::Request *rq : others)
		EXPECT_FALSE(rq->ended()) << "its data may be newer than that sync";
	bench.world.advance_ms(10);
	for (const sim::Request *rq : others) {
		EXPECT_TRUE(rq->ended());
		EXPECT_EQ(rq->ended_with, 0);
	}
	EXPECT_EQ(bench.began(), "sync sync");
	EXPECT_TRUE(bench.to_worker.empty()) << "no round is needed";
}

TEST(FlushesAlone, MakesDurableWhatWasWritten)
{
	CommitBench bench;
	sim::Request &data = bench.request(PLOOP_RQ_WRITE, 0);

	bench.on_done = [](ploop_rq *rq, int64_t) { end_request(rq, 0); };
	ph_rq_io(&data, bench.stack.top().file(), kBytes, 0, kBytes, 0);
	bench.settle();
	ASSERT_TRUE(data.ended());
	EXPECT_EQ(bench.durable_byte_of(1), 0);
	EXPECT_TRUE(bench.flush().ended());
	EXPECT_EQ(bench.durable_byte_of(1), 0x5a);
}

TEST(FlushesAlone, AKickForNothingIsNoSync)
{
	CommitBench bench;

	ph_flush_kick(&bench.host);
	bench.settle();
	EXPECT_EQ(bench.began(), "");
}

TEST(FlushesAlone, WhatIsNotDurableIsForARound)
{
	CommitBench bench;

	bench.publish(0, 5);
	EXPECT_EQ(bench.flush().ended_with, 0);
	EXPECT_EQ(bench.began(), "write-buffered sync");
	EXPECT_EQ(bench.durable_entry(0), 5u);
	// And so is what a round under way has copied.
	bench.world.delay_ms[kPage0] = 10;
	bench.publish(0, 6);
	bench.join();
	const sim::Request &rq = bench.flush();
	EXPECT_FALSE(rq.ended()) << "the round's sync has not begun";
	EXPECT_EQ(bench.began(), "write-buffered");
	bench.world.advance_ms(10);
	EXPECT_TRUE(rq.ended());
	EXPECT_EQ(bench.durable_entry(0), 6u);
}

TEST(FlushesAlone, GoesToTheWorkerBehindAShutGateAndWithoutAWritableTable)
{
	for (const bool read_only : {false, true}) {
		CommitBench bench;

		bench.joins = false;
		bench.policy.read_only = read_only;
		if (!read_only)
			bench.gate.shut(Status::error(kENOSPC));
		sim::Request &rq = bench.flush();
		EXPECT_EQ(bench.began(), "") << read_only;
		EXPECT_FALSE(rq.ended()) << read_only;
		ASSERT_EQ(bench.to_worker, std::vector<ploop_rq *>{&rq}) << read_only;
		EXPECT_EQ(stage_of(&rq), Stage::fresh) << read_only;
		end_request(&rq, 0);
	}
}

TEST(FlushesAlone, AFlushBehindAShutGateOpensIt)
{
	CommitBench bench;

	bench.gate.shut(Status::error(kENOSPC));
	EXPECT_EQ(bench.flush().ended_with, 0);
	EXPECT_TRUE(bench.gate.is_open());
}

TEST(FlushesAlone, DoesNotSucceedBesideARoundThatFails)
{
	CommitBench bench;

	bench.world.delay_ms[kSync] = 20;
	const sim::Request &rq = bench.flush();
	bench.fail(kPage0, -EIO);
	bench.publish(0, 5);
	EXPECT_EQ(bench.join().ended_with, -EIO);
	bench.world.advance_ms(20);
	EXPECT_FALSE(rq.ended()) << "what failed may be its own";
	bench.world.advance_ms(80);
	EXPECT_TRUE(rq.ended());
	EXPECT_EQ(rq.ended_with, -EIO);
}

TEST(FlushesAlone, AnErrorThatAnotherSyncIsToldCountsToo)
{
	CommitBench bench;

	bench.joins = false;
	bench.world.delay_ms[kSync] = 20;
	sim::Request &rq = bench.flush();
	bench.another_sync_fails(kENOSPC);
	bench.world.advance_ms(20);
	EXPECT_FALSE(rq.ended()) << "what was lost may be its own";
	ASSERT_EQ(bench.to_worker, std::vector<ploop_rq *>{&rq});
	EXPECT_EQ(stage_of(&rq), Stage::fresh);
	end_request(&rq, 0);
}

TEST(FlushesAlone, ASyncWithoutSpaceIsForARound)
{
	CommitBench bench;

	bench.fail(kSync, -ENOSPC, false);
	EXPECT_EQ(bench.flush().ended_with, 0);
	EXPECT_EQ(bench.began(), "sync sync");
	EXPECT_EQ(bench.modes.nr_sync_errors(), 1u) << "the others do not hear of it";
	EXPECT_FALSE(bench.modes.failed());
}

TEST(FlushesAlone, WhatItsSyncTellsIsForEver)
{
	CommitBench bench;

	bench.fail(kSync, -EIO, false);
	const sim::Request &rq = bench.flush();
	EXPECT_TRUE(rq.ended());
	EXPECT_EQ(rq.ended_with, -EIO);
	EXPECT_TRUE(bench.modes.failed());
	EXPECT_FALSE(bench.gate.is_open());
}

// Whoever stops the instance waits for the epoch, and so for the flushes that are no
// business of the worker.
TEST(FlushesAlone, TheEpochWaitsForIt)
{
	CommitBench bench;

	bench.world.delay_ms[kSync] = 20;
	const sim::Request &rq = bench.flush();
	bench.quarantine.want_drain();
	bench.run();
	EXPECT_FALSE(bench.quarantine.drained());
	bench.world.advance_ms(20);
	EXPECT_TRUE(rq.ended());
	EXPECT_TRUE(bench.quarantine.drained());
	EXPECT_EQ(bench.host.epoch_users[0] + bench.host.epoch_users[1], 0u);
}

// ---- Unwritten ---------------------------------------------------------------------

namespace {

struct UnwrittenBench : Bench {
	UnwrittenBench() : Bench(with_pages(2))
	{
		set_word(0, MapState::fresh, 5);
		set_word(in_page(1), MapState::unsynced, 6);
		map.note_unsynced();
		dirty.mark(VirtualCluster(0));
		dirty.mark(VirtualCluster(in_page(1)));
		unwritten.keep(map, dirty, true);
		began();
	}
	int write()
	{
		int error = 0;

		world.call("write",
			   [&] { error = unwritten.write(&host, stack.top(), lost).code(); });
		return error;
	}

	bool lost = false;
	Unwritten unwritten;
};

} // namespace

TEST(UnwrittenAlone, IsTakenAwayAndGivenBackToBeFilledAnew)
{
	UnwrittenBench bench;

	EXPECT_TRUE(bench.unwritten.present());
	EXPECT_TRUE(bench.unwritten.marked());
	EXPECT_EQ(bench.map.pages(), 0u);
	EXPECT_EQ(bench.dirty.count(), 0u);
	bench.unwritten.give_back(bench.map, bench.dirty);
	EXPECT_FALSE(bench.unwritten.present());
	EXPECT_EQ(bench.map.pages(), 2u);
	EXPECT_EQ(bench.dirty.count(), 0u) << "the map is read from the disk: nothing is dirty";
	EXPECT_EQ(bench.dirty.find(0), bench.dirty.pages());
}

TEST(UnwrittenAlone, DataIsDurableBeforeItsEntriesAndThoseBeforeTheEnd)
{
	UnwrittenBench bench;
	const std::vector<uint8_t> header = bench.file.peek(0, kHeaderBytes);

	EXPECT_EQ(bench.write(), 0);
	EXPECT_EQ(bench.began_where(), "sync 0+0 write-buffered 64+4032 write 4096+4096 sync 0+0");
	EXPECT_EQ(bench.durable_entry(0), 5u);
	EXPECT_EQ(bench.durable_entry(in_page(1)), 6u);
	EXPECT_EQ(bench.file.peek(0, kHeaderBytes), header);
	EXPECT_FALSE(bench.lost);
	EXPECT_TRUE(bench.unwritten.present()) << "its owner says when it is over";
	bench.unwritten.written();
	EXPECT_FALSE(bench.unwritten.present());
}

TEST(UnwrittenAlone, MayBeWrittenAgainAfterAnError)
{
	for (const int error : {-ENOSPC, -EPERM, -ENOMEM}) {
		for (const uint32_t calls : {kSync, kPage0, kPage}) {
			if (calls == kSync && error == -EPERM)
				continue; // see below
			UnwrittenBench bench;

			bench.world.fail_nth({.calls = calls, .error = error});
			EXPECT_EQ(bench.write(), error);
			EXPECT_FALSE(bench.lost) << "memory has all of it";
			EXPECT_TRUE(bench.unwritten.present());
			EXPECT_EQ(bench.write(), 0);
			EXPECT_EQ(bench.durable_entry(0), 5u) << error << " " << calls;
			EXPECT_EQ(bench.durable_entry(in_page(1)), 6u) << error << " " << calls;
		}
	}
}

TEST(UnwrittenAlone, ASyncTellsOfALossOnce)
{
	for (const uint64_t nth : {1, 2}) {
		UnwrittenBench bench;

		bench.world.fail_nth({.calls = kSync, .nth = nth, .error = -EIO});
		EXPECT_EQ(bench.write(), -EIO) << nth;
		EXPECT_TRUE(bench.lost) << nth;
	}
}

TEST(UnwrittenAlone, APageCutShortIsAWantOfSpace)
{
	UnwrittenBench bench;

	bench.world.fail_nth({.calls = kPage, .error = 0, .short_bytes = 512});
	EXPECT_EQ(bench.write(), -ENOSPC);
	EXPECT_FALSE(bench.lost);
	EXPECT_EQ(bench.write(), 0);
}

TEST(UnwrittenAlone, WithoutMemoryNothingIsTouched)
{
	for (const uint32_t calls : {sim::CALL_ALLOC, sim::CALL_OP_NEW}) {
		UnwrittenBench bench;

		bench.world.fail_nth({.calls = calls, .error = -ENOMEM});
		EXPECT_EQ(bench.write(), -ENOMEM);
		EXPECT_FALSE(bench.lost);
		EXPECT_EQ(bench.began(), "");
		EXPECT_TRUE(bench.unwritten.present());
	}
}

// After a table swap it is of the one that took the other's place.
TEST(UnwrittenAlone, IsAdoptedWhole)
{
	UnwrittenBench bench;
	Unwritten heir;

	heir.adopt(bench.unwritten);
	EXPECT_FALSE(bench.unwritten.present());
	EXPECT_TRUE(heir.present());
	EXPECT_TRUE(heir.marked()) << "nobody clears the in-use mark";
	bool lost = false;
	bench.world.call("write", [&] {
		EXPECT_TRUE(heir.write(&bench.host, bench.stack.top(), lost).ok());
	});
	EXPECT_EQ(bench.durable_entry(0), 5u);
	EXPECT_EQ(bench.durable_entry(in_page(1)), 6u);
}

} // namespace ploop
