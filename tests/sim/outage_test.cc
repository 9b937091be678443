// SPDX-License-Identifier: GPL-2.0
// Out of space on the simulated host: parking, probing, releasing, telling.
#include <gtest/gtest.h>

#include "sim/fixture.h"

namespace sim {

namespace {

// No byte of new space is left, until free_space().
void fill(Rig &rig)
{
	rig.world.disk.capacity = rig.world.disk.used();
}
void free_space(Rig &rig)
{
	rig.world.disk.capacity = UINT64_MAX;
}

uint64_t field(Rig &rig, const std::string &name)
{
	const std::string text = rig.device.status();
	const size_t at = text.find(" " + name + "=");
	EXPECT_NE(at, std::string::npos) << name << " in " << text;
	return std::stoull(text.substr(at + name.size() + 2));
}

bool has_word(Rig &rig, const std::string &word)
{
	return (rig.device.status() + " ").find(" " + word + " ") != std::string::npos;
}

} // namespace

TEST(Outage, WritesWaitAndNothingIsLost)
{
	for (uint64_t seed = 1; seed <= 100; seed++) {
		Rig rig(seed);
		rig.start();
		rig.io.write(0, 64);
		rig.io.wait_all();
		fill(rig);
		for (unsigned i = 1; i < 20; i++)
			rig.io.write(64 * i + i, 20);
		rig.world.advance_ms(3000);
		EXPECT_EQ(field(rig, "parked"), 19u);
		EXPECT_TRUE(has_word(rig, "mode=nospace"));
		EXPECT_TRUE(has_word(rig, "event_ENOSPC"));
		// Mapped I/O goes on, without waiting for any timer.
		const uint64_t before = rig.world.now_ms();
		auto overwrite = rig.io.write(3, 20);
		auto read = rig.io.read(0, 64);
		rig.world.run_until([&] { return overwrite->done && read->done; });
		EXPECT_EQ(rig.world.now_ms(), before);
		EXPECT_EQ(overwrite->error, 0);
		free_space(rig);
		rig.io.wait_all();
		EXPECT_TRUE(has_word(rig, "mode=rw"));
		EXPECT_EQ(field(rig, "parked"), 0u);
		rig.io.read(0, 64 * 24);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.report().text(), "");
		ASSERT_EQ(rig.io.problem, "") << "seed " << seed;
	}
}

TEST(Outage, GetEventTellsOnceAndConsumesOnlyWhatFits)
{
	Rig rig;
	rig.start();
	std::string reply;
	EXPECT_EQ(rig.device.message("get_event", &reply), 0);
	fill(rig);
	auto bio = rig.io.write(0, 8);
	rig.world.advance_ms(1);
	EXPECT_EQ(field(rig, "enospc_events"), 1u);
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
	free_space(rig);
	rig.io.wait_all();
	EXPECT_EQ(bio->error, 0);
	rig.stop();
}

TEST(Outage, RetryMessageActsAtOnce)
{
	Rig rig;
	rig.start("enospc_retry_ms=60000");
	fill(rig);
	for (unsigned i = 0; i < 5; i++)
		rig.io.write(64 * i, 8);
	rig.world.run_idle();
	EXPECT_EQ(field(rig, "parked"), 5u);
	free_space(rig);
	const uint64_t before = rig.world.now_ms();
	EXPECT_EQ(rig.device.message("retry_enospc"), 0);
	rig.world.run_idle();
	EXPECT_EQ(field(rig, "parked"), 0u);
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
	fill(rig);
	rig.io.write(0, 8);
	rig.world.advance_ms(10);
	free_space(rig);
	const uint64_t begin = rig.world.now_ms();
	for (unsigned i = 1; i <= 30 && field(rig, "parked") > 0; i++) {
		rig.world.advance_ms(100);
		if (field(rig, "parked") > 0)
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
	fill(rig);
	rig.io.write(0, 8);
	rig.world.advance_ms(100 + 200 + 400 + 800 + 1600 + 3200 + 50);
	EXPECT_EQ(field(rig, "retries"), 6u);
	rig.world.advance_ms(20000);
	EXPECT_EQ(field(rig, "retries"), 10u);
	free_space(rig);
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
		fill(rig);
		rig.io.write(64 * 20, 64);
		rig.world.run_idle();
		EXPECT_EQ(field(rig, "parked"), 1u);
		const uint64_t before = rig.world.now_ms();
		rig.io.discard(0, 64 * 4);
		rig.io.wait_all();
		EXPECT_EQ(rig.world.now_ms(), before) << "seed " << seed;
		rig.stop();
		EXPECT_EQ(rig.report().text(), "");
		EXPECT_EQ(rig.io.problem, "");
	}
}

