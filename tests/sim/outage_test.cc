// SPDX-License-Identifier: GPL-2.0
// Out of space on the simulated host: parking, probing, releasing, telling.
#include <gtest/gtest.h>

#include "sim/beside.h"
#include "sim/fixture.h"

namespace sim {

TEST(Outage, WritesWaitAndNothingIsLost)
{
	for (uint64_t seed = 1; seed <= 100; seed++) {
		Rig rig(seed);
		rig.start();
		rig.write(0, 64);
		rig.fill();
		for (unsigned i = 1; i < 20; i++)
			rig.io.write(64 * i + i, 20);
		rig.world.advance_ms(3000);
		EXPECT_EQ(rig.field("parked"), 19u);
		EXPECT_TRUE(rig.has_word("mode=nospace"));
		EXPECT_TRUE(rig.has_word("event_ENOSPC"));
		// Mapped I/O goes on, without waiting for any timer.
		const uint64_t before = rig.world.now_ms();
		auto overwrite = rig.io.write(3, 20);
		auto read = rig.io.read(0, 64);
		rig.world.run_until([&] { return overwrite->done && read->done; });
		EXPECT_EQ(rig.world.now_ms(), before);
		EXPECT_EQ(overwrite->error, 0);
		rig.free_space();
		rig.io.wait_all();
		EXPECT_TRUE(rig.has_word("mode=rw"));
		EXPECT_EQ(rig.field("parked"), 0u);
		rig.io.read(0, 64 * 24);
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

TEST(Outage, GetEventTellsOnceAndConsumesOnlyWhatFits)
{
	Rig rig;
	rig.start();
	std::string reply;
	EXPECT_EQ(rig.device.message("get_event", &reply), 0);
	rig.fill();
	auto bio = rig.io.write(0, 8);
	rig.world.advance_ms(1);
	EXPECT_EQ(rig.field("enospc_events"), 1u);
	char small[13];
	char word[] = "get_event";
	char *argv[] = {word};
	// strlen + 1 == the buffer's size is "full" for device-mapper: it asks again.
	EXPECT_EQ(pc_message(rig.device.core(), 1, argv, small, sizeof(small)), 1);
	char exact[14];
	EXPECT_EQ(pc_message(rig.device.core(), 1, argv, exact, sizeof(exact)), 1);
	EXPECT_EQ(rig.device.message("get_event", &reply), 1);
	EXPECT_EQ(reply, "event_ENOSPC\n");
	EXPECT_EQ(rig.device.message("get_event", &reply), 0);
	rig.free_space();
	rig.io.wait_all();
	EXPECT_EQ(bio->error, 0);
	rig.stop();
}

TEST(Outage, RetryMessageActsAtOnce)
{
	Rig rig;
	rig.start("enospc_retry_ms=60000");
	rig.fill();
	for (unsigned i = 0; i < 5; i++)
		rig.io.write(64 * i, 8);
	rig.world.run_idle();
	EXPECT_EQ(rig.field("parked"), 5u);
	rig.free_space();
	const uint64_t before = rig.world.now_ms();
	EXPECT_EQ(rig.device.message("retry_enospc"), 0);
	rig.world.run_idle();
	EXPECT_EQ(rig.field("parked"), 0u);
	EXPECT_EQ(rig.world.now_ms(), before);
	rig.io.wait_all();
	rig.stop();
	EXPECT_EQ(rig.io.problem, "");
}

// A timer that each arrival pushes out would never fire here.
TEST(Outage, LaterArrivalsDoNotPutOffTheProbe)
{
	Rig rig;
	rig.start("enospc_retry_ms=1000");
	rig.fill();
	rig.io.write(0, 8);
	rig.world.advance_ms(10);
	rig.free_space();
	const uint64_t begin = rig.world.now_ms();
	for (unsigned i = 1; i <= 30 && rig.field("parked") > 0; i++) {
		rig.world.advance_ms(100);
		if (rig.field("parked") > 0)
			rig.io.write(64 * i, 8);
	}
	EXPECT_LE(rig.world.now_ms() - begin, 1100u);
	rig.io.wait_all();
	rig.stop();
}

TEST(Outage, ProbesBackOffToFiveSeconds)
{
	Rig rig;
	rig.start();
	rig.fill();
	rig.io.write(0, 8);
	rig.world.advance_ms(100 + 200 + 400 + 800 + 1600 + 3200 + 50);
	EXPECT_EQ(rig.field("retries"), 6u);
	rig.world.advance_ms(20000);
	EXPECT_EQ(rig.field("retries"), 10u);
	rig.free_space();
	rig.io.wait_all();
	rig.stop();
}

TEST(Outage, DiscardThatFreesClustersReleases)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		Rig rig(seed);
		rig.start("enospc_retry_ms=60000");
		for (unsigned i = 0; i < 8; i++)
			rig.io.write(64 * i, 64);
		rig.io.wait_all();
		rig.fill();
		rig.io.write(64 * 20, 64);
		rig.world.run_idle();
		EXPECT_EQ(rig.field("parked"), 1u);
		const uint64_t before = rig.world.now_ms();
		rig.io.discard(0, 64 * 4);
		rig.io.wait_all();
		EXPECT_EQ(rig.world.now_ms(), before) << "seed " << seed;
		rig.stop_in_order();
	}
}

// A discard is advice: want of space is no reason to refuse it, or to park it.
TEST(Outage, DiscardThatTheHostRefusesForWantOfSpaceCompletes)
{
	Rig rig;
	rig.start();
	rig.write(0, 64);
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_PUNCH), .error = -ENOSPC, .sticky = true});
	rig.fill();
	auto waits = rig.io.write(64 * 5, 64); // covers its cluster
	rig.world.run_idle();
	EXPECT_EQ(rig.field("parked"), 1u);
	auto discard = rig.io.discard(0, 64, true);
	rig.world.run_until([&] { return discard->done; });
	EXPECT_EQ(discard->error, 0);
	rig.world.advance_ms(100);
	EXPECT_EQ(rig.field("quarantined"), 0u);
	rig.io.read(0, 64);
	// Whether the host has freed it all the same is not known: there is space now.
	rig.free_space();
	rig.io.wait_all();
	EXPECT_EQ(waits->error, 0);
	rig.io.read(64 * 5, 64);
	rig.io.wait_all();
	rig.stop_in_order();
}

