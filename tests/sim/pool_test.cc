// SPDX-License-Identifier: GPL-2.0
// The rules of clean clusters and of what makes their entries durable, each in the one
// situation that shows it. tests/mutants/run breaks them one by one.
#include <cstring>

#include "sim/beside.h"
#include "sim/fixture.h"

namespace sim {

namespace {

constexpr uint32_t kSync = call_of(PLOOP_OP_SYNC);
constexpr uint32_t kPage0 = call_of(PLOOP_OP_WRITE_BUFFERED);
constexpr uint64_t kClusterBytes = kClusterSectors * SECTOR;

constexpr uint64_t sector_of(uint64_t cluster)
{
	return cluster * kClusterSectors;
}

// Is each sector of the cluster zeros, or what somebody wrote to this very place?
bool own_or_zeros(const Image &image, uint64_t cluster)
{
	const uint64_t first = sector_of(cluster);
	const std::vector<uint8_t> data = read_image(image, first, kClusterSectors);
	const std::vector<uint8_t> zeros(SECTOR);
	for (uint32_t i = 0; i < kClusterSectors; i++) {
		uint64_t words[3];
		memcpy(words, &data[i * SECTOR], sizeof(words));
		const auto made = words[1] == 0 ? zeros : Model::pattern(words[1], first + i, 1);
		if (memcmp(made.data(), &data[i * SECTOR], SECTOR) != 0)
			return false;
	}
	return true;
}

// Whatever of the unsynced effects a power cut now would leave: the image is right, and
// its first clusters have nothing of others.
void cut_in_many_ways(const Rig &rig, uint64_t clusters)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		const Image image = rig.file.crash_image(Cut::Partial, seed);
		const ImageReport report = check_image(image);
		ASSERT_TRUE(report.ok()) << report.text() << " seed " << seed;
		for (uint64_t i = 0; i < clusters; i++)
			ASSERT_TRUE(own_or_zeros(image, i)) << "cluster " << i << " seed " << seed;
	}
}

// The entry that is there when only what is durable survives.
uint32_t durable_entry(const Rig &rig, uint64_t cluster)
{
	return check_image(rig.file.crash_image(Cut::Drop, 1)).bat[cluster];
}

// Each of the host's calls takes its time, so that there are moments between them.
void be_slow(Rig &rig)
{
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[kSync] = 20;
	rig.world.delay_ms[call_of(PLOOP_OP_TRUNCATE)] = 5;
	rig.world.delay_ms[call_of(PLOOP_OP_PUNCH)] = 5;
	rig.world.delay_ms[kPage0] = 5;
}

} // namespace

// ---- Clean clusters --------------------------------------------------------------

TEST(Pool, AnEntryIsDurableOnlyAfterItsGrowth)
{
	Rig rig;
	rig.start();
	be_slow(rig);
	for (unsigned i = 0; i < 6; i++)
		rig.io.write(sector_of(i), 8, PLOOP_RQ_FUA);
	for (unsigned moment = 0; moment < 60; moment++) {
		rig.world.advance_ms(5);
		ASSERT_NO_FATAL_FAILURE(cut_in_many_ways(rig, 6)) << moment;
	}
	rig.io.wait_all();
	rig.stop_in_order();
}

// The same for a cluster that held something, and was punched in the quarantine. Others
// wait for it, and are tried again and again, so that it is used as soon as it can be, with
// no sync but its own in between.
TEST(Pool, AnEntryIsDurableOnlyAfterThePunchOfADiscardedCluster)
{
	Rig rig;
	rig.start();
	for (unsigned i = 0; i < 4; i++)
		rig.write(sector_of(100 + i), 64);
	EXPECT_EQ(rig.device.flush(), 0);
	rig.world.advance_ms(100);
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_TRUNCATE), .error = -ENOSPC, .sticky = true});
	be_slow(rig);
	for (unsigned i = 0; i < 30; i++)
		rig.io.write(sector_of(i), 8, PLOOP_RQ_FUA);
	rig.world.advance_ms(1000);
	const uint64_t parked = rig.field("parked");
	ASSERT_GT(parked, 4u);
	rig.io.discard(sector_of(100), 64 * 4);
	for (unsigned moment = 0; moment < 60; moment++) {
		rig.world.advance_ms(4);
		EXPECT_EQ(rig.device.message("retry_enospc"), 0);
		ASSERT_NO_FATAL_FAILURE(cut_in_many_ways(rig, 30)) << moment;
	}
	// That very cluster was given to somebody.
	EXPECT_LT(rig.field("parked"), parked);
	rig.world.clear_faults();
	rig.io.wait_all();
	rig.stop_in_order();
}