TEST(Outage, NoflushSuspendKeepsWritesForTheNextTable)
{
	for (uint64_t seed = 1; seed <= 100; seed++) {
		Rig rig(seed);
		rig.start();
		fill(rig);
		for (unsigned i = 0; i < 30; i++)
			rig.io.write(64 * i, 8, i % 3 ? 0 : PLOOP_RQ_FUA);
		rig.io.flush();
		rig.world.advance_ms(rig.world.random(2000));
		EXPECT_EQ(rig.device.suspend(true), 0);
		EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0) << rig.device.error;
		if (seed % 2)
			free_space(rig);
		EXPECT_EQ(rig.device.resume(true), 0);
		rig.world.advance_ms(500);
		free_space(rig);
		rig.io.wait_all();
		rig.io.read(0, 64 * 32);
		rig.io.wait_all();
		EXPECT_GE(field(rig, "enospc_events"), 1u); // the count outlives the table
		rig.stop();
		EXPECT_EQ(rig.report().text(), "");
		ASSERT_EQ(rig.io.problem, "") << "seed " << seed;
	}
}

TEST(Outage, FlushingSuspendRetriesOnceThenEndsWithEnospc)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		Rig rig(seed);
		rig.start();
		fill(rig);
		std::vector<BioPtr> bios;
		for (unsigned i = 0; i < 10; i++)
			bios.push_back(rig.io.write(64 * i, 8));
		rig.world.advance_ms(500);
		EXPECT_EQ(rig.device.suspend(false), 0);
		for (const BioPtr &bio : bios) {
			EXPECT_TRUE(bio->done);
			EXPECT_EQ(bio->error, -ENOSPC);
		}
		EXPECT_TRUE(rig.device.host().logged("10 waiting writes ended with ENOSPC"));
		free_space(rig);
		EXPECT_EQ(rig.device.resume(), 0);
		rig.io.write(0, 8);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
	}
}

TEST(Outage, InterruptedSuspendLeavesAllParkedAndWorking)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		Rig rig(seed);
		rig.start();
		rig.io.write(64 * 9, 8);
		rig.io.wait_all();
		fill(rig);
		rig.io.write(0, 8);
		rig.world.advance_ms(50);
		// A read that takes its time makes the suspend wait, and so interruptible.
		rig.world.at_once_chance = 0;
		rig.world.delay_ms[CALL_RQ_READ] = 1000;
		rig.io.read(64 * 9, 8);
		EXPECT_EQ(rig.device.suspend(true, [] { return true; }), -EINTR);
		rig.io.write(64, 8);
		rig.world.advance_ms(500);
		free_space(rig);
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
		fill(rig);
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
		fill(rig);
		auto flush = rig.io.flush();
		rig.world.advance_ms(3000);
		EXPECT_FALSE(flush->done);
		EXPECT_FALSE(has_word(rig, "mode=failed"));
		free_space(rig);
		rig.io.wait_all();
		EXPECT_EQ(flush->error, 0);
		rig.stop();
		EXPECT_EQ(rig.report().text(), "");
		ASSERT_EQ(rig.io.problem, "") << "seed " << seed;
	}
}

TEST(Outage, TimeoutIsExactAndPerRequest)
{
	Rig rig;
	rig.start("enospc_timeout_s=5");
	fill(rig);
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
	EXPECT_EQ(field(rig, "enospc_errors"), 2u);
	// A new one waits anew, and is served when there is space.
	auto third = rig.io.write(128, 8);
	rig.world.advance_ms(1000);
	free_space(rig);
	rig.io.wait_all();
	EXPECT_EQ(third->error, 0);
	rig.stop();
	EXPECT_EQ(rig.io.problem, "");
}