TEST(Outage, DiscardPassesTheLatchOfAFlush)
{
	Rig rig;
	rig.start_uncommitted_on_cow("error_if_no_space");
	rig.fill();
	EXPECT_EQ(rig.device.flush(), -ENOSPC);
	EXPECT_EQ(rig.write(0, 8)->error, -ENOSPC);
	auto discard = rig.io.discard(0, 64, true);
	rig.io.wait_all();
	EXPECT_EQ(discard->error, 0);
	rig.io.read(0, 64);
	rig.free_space();
	rig.world.advance_ms(6000); // the commit of the timer lifts the latch
	EXPECT_EQ(rig.write(0, 8)->error, 0);
	rig.stop_in_order();
}

TEST(Outage, ZeroesThatAskForSpaceParkAndOthersDoNot)
{
	Rig rig;
	rig.start("falloc_new_clu");
	rig.write(0, 64);
	rig.world.run_idle();
	rig.fill();
	// As many clusters as are ready are had without asking the host.
	const uint64_t ready = rig.clean_clusters();
	rig.io.write_zeroes(64 * 20, uint32_t(64 * ready), PLOOP_RQ_NOUNMAP);
	rig.io.wait_all();
	auto asks = rig.io.write_zeroes(64 * 3, 128, PLOOP_RQ_NOUNMAP);
	rig.world.advance_ms(50);
	EXPECT_FALSE(asks->done);
	EXPECT_EQ(rig.field("parked"), 1u);
	auto does_not = rig.io.write_zeroes(64 * 7, 128);
	rig.world.run_until([&] { return does_not->done; });
	EXPECT_EQ(does_not->error, 0);
	rig.free_space();
	rig.io.wait_all();
	EXPECT_EQ(asks->error, 0);
	EXPECT_EQ(rig.field("used"), 3u + ready);
	rig.io.read(0, 64 * 10);
	rig.io.wait_all();
	rig.stop_in_order();
}

// To the core it is the same error; that the host makes it so is shown by KUnit.
TEST(Outage, AQuotaIsLikeAFullDisk)
{
	Rig rig;
	rig.start();
	rig.write(0, 64);
	rig.world.disk.quota = rig.world.disk.used();
	auto waits = rig.io.write(64, 64);
	rig.world.advance_ms(500);
	EXPECT_FALSE(waits->done);
	EXPECT_TRUE(rig.has_word("mode=nospace"));
	rig.world.disk.quota = UINT64_MAX;
	rig.io.wait_all();
	EXPECT_EQ(waits->error, 0);
	rig.stop_in_order();
}