// The same for one that was free when the image was loaded.
TEST(Pool, AnEntryIsDurableOnlyAfterThePunchOfAFreeCluster)
{
	ImageSpec spec;
	spec.file_clusters = 12;
	Rig rig(1, spec);
	for (uint32_t i = 1; i < 12; i++)
		rig.file.poke(i * kClusterBytes, std::vector<uint8_t>(kClusterBytes, 0xAA));
	rig.start();
	be_slow(rig);
	for (unsigned i = 0; i < 12; i++)
		rig.io.write(sector_of(i), 8, PLOOP_RQ_FUA);
	for (unsigned moment = 0; moment < 60; moment++) {
		rig.world.advance_ms(5);
		ASSERT_NO_FATAL_FAILURE(cut_in_many_ways(rig, 12)) << moment;
	}
	rig.io.wait_all();
	rig.stop_in_order();
}

// Two first writes of one cluster at the same time: who publishes second writes into the
// cluster of the first, and its own is there for others.
TEST(Pool, WhoLosesTheRaceGivesItsClusterBack)
{
	Rig rig;
	rig.start();
	for (unsigned i = 10; i < 14; i++)
		rig.write(sector_of(i), 8);
	rig.world.advance_ms(100); // some are clean now
	beside = [&rig](uint64_t sector) {
		rig.world.in_context(Context::Task, [&] { rig.io.write(sector + 8, 8); });
	};
	rig.io.write(0, 8);
	EXPECT_FALSE(beside);
	rig.io.wait_all();
	rig.io.read(0, 64);
	rig.io.wait_all();
	EXPECT_EQ(rig.device.flush(), 0);
	EXPECT_EQ(rig.field("used"), 5u);
	rig.stop_in_order();
}

// The same, with one that has waited for its cluster.
TEST(Pool, WhoLosesTheRaceAfterAWaitGivesItsClusterBack)
{
	Rig rig;
	rig.start();
	be_slow(rig);
	for (unsigned i = 0; i < 40; i++)
		rig.io.write(sector_of(i), 8);
	// Until the file has grown by a few clusters at once: some of them wait for its sync.
	for (uint64_t grown = 0; grown < 4 * kClusterBytes;) {
		const uint64_t size = rig.file.now().size();
		ASSERT_TRUE(rig.world.step());
		grown = rig.file.now().size() - size;
	}
	beside = [&rig](uint64_t sector) {
		rig.world.in_context(Context::Task, [&] { rig.io.write(sector + 8, 8); });
	};
	rig.io.wait_all();
	EXPECT_FALSE(beside);
	rig.io.read(0, sector_of(40));
	rig.io.wait_all();
	EXPECT_EQ(rig.device.flush(), 0);
	EXPECT_EQ(rig.field("used"), 40u);
	rig.stop_in_order();
}

// ---- The end ---------------------------------------------------------------------

// Device-mapper waits for nothing when a device is removed: the core does, also for what
// only the epoch knows of.
TEST(Pool, IsTrimmedWhenNobodyHoldsAClusterAnyMore)
{
	Rig rig;
	rig.start();
	for (unsigned i = 0; i < 4; i++)
		rig.write(sector_of(i), 8);
	rig.world.advance_ms(100);
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[CALL_RQ_WRITE] = 300;
	auto last = rig.io.write(sector_of(9), 64);
	rig.stop_in_order();
	EXPECT_TRUE(last->done);
	EXPECT_EQ(last->error, 0);
	EXPECT_NE(rig.report().bat[9], 0u);
}

TEST(Pool, TheStopWaitsForTheStepUnderWay)
{
	// At each moment of a step: the growth, its sync, and the next one.
	for (unsigned ms = 0; ms < 120; ms += 3) {
		Rig rig;
		rig.start();
		be_slow(rig);
		rig.write(0, 8);
		rig.write(sector_of(1), 8);
		rig.world.advance_ms(ms);
		EXPECT_EQ(rig.device.suspend(), 0);
		EXPECT_EQ(rig.report().text(), "") << ms << " ms";
		rig.stop();
	}
}

// ---- Marks -----------------------------------------------------------------------