TEST(Outage, TimeoutReachesAFlushThatWaitsForItsCommit)
{
	Rig rig;
	rig.world.disk.copy_on_write = true;
	rig.start("enospc_timeout_s=5");
	rig.io.write(0, 8);
	rig.io.wait_all();
	fill(rig);
	auto flush = rig.io.flush();
	rig.world.advance_ms(4999);
	EXPECT_FALSE(flush->done);
	rig.world.advance_ms(2);
	EXPECT_EQ(flush->error, -ENOSPC);
	// Invariant 4: device-mapper drops that error, so what follows must fail.
	auto write = rig.io.write(0, 8);
	rig.io.wait_all();
	EXPECT_EQ(write->error, -ENOSPC);
	free_space(rig);
	rig.world.advance_ms(6000);
	write = rig.io.write(0, 8);
	rig.io.wait_all();
	EXPECT_EQ(write->error, 0);
	rig.stop();
}

TEST(Outage, PolicyErrorEndsAtOnceAndIsTold)
{
	Rig rig;
	rig.start("error_if_no_space");
	fill(rig);
	auto bio = rig.io.write(0, 8);
	rig.world.run_idle();
	EXPECT_EQ(bio->error, -ENOSPC);
	EXPECT_TRUE(has_word(rig, "event_ENOSPC"));
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
	fill(rig);
	rig.io.write(0, 1);
	rig.world.advance_ms(50);
	const size_t before = rig.world.live_allocations();
	for (unsigned i = 0; i < 10000; i++)
		rig.io.write(64 * (i % 200), 1);
	rig.world.advance_ms(20);
	EXPECT_EQ(field(rig, "parked"), 10001u);
	EXPECT_EQ(rig.world.live_allocations(), before);
	free_space(rig);
	rig.io.wait_all();
	rig.stop();
	EXPECT_EQ(rig.io.problem, "");
}

TEST(Outage, ReleasesInOrderOfArrival)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		Rig rig(seed);
		rig.start();
		fill(rig);
		std::vector<int> order;
		for (int i = 0; i < 20; i++) {
			rig.device.submit(PLOOP_RQ_WRITE, 64 * i, 64, 0,
					  Model::pattern(1, 64 * i, 64));
			rig.world.run_idle();
		}
		rig.world.advance_ms(rig.world.random(8000)); // failed probes change nothing
		free_space(rig);
		rig.world.advance_ms(6000);
		rig.stop();
		// The first to allocate gets the lowest cluster.
		const ImageReport report = rig.report();
		for (uint32_t i = 0; i < 20; i++)
			EXPECT_EQ(report.bat[i], i + 1) << "seed " << seed;
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
		EXPECT_EQ(field(rig, "lowspace_events"), round);
		// Not at every look, nor when it wavers about the mark.
		rig.world.disk.capacity = rig.world.disk.used() + (41ull << 20);
		rig.world.advance_ms(5000);
		rig.world.disk.capacity = rig.world.disk.used() + (38ull << 20);
		rig.world.advance_ms(5000);
		EXPECT_EQ(field(rig, "lowspace_events"), round);
		EXPECT_EQ(rig.device.message("get_event", &reply), 1);
		EXPECT_EQ(reply, "event_LOWSPACE\n");
		EXPECT_EQ(rig.device.message("get_event", &reply), 0);
		rig.world.disk.capacity = rig.world.disk.used() + (100ull << 20);
		rig.world.advance_ms(5000);
	}
	rig.world.disk.capacity = rig.world.disk.used();
	rig.io.write(0, 8);
	rig.world.advance_ms(5000);
	EXPECT_EQ(rig.device.message("get_event", &reply), 1);
	EXPECT_EQ(reply, "event_ENOSPC\nevent_LOWSPACE\n");
	free_space(rig);
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
				free_space(rig);
				EXPECT_EQ(rig.device.resume(true), 0) << "seed " << seed;
			}
			free_space(rig);
			rig.io.wait_all();
		}
		rig.io.read(0, 64 * 24);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.report().text(), "") << "seed " << seed;
		ASSERT_EQ(rig.io.problem, "") << "seed " << seed;
	}
}

} // namespace sim