TEST(Outage, ANewPeriodActsAtOnce)
{
	Rig rig;
	rig.start("enospc_retry_ms=60000");
	rig.fill();
	auto waits = rig.io.write(0, 8);
	rig.world.advance_ms(1000);
	EXPECT_EQ(rig.field("retries"), 0u);
	EXPECT_EQ(rig.device.message("enospc_retry_ms 200"), 0);
	rig.world.run_idle();
	EXPECT_EQ(rig.field("retries"), 1u);
	rig.free_space();
	rig.world.advance_ms(401); // twice the new one
	EXPECT_TRUE(waits->done);
	EXPECT_EQ(waits->error, 0);
	rig.stop_in_order();
}

TEST(Outage, ANewMarkOfLowSpaceActsAtOnce)
{
	Rig rig;
	rig.world.disk.capacity = rig.world.disk.used() + (30ull << 20);
	rig.start();
	rig.world.advance_ms(5000);
	EXPECT_EQ(rig.device.message("low_water 40"), 0);
	rig.world.run_idle();
	EXPECT_EQ(rig.field("lowspace_events"), 1u);
	EXPECT_EQ(rig.field("host_free_mib"), 30u);
	EXPECT_TRUE(rig.has_word("event_LOWSPACE"));
	EXPECT_EQ(rig.device.message("low_water 0"), 0);
	rig.world.advance_ms(5000);
	EXPECT_EQ(rig.device.status().find("low_water="), std::string::npos);
	rig.stop();
}

TEST(Outage, FullBlockDeviceGoesOnWhenOthersMakeItLarger)
{
	constexpr uint64_t cluster_bytes = kClusterSectors * SECTOR;
	ImageSpec spec;
	spec.file_clusters = 5; // one of them for the BAT
	Rig rig(1, spec);
	rig.file.facts.block_device = true;
	rig.start("low_water=1");
	for (unsigned i = 0; i < 4; i++)
		rig.write(64 * i, 64);
	auto first = rig.io.write(64 * 4 + 5, 8);
	auto second = rig.io.write(64 * 5 + 5, 8);
	rig.world.advance_ms(6000);
	EXPECT_TRUE(rig.has_word("mode=nospace"));
	EXPECT_EQ(rig.field("parked"), 2u);
	auto overwrite = rig.io.write(64, 64);
	rig.world.run_until([&] { return overwrite->done; });
	EXPECT_EQ(overwrite->error, 0);
	// What is there is not known, and must not be seen.
	const std::vector<uint8_t> old(2 * cluster_bytes, 0x5A);
	EXPECT_EQ(rig.field("host_free_mib"), 0u);
	rig.file.set_size(38 * cluster_bytes);
	rig.file.poke(5 * cluster_bytes, old);
	rig.world.advance_ms(6000); // by itself, at the next probe
	EXPECT_EQ(rig.field("host_free_mib"), 0u); // 31 clusters of 32 KiB
	rig.file.set_size(39 * cluster_bytes);
	rig.world.advance_ms(2000);
	EXPECT_EQ(rig.field("host_free_mib"), 1u);
	EXPECT_TRUE(first->done && second->done) << rig.device.status();
	EXPECT_TRUE(rig.has_word("mode=rw"));
	rig.io.read(0, 64 * 6);
	rig.io.wait_all();
	rig.stop();
	EXPECT_TRUE(rig.report().ok()) << rig.report().text();
	EXPECT_EQ(rig.io.problem, "");
}

TEST(Outage, NoflushSuspendKeepsWritesForTheNextTable)
{
	for (uint64_t seed = 1; seed <= 100; seed++) {
		Rig rig(seed);
		rig.start();
		rig.fill();
		for (unsigned i = 0; i < 30; i++)
			rig.io.write(64 * i, 8, i % 3 ? 0 : PLOOP_RQ_FUA);
		rig.io.flush();
		rig.world.advance_ms(rig.world.random(2000));
		EXPECT_EQ(rig.device.suspend(true), 0);
		EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0) << rig.device.error;
		if (seed % 2)
			rig.free_space();
		EXPECT_EQ(rig.device.resume(true), 0);
		rig.world.advance_ms(500);
		rig.free_space();
		rig.io.wait_all();
		rig.io.read(0, 64 * 32);
		rig.io.wait_all();
		EXPECT_GE(rig.field("enospc_events"), 1u); // the count outlives the table
		rig.stop_in_order();
	}
}