// Whoever makes a page differ from the disk marks it: a flush that finds no mark ends
// without a commit.
TEST(Mark, OfAFirstWriteInItsSubmittersContext)
{
	Rig rig;
	rig.start();
	for (unsigned i = 0; i < 4; i++)
		rig.write(sector_of(i), 8);
	EXPECT_EQ(rig.device.flush(), 0);
	rig.world.advance_ms(100); // now some are clean
	rig.write(sector_of(9), 8);
	EXPECT_EQ(rig.device.flush(), 0);
	EXPECT_NE(durable_entry(rig, 9), 0u);
	rig.stop_in_order();
}

TEST(Mark, OfAFirstWriteThatHasWaitedForItsCluster)
{
	Rig rig;
	rig.start();
	rig.write(0, 8); // none is clean at the beginning
	EXPECT_EQ(rig.device.flush(), 0);
	EXPECT_NE(durable_entry(rig, 0), 0u);
	rig.stop_in_order();
}

TEST(Mark, OfASlot)
{
	Rig rig;
	rig.file.facts.zeros_honest = false;
	rig.start();
	rig.write(0, 8);
	EXPECT_EQ(rig.device.flush(), 0);
	EXPECT_NE(durable_entry(rig, 0), 0u);
	rig.stop_in_order();
}

TEST(Mark, OfSpaceWithoutData)
{
	Rig rig;
	rig.start("falloc_new_clu");
	rig.io.write_zeroes(0, 64, PLOOP_RQ_NOUNMAP);
	rig.io.wait_all();
	EXPECT_EQ(rig.device.flush(), 0);
	EXPECT_NE(durable_entry(rig, 0), 0u);
	rig.stop_in_order();
}

TEST(Mark, OfADiscard)
{
	Rig rig;
	rig.start();
	rig.write(0, 8);
	EXPECT_EQ(rig.device.flush(), 0);
	rig.io.discard(0, 64, true);
	rig.io.wait_all();
	EXPECT_EQ(rig.device.flush(), 0);
	EXPECT_EQ(durable_entry(rig, 0), 0u);
	rig.stop_in_order();
}

// ---- Flush and FUA -----------------------------------------------------------------

// What the round under way has copied is not durable yet.
TEST(Flush, BesideARoundThatWritesItsPages)
{
	Rig rig;
	rig.start();
	rig.write(0, 8);
	rig.world.advance_ms(100);
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[kPage0] = 100;
	rig.io.flush();
	rig.world.advance_ms(20);
	auto second = rig.io.flush();
	while (!second->done)
		rig.world.step();
	EXPECT_NE(durable_entry(rig, 0), 0u);
	rig.io.wait_all();
	rig.stop_in_order();
}

// One that has begun when all was durable waits for a whole commit if the gate was shut
// before it ended.
TEST(Flush, BesideARoundThatFails)
{
	Rig rig;
	rig.start();
	rig.write(0, 8);
	for (unsigned i = 1; i < 5; i++)
		rig.write(sector_of(i), 8);
	EXPECT_EQ(rig.device.flush(), 0);
	rig.world.advance_ms(100);
	rig.world.at_once_chance = 0;
	rig.world.fail_nth({.calls = kPage0, .error = -EPERM, .sticky = true});
	rig.world.delay_ms[kSync] = 200;
	auto early = rig.io.flush();
	rig.world.advance_ms(10);
	auto failed = rig.io.write(sector_of(9), 8, PLOOP_RQ_FUA);
	rig.world.run_until([&] { return failed->done; });
	EXPECT_EQ(failed->error, -EPERM);
	EXPECT_FALSE(early->done);
	rig.world.run_until([&] { return early->done; });
	EXPECT_EQ(early->error, -EPERM);
	rig.world.clear_faults();
	rig.world.advance_ms(6000);
	EXPECT_EQ(rig.device.flush(), 0);
	rig.stop();
	EXPECT_EQ(rig.io.problem, "");
}

// A page that could not be written is not durable: a write through its words is not
// either, whatever the device can.
TEST(Fua, ThroughAWordOfARoundThatFailed)
{
	Rig rig;
	rig.start();
	rig.write(0, 8);
	rig.world.advance_ms(100);
	rig.world.fail_nth({.calls = kPage0, .error = -ENOSPC, .sticky = true});
	rig.io.flush();
	rig.world.advance_ms(50);
	auto fua = rig.io.write(0, 8, PLOOP_RQ_FUA);
	rig.world.advance_ms(50);
	EXPECT_FALSE(fua->done);
	rig.world.clear_faults();
	rig.io.wait_all();
	EXPECT_NE(durable_entry(rig, 0), 0u);
	rig.stop_in_order();
}

