// SPDX-License-Identifier: GPL-2.0
// Rules of first writes, commits, the quarantine and the release of who waits, each with
// the number of the host's calls that it costs.
#include <algorithm>
#include <random>

#include "sim/fixture.h"

namespace sim {

namespace {

constexpr uint32_t kSync = call_of(PLOOP_OP_SYNC);

ImageSpec many_pages()
{
	ImageSpec spec;
	spec.entries = 200 * 1024;
	spec.cluster_sectors = kClusterSectors;
	return spec;
}

} // namespace

// ---- Commits -------------------------------------------------------------------

TEST(Commit, IsOneSyncWhateverTheNumberOfPages)
{
	Rig rig(1, many_pages());
	rig.start();
	for (uint64_t page = 0; page < 160; page++)
		rig.io.write(page * 1024 * kClusterSectors, 8);
	rig.io.wait_all();
	rig.world.advance_ms(100);
	EXPECT_EQ(rig.field("dirty_bat_pages"), 160u);
	const uint64_t syncs = rig.world.calls(kSync);
	auto flush = rig.io.flush();
	rig.world.run_until([&] { return flush->done; });
	EXPECT_EQ(flush->error, 0);
	EXPECT_EQ(rig.world.calls(kSync), syncs + 1);
	EXPECT_EQ(rig.field("dirty_bat_pages"), 0u);
	rig.stop_in_order();
}

TEST(Commit, IsTwoSyncsWithDataBeforeItsMapping)
{
	Rig rig;
	rig.file.facts.zeros_honest = false;
	rig.start();
	rig.write(0, 8);
	rig.world.advance_ms(100);
	const uint64_t syncs = rig.world.calls(kSync);
	auto flush = rig.io.flush();
	rig.world.run_until([&] { return flush->done; });
	EXPECT_EQ(rig.world.calls(kSync), syncs + 2);
	rig.stop_in_order();
}

// What is not durable is counted, so this is one fdatasync and no round; and however
// many come while it runs, they share the next.
TEST(Flush, WithNothingToWriteIsOneSyncForAll)
{
	Rig rig;
	rig.start();
	rig.write(0, 64, PLOOP_RQ_FUA);
	rig.world.advance_ms(100);
	EXPECT_EQ(rig.field("dirty_bat_pages"), 0u);
	const uint64_t syncs = rig.world.calls(kSync);
	const uint64_t pages = rig.world.calls(call_of(PLOOP_OP_WRITE_BUFFERED));
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[kSync] = 50;
	rig.io.write(0, 64);
	rig.io.wait_all();
	std::vector<BioPtr> flushes = {rig.io.flush()};
	rig.world.advance_ms(10);
	for (unsigned i = 0; i < 10; i++)
		flushes.push_back(rig.io.flush());
	rig.io.wait_all();
	for (const BioPtr &flush : flushes)
		EXPECT_EQ(flush->error, 0);
	EXPECT_EQ(rig.world.calls(kSync), syncs + 2);
	EXPECT_EQ(rig.world.calls(call_of(PLOOP_OP_WRITE_BUFFERED)), pages);
	rig.stop_in_order();
}

// Memory has what the disk has not: the gate is shut with the error, and opens by itself.
TEST(Commit, APageThatCannotBeWrittenIsTriedAgain)
{
	for (const int error : {-EIO, -EPERM}) {
		Rig rig;
		rig.start();
		rig.write(0, 8);
		rig.world.fail_nth({.calls = call_of(PLOOP_OP_WRITE_BUFFERED),
				    .error = error,
				    .sticky = true});
		EXPECT_EQ(rig.device.flush(), error);
		EXPECT_EQ(rig.device.write(0, Model::pattern(99, 0, 1)), error);
		EXPECT_TRUE(rig.device.host().logged("the map cannot be written now"));
		EXPECT_TRUE(rig.has_word("mode=rw"));
		EXPECT_TRUE(rig.has_word("map_error=" + std::to_string(error)));
		rig.world.clear_faults();
		rig.world.advance_ms(6000);
		EXPECT_EQ(rig.device.status().find("map_error"), std::string::npos);
		EXPECT_TRUE(rig.device.host().logged("the map is written again"));
		EXPECT_EQ(rig.device.flush(), 0);
		EXPECT_EQ(rig.write(64, 8)->error, 0);
		rig.stop();
		EXPECT_EQ(rig.report().text(), "");
	}
}

// An error of the moment is nobody's but ours.
TEST(Commit, AnErrorOfTheMomentIsTriedAgain)
{
	for (const int error : {-ENOMEM, -EINTR}) {
		for (const uint32_t calls : {kSync, uint32_t{call_of(PLOOP_OP_WRITE_BUFFERED)}}) {
			Rig rig;
			rig.start();
			rig.write(0, 8);
			rig.world.fail_nth({.calls = calls, .error = error});
			EXPECT_EQ(rig.device.flush(), 0) << error;
			rig.stop_in_order();
		}
	}
}

// ---- Discards and the quarantine --------------------------------------------------

TEST(Quarantine, WhatWasWrittenInAnyOrderIsPunchedInOneRun)
{
	Rig rig;
	rig.start();
	std::vector<unsigned> order;
	for (unsigned i = 0; i < 200; i++)
		order.push_back(i);
	std::shuffle(order.begin(), order.end(), std::mt19937_64(1));
	for (unsigned i : order)
		rig.io.write(64 * i, 64);
	rig.io.wait_all();
	const uint64_t punches = rig.world.calls(call_of(PLOOP_OP_PUNCH));
	rig.io.discard(0, 64 * 200);
	rig.io.wait_all();
	// Without anybody's flush, about a second later.
	rig.world.advance_ms(1500);
	EXPECT_EQ(rig.field("quarantined"), 0u);
	EXPECT_LE(rig.world.calls(call_of(PLOOP_OP_PUNCH)), punches + 3);
	rig.stop_in_order();
}

TEST(Quarantine, ASuspendDoesNotWaitForAllPunches)
{
	Rig rig;
	rig.start();
	for (unsigned i = 0; i < 60; i++)
		rig.io.write(64 * i, 64);
	rig.io.flush();
	rig.io.wait_all();
	for (unsigned i = 0; i < 60; i += 2)
		rig.io.discard(64 * i, 64);
	rig.io.wait_all();
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[call_of(PLOOP_OP_PUNCH)] = 1000;
	const uint64_t began = rig.world.now_ms();
	EXPECT_EQ(rig.device.suspend(), 0);
	EXPECT_LT(rig.world.now_ms() - began, 6000u);
	EXPECT_EQ(rig.report().text(), "");
	// What is left is given back after the resume, without anybody's asking.
	rig.world.delay_ms[call_of(PLOOP_OP_PUNCH)] = 0;
	EXPECT_GT(rig.world.disk.used(), 40 * 32768u);
	EXPECT_EQ(rig.device.resume(), 0);
	EXPECT_EQ(rig.field("used"), 30u);
	rig.world.advance_ms(5000);
	EXPECT_LE(rig.world.disk.used(), 33 * 32768u);
	const uint64_t size = rig.file.now().size();
	for (unsigned i = 0; i < 60; i += 2)
		rig.io.write(64 * i, 64);
	rig.io.wait_all();
	EXPECT_EQ(rig.field("used"), 60u);
	rig.stop_in_order();
	EXPECT_LE(rig.file.now().size(), size + 32768);
}

// A crash leaves clusters that no entry names, and so does whoever writes over a hole
// that is being committed.
TEST(Quarantine, WhatNoEntryNamesIsGivenBackAfterAnAttach)
{
	ImageSpec spec;
	spec.file_clusters = 100;
	spec.bat = {{0, 1}, {1, 99}};
	Rig rig(1, spec);
	for (uint32_t i = 1; i < 100; i++)
		rig.file.poke(i * 32768ull, std::vector<uint8_t>(32768, 0xAA));
	rig.start();
	rig.world.advance_ms(5000);
	EXPECT_LE(rig.world.disk.used(), 4 * 32768u);
	rig.stop();
	EXPECT_EQ(rig.report().text(), "");
}

// ---- Release ----------------------------------------------------------------------

TEST(Release, OneFreedClusterDoesNotSendEverybodyToTheHost)
{
	Rig rig;
	rig.start();
	rig.write(64 * 250, 64);
	rig.fill();
	std::vector<BioPtr> waiting;
	for (unsigned i = 0; i < 200; i++)
		waiting.push_back(rig.io.write(64 * i, 64));
	rig.world.advance_ms(1000);
	EXPECT_EQ(rig.field("parked"), 200u);
	const uint64_t writes = rig.world.calls(CALL_RQ_WRITE);
	rig.world.disk.capacity += 3 * 32768;
	EXPECT_EQ(rig.device.message("retry_enospc"), 0);
	rig.world.advance_ms(50);
	EXPECT_LT(rig.world.calls(CALL_RQ_WRITE), writes + 20);
	EXPECT_TRUE(rig.has_word("mode=nospace"));
	EXPECT_GE(rig.field("parked"), 197u);
	EXPECT_EQ(std::count_if(waiting.begin(), waiting.end(),
				[](const BioPtr &bio) { return bio->done; }),
		  3);
	rig.free_space();
	EXPECT_EQ(rig.device.message("retry_enospc"), 0);
	rig.io.wait_all();
	EXPECT_TRUE(rig.has_word("mode=rw"));
	for (const BioPtr &bio : waiting)
		EXPECT_EQ(bio->error, 0);
	rig.stop_in_order();
}

// ---- Messages to a suspended device -------------------------------------------------

TEST(Suspended, MessagesWaitForTheResume)
{
	Rig rig;
	rig.start();
	rig.write(0, 8);
	EXPECT_EQ(rig.device.suspend(), 0);
	for (const char *message : {"retry_enospc", "enospc_retry_ms 50", "enospc_timeout_s 7",
				    "low_water 1", "error_if_no_space", "set_falloc_new_clu 1"})
		EXPECT_EQ(rig.device.message(message), 0) << message;
	rig.world.run_idle();
	EXPECT_EQ(rig.field("timeout_s"), 7u);
	EXPECT_EQ(rig.device.resume(), 0);
	rig.world.advance_ms(100);
	rig.write(64, 8);
	rig.stop_in_order();
}

} // namespace sim