TEST(Outage, FlushingSuspendRetriesOnceThenEndsWithEnospc)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		Rig rig(seed);
		rig.start();
		rig.fill();
		std::vector<BioPtr> bios;
		for (unsigned i = 0; i < 10; i++)
			bios.push_back(rig.io.write(64 * i, 8));
		rig.world.advance_ms(500);
		EXPECT_EQ(rig.device.suspend(false), 0);
		for (const BioPtr &bio : bios) {
			EXPECT_TRUE(bio->done);
			EXPECT_EQ(bio->error, -ENOSPC);
		}
		EXPECT_TRUE(rig.device.host().logged("10 requests ended with ENOSPC"));
		rig.free_space();
		EXPECT_EQ(rig.device.resume(), 0);
		rig.write(0, 8);
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
	}
}

TEST(Outage, InterruptedSuspendLeavesAllParkedAndWorking)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		Rig rig(seed);
		rig.start();
		rig.write(64 * 9, 8);
		rig.fill();
		rig.io.write(0, 8);
		rig.world.advance_ms(50);
		// A read that takes its time makes the suspend wait, and so interruptible.
		rig.world.at_once_chance = 0;
		rig.world.delay_ms[CALL_RQ_READ] = 1000;
		rig.io.read(64 * 9, 8);
		EXPECT_EQ(rig.device.suspend(true, [] { return true; }), -EINTR);
		rig.io.write(64, 8);
		rig.world.advance_ms(500);
		rig.free_space();
		rig.io.wait_all();
		rig.io.read(0, 128);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
	}
}

TEST(Outage, RemoveWaitsForNothing)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		Rig rig(seed);
		rig.start();
		rig.fill();
		std::vector<BioPtr> bios;
		for (unsigned i = 0; i < 10; i++)
			bios.push_back(rig.io.write(64 * i, 8));
		rig.world.advance_ms(500);
		rig.stop();
		for (const BioPtr &bio : bios)
			EXPECT_EQ(bio->error, -ENOSPC);
	}
}

// A copy-on-write file system needs space even to overwrite the BAT.
TEST(Outage, CommitWaitsForSpaceAndDoesNotFail)
{
	for (uint64_t seed = 1; seed <= 100; seed++) {
		Rig rig(seed);
		rig.world.disk.copy_on_write = true;
		rig.start();
		for (unsigned i = 0; i < 6; i++)
			rig.io.write(64 * i, 8);
		rig.io.wait_all();
		rig.fill();
		auto flush = rig.io.flush();
		rig.world.advance_ms(3000);
		EXPECT_FALSE(flush->done);
		EXPECT_FALSE(rig.has_word("mode=failed"));
		rig.free_space();
		rig.io.wait_all();
		EXPECT_EQ(flush->error, 0);
		rig.stop_in_order();
	}
}

// What is mapped there can be read while it has no space, not even for the mark.
TEST(Outage, AttachesToAFullHostThatCopiesOnWrite)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		Rig rig(seed);
		rig.world.disk.copy_on_write = true;
		rig.start();
		rig.io.write(0, 64);
		rig.io.wait_all();
		EXPECT_EQ(rig.device.suspend(), 0);
		rig.fill();
		EXPECT_EQ(rig.device.resume(), 0);
		rig.io.read(0, 64);
		rig.io.wait_all();
		auto waits = rig.io.write(128, 8);
		rig.world.advance_ms(1000);
		EXPECT_FALSE(waits->done);
		rig.free_space();
		rig.io.wait_all();
		EXPECT_EQ(waits->error, 0);
		rig.stop_in_order();
	}
}

TEST(Outage, TimeoutIsExactAndPerRequest)
{
	Rig rig;
	rig.start("enospc_timeout_s=5");
	rig.fill();
	auto first = rig.io.write(0, 8);
	rig.world.advance_ms(1500);
	auto second = rig.io.write(64, 8);
	rig.world.advance_ms(3499);
	EXPECT_FALSE(first->done);
	rig.world.advance_ms(1);
	EXPECT_TRUE(first->done);
	EXPECT_EQ(first->error, -ENOSPC);
	EXPECT_FALSE(second->done);
	rig.world.advance_ms(1500);
	EXPECT_EQ(second->error, -ENOSPC);
	EXPECT_EQ(second->ended_ms - second->begun_ms, 5000u);
	EXPECT_EQ(rig.field("enospc_errors"), 2u);
	// A new one waits anew, and is served when there is space.
	auto third = rig.io.write(128, 8);
	rig.world.advance_ms(1000);
	rig.free_space();
	rig.io.wait_all();
	EXPECT_EQ(third->error, 0);
	rig.stop();
	EXPECT_EQ(rig.io.problem, "");
}