TEST(Fua, ThroughAWordThatIsNotDurable)
{
	Rig rig;
	rig.start();
	rig.write(0, 8);
	rig.write(8, 8, PLOOP_RQ_FUA);
	EXPECT_NE(durable_entry(rig, 0), 0u);
	rig.stop_in_order();
}

// One write is durable when it ends, but not what is left after a short one.
TEST(Fua, ThatWasCutShort)
{
	Rig rig;
	rig.start();
	rig.write(0, 64, PLOOP_RQ_FUA);
	rig.world.advance_ms(100);
	rig.world.fail_nth({.calls = CALL_RQ_WRITE, .error = 0, .short_bytes = 8 * SECTOR});
	auto fua = rig.write(0, 64, PLOOP_RQ_FUA);
	EXPECT_EQ(fua->error, 0);
	EXPECT_EQ(read_image(rig.file.crash_image(Cut::Drop, 1), 0, 64), fua->data);
	rig.stop_in_order();
}

// They are there already, but the disk may still have what was there before.
TEST(Fua, ZerosIntoAHoleThatIsNotDurable)
{
	Rig rig;
	rig.start();
	rig.write(0, 64, PLOOP_RQ_FUA);
	rig.io.discard(0, 64, true);
	rig.io.wait_all();
	rig.io.write_zero_data(0, 8, PLOOP_RQ_FUA);
	rig.io.wait_all();
	EXPECT_EQ(durable_entry(rig, 0), 0u);
	rig.stop_in_order();
}

// ---- Release -----------------------------------------------------------------------

// Whatever was freed: the step in which one meets no space is the last.
TEST(Release, StopsWithTheStepThatMeetsNoSpace)
{
	for (uint64_t freed = 1; freed <= 9; freed++) {
		Rig rig;
		rig.start();
		rig.write(sector_of(250), 64);
		rig.fill();
		for (unsigned i = 0; i < 200; i++)
			rig.io.write(sector_of(i), 64);
		rig.world.advance_ms(1000);
		ASSERT_EQ(rig.field("parked"), 200u);
		const uint64_t writes = rig.world.calls(CALL_RQ_WRITE);
		rig.world.disk.capacity += freed * kClusterBytes;
		EXPECT_EQ(rig.device.message("retry_enospc"), 0);
		rig.world.advance_ms(50);
		EXPECT_LT(rig.world.calls(CALL_RQ_WRITE), writes + 4 * (freed + 1)) << freed;
		rig.free_space();
		EXPECT_EQ(rig.device.message("retry_enospc"), 0);
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

// ---- Errors that are told once -------------------------------------------------------

namespace {

// Two pages of the map are dirty, and a flush waits for them; the second takes long to be
// written. Meanwhile the first, which lies in the page cache, is lost to the sync of
// somebody else, with @error.
BioPtr flush_beside_a_growth_that_loses_page_0(Rig &rig, int error)
{
	rig.start();
	rig.write(0, 8);
	rig.write(sector_of(1500), 8);
	rig.world.advance_ms(100);
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[call_of(PLOOP_OP_WRITE)] = 500;
	BioPtr flush = rig.io.flush();
	rig.world.advance_ms(50);
	rig.world.fail_nth({.calls = kSync, .error = error});
	for (unsigned i = 2; i < 30; i++)
		rig.io.write(sector_of(1500 + i), 8); // the pool has to grow
	rig.world.advance_ms(100);
	EXPECT_FALSE(flush->done);
	return flush;
}

ImageSpec two_pages()
{
	ImageSpec spec;
	spec.entries = 2000;
	return spec;
}

} // namespace

// The error was told to the growth's sync, and to no other.
TEST(ToldOnce, ARoundDoesNotSucceedBesideASyncThatLostItsPage)
{
	for (const int error : {-EIO, -ENOSPC}) {
		Rig rig(1, two_pages());
		rig.file.take_direct(Direct::Never);
		BioPtr flush = flush_beside_a_growth_that_loses_page_0(rig, error);
		rig.io.wait_all();
		if (flush->error == 0) {
			EXPECT_NE(durable_entry(rig, 0), 0u) << error;
		}
		rig.stop();
	}
}

} // namespace sim