TEST(Outage, TimeoutReachesAFlushThatWaitsForItsCommit)
{
	Rig rig;
	rig.start_uncommitted_on_cow("enospc_timeout_s=5");
	rig.fill();
	auto flush = rig.io.flush();
	rig.world.advance_ms(4999);
	EXPECT_FALSE(flush->done);
	rig.world.advance_ms(2);
	EXPECT_EQ(flush->error, -ENOSPC);
	// Invariant 4: device-mapper drops that error, so what follows must fail.
	auto write = rig.write(0, 8);
	EXPECT_EQ(write->error, -ENOSPC);
	rig.free_space();
	rig.world.advance_ms(6000);
	write = rig.write(0, 8);
	EXPECT_EQ(write->error, 0);
	rig.stop();
}

TEST(Outage, PolicyErrorEndsAtOnceAndIsTold)
{
	Rig rig;
	rig.start("error_if_no_space");
	rig.fill();
	auto bio = rig.io.write(0, 8);
	rig.world.run_idle();
	EXPECT_EQ(bio->error, -ENOSPC);
	EXPECT_TRUE(rig.has_word("event_ENOSPC"));
	EXPECT_EQ(rig.device.message("queue_if_no_space"), 0);
	bio = rig.io.write(0, 8);
	rig.world.advance_ms(1000);
	EXPECT_FALSE(bio->done);
	// Changes act at once on what waits.
	EXPECT_EQ(rig.device.message("error_if_no_space"), 0);
	rig.world.run_idle();
	EXPECT_EQ(bio->error, -ENOSPC);
	EXPECT_EQ(rig.device.message("queue_if_no_space"), 0);
	bio = rig.io.write(0, 8);
	rig.world.advance_ms(7000);
	EXPECT_EQ(rig.device.message("enospc_timeout_s 3"), 0);
	rig.world.run_idle();
	EXPECT_EQ(bio->error, -ENOSPC);
	rig.stop();
}

TEST(Outage, TenThousandMayWait)
{
	Rig rig;
	rig.start();
	rig.fill();
	rig.io.write(0, 1);
	rig.world.advance_ms(50);
	const size_t before = rig.world.live_allocations();
	for (unsigned i = 0; i < 10000; i++)
		rig.io.write(64 * (i % 200), 1);
	rig.world.advance_ms(20);
	EXPECT_EQ(rig.field("parked"), 10001u);
	EXPECT_EQ(rig.world.live_allocations(), before);
	rig.free_space();
	rig.io.wait_all();
	rig.stop();
	EXPECT_EQ(rig.io.problem, "");
}

TEST(Outage, ReleasesInOrderOfArrival)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		Rig rig(seed);
		rig.start();
		rig.fill();
		std::vector<int> order;
		for (int i = 0; i < 20; i++) {
			rig.device.submit(PLOOP_RQ_WRITE, 64 * i, 64, 0,
					  Model::pattern(1, 64 * i, 64));
			rig.world.run_idle();
		}
		rig.world.advance_ms(rig.world.random(8000)); // failed probes change nothing
		rig.free_space();
		rig.world.advance_ms(6000);
		rig.stop();
		// The first to allocate gets the lowest cluster.
		const ImageReport report = rig.report();
		for (uint32_t i = 0; i < 20; i++)
			EXPECT_EQ(report.bat[i], i + 1) << "seed " << seed;
	}
}

// A write that finds an outage parks, and the outage ends just then, on another processor.
// The write was not refused space: it is no reason for another outage.
TEST(Outage, WhoParksWhenItEndsBeginsNoOther)
{
	Rig rig;
	rig.start("enospc_retry_ms=60000");
	rig.write(64 * 250, 64);
	rig.fill();
	rig.io.write(0, 8);
	rig.world.advance_ms(10);
	ASSERT_TRUE(rig.has_word("mode=nospace"));
	uint64_t events = 0;
	beside_push = [&rig, &events] {
		rig.world.in_context(Context::Task, [&rig, &events] {
			rig.free_space();
			EXPECT_EQ(rig.device.message("retry_enospc"), 0);
			rig.world.run_idle();
			EXPECT_TRUE(rig.has_word("mode=rw"));
			events = rig.device.events;
		});
	};
	auto late = rig.io.write(64, 8);
	EXPECT_FALSE(beside_push);
	rig.world.run_idle();
	EXPECT_TRUE(late->done);
	EXPECT_EQ(rig.field("enospc_events"), 1u);
	EXPECT_EQ(rig.device.events, events);
	EXPECT_TRUE(rig.has_word("mode=rw"));
	rig.io.wait_all();
	rig.stop_in_order();
}

// The same in one round of the worker: it holds a request back and then learns that the
// probe has found space. In which order they come to it is a matter of the seed.
TEST(Outage, WhoIsHeldBackInTheRoundThatEndsItBeginsNoOther)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		Rig rig(seed);
		rig.file.facts.zeros_honest = false;
		rig.start("enospc_retry_ms=60000");
		rig.write(64 * 250, 64);
		rig.world.advance_ms(100);
		rig.fill();
		rig.io.write(0, 8);
		rig.world.advance_ms(10);
		ASSERT_TRUE(rig.has_word("mode=nospace"));
		rig.free_space();
		rig.world.at_once_chance = 0;
		rig.world.delay_ms[CALL_RQ_WRITE] = 50;
		const auto another = [&rig] { rig.io.write(64 * 100, 8); };
		rig.world.post(nullptr, "another", Context::Task, another, 50);
		EXPECT_EQ(rig.device.message("retry_enospc"), 0);
		rig.world.advance_ms(1000);
		EXPECT_EQ(rig.field("parked"), 0u) << "seed " << seed;
		EXPECT_EQ(rig.field("enospc_events"), 1u) << "seed " << seed;
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

TEST(Outage, LowSpaceIsToldBeforeAndAgainAfterItWasWellAbove)
{
	Rig rig;
	rig.world.disk.capacity = rig.world.disk.used() + (100ull << 20);
	rig.start("low_water=40");
	std::string reply;
	rig.world.advance_ms(5000);
	EXPECT_EQ(rig.device.message("get_event", &reply), 0);
	for (unsigned round = 1; round <= 3; round++) {
		rig.world.disk.capacity = rig.world.disk.used() + (39ull << 20);
		rig.world.advance_ms(5000);
		EXPECT_EQ(rig.field("lowspace_events"), round);
		// Not at every look, nor when it wavers about the mark.
		rig.world.disk.capacity = rig.world.disk.used() + (41ull << 20);
		rig.world.advance_ms(5000);
		rig.world.disk.capacity = rig.world.disk.used() + (38ull << 20);
		rig.world.advance_ms(5000);
		EXPECT_EQ(rig.field("lowspace_events"), round);
		EXPECT_EQ(rig.device.message("get_event", &reply), 1);
		EXPECT_EQ(reply, "event_LOWSPACE\n");
		EXPECT_EQ(rig.device.message("get_event", &reply), 0);
		rig.world.disk.capacity = rig.world.disk.used() + (100ull << 20);
		rig.world.advance_ms(5000);
	}
	rig.fill();
	rig.io.write(0, 8);
	rig.world.advance_ms(5000);
	EXPECT_EQ(rig.device.message("get_event", &reply), 1);
	EXPECT_EQ(reply, "event_ENOSPC\nevent_LOWSPACE\n");
	rig.free_space();
	rig.io.wait_all();
	rig.stop();
}

TEST(Outage, RandomLoadAcrossOutagesSuspendsAndReloads)
{
	for (uint64_t seed = 1; seed <= 150; seed++) {
		Rig rig(seed);
		rig.world.disk.short_writes = seed % 2;
		rig.world.disk.copy_on_write = seed % 3 == 0;
		rig.start();
		for (unsigned round = 0; round < 6; round++) {
			rig.world.disk.capacity =
				rig.world.disk.used() + rig.world.random(4) * 65536;
			for (unsigned i = 0; i < 25; i++)
				rig.random_step(rig.world.random(64 * 20),
						1 + uint32_t(rig.world.random(150)));
			rig.world.advance_ms(rig.world.random(400));
			if (rig.world.random(2)) {
				const bool swap = rig.world.random(2);
				if (swap) {
					ASSERT_EQ(rig.device.load("6 /img", rig.sectors), 0)
						<< rig.device.error;
				}
				EXPECT_EQ(rig.device.suspend(true), 0);
				rig.free_space();
				EXPECT_EQ(rig.device.resume(true), 0) << "seed " << seed;
			}
			rig.free_space();
			rig.io.wait_all();
		}
		rig.io.read(0, 64 * 24);
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

} // namespace sim
