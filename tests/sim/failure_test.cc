// SPDX-License-Identifier: GPL-2.0
// The same scenario with the 1st, 2nd, ... Nth call to the host failing: nothing
// crashes, leaks or hangs, no request ends twice, and what was promised holds.
#include <gtest/gtest.h>

#include "sim/scenarios.h"

namespace sim {

namespace {

// Is every sector of the cluster there? The writers of these tests write all of
// it, and never zeros.
bool all_there(const Image &image, uint32_t cluster)
{
	const std::vector<uint8_t> data =
		read_image(image, cluster * kClusterSectors, kClusterSectors);
	for (size_t at = 0; at < data.size(); at += SECTOR) {
		if (std::all_of(&data[at], &data[at] + SECTOR,
				[](uint8_t byte) { return byte == 0; }))
			return false;
	}
	return true;
}

// Is each sector of the cluster zeros, or of what somebody wrote there?
bool data_or_zeros(const Image &image, uint32_t cluster)
{
	const uint64_t first = uint64_t{cluster} * kClusterSectors;
	const std::vector<uint8_t> data = read_image(image, first, kClusterSectors);
	for (uint32_t i = 0; i < kClusterSectors; i++) {
		bool known = false;
		for (uint64_t id = 0; id <= 16 && !known; id++) {
			const std::vector<uint8_t> wanted =
				id == 0 ? std::vector<uint8_t>(SECTOR)
					: Model::pattern(id, first + i, 1);
			known = std::equal(wanted.begin(), wanted.end(), &data[i * SECTOR]);
		}
		if (!known)
			return false;
	}
	return true;
}

// A scenario, from the constructor on, under one fault. Errors are allowed anywhere;
// wrong data, a broken image or a hang is not. Tells how often the fault fired.
uint64_t live(uint64_t seed, Scenario scenario, const Fault &fault)
{
	Rig rig(seed);
	rig.world.disk.capacity = 64ull << 20;
	rig.file.poke(kFlagsOffset, kForeignFlags);
	const Fault &planted = rig.world.fail_nth(fault);
	if (rig.device.create("6 /img", rig.sectors) == 0) {
		// Nothing but the fault makes it end before its time.
		EXPECT_TRUE(scenario(rig) || planted.fired);
		if (!rig.device.suspended())
			rig.io.wait_all();
	}
	rig.stop();
	rig.io.wait_all(); // fails if the removal has left a request behind
	const uint64_t fired = planted.fired;
	const ImageReport report = rig.report();
	EXPECT_TRUE(report.ok()) << report.text();
	EXPECT_EQ(rig.io.problem, "");
	EXPECT_EQ(rig.file.peek(kFlagsOffset, 4), kForeignFlags);
	// Closed without a complaint: then all that was acknowledged is there.
	if (report.in_use == 0)
		rig.io.all_is_durable();

	// What the next one finds: the image, with all that was promised.
	rig.world.clear_faults();
	Device again(rig.world, "dm-1");
	EXPECT_EQ(again.create("6 /img", rig.sectors), 0) << again.error;
	rig.io.use(again);
	rig.io.verify_cut(kSpan);
	again.remove();
	EXPECT_EQ(rig.io.problem, "");
	return fired;
}

// The scenario runs again and again, with its 1st, 2nd, ... call failing, until it ends
// before the fault is due. If that is within @least calls, the fault does not reach what
// it is for.
void sweep_one(uint64_t seed, Scenario scenario, Fault fault, uint64_t least)
{
	bool fired = true;
	for (fault.nth = 1; fired; fault.nth++) {
		SCOPED_TRACE("seed " + std::to_string(seed) + ", call " +
			     std::to_string(fault.nth));
		fired = live(seed, scenario, fault) != 0;
		if (testing::Test::HasFailure())
			return;
		ASSERT_LT(fault.nth, 3000u);
	}
	EXPECT_GT(fault.nth, least) << "seed " << seed;
}

struct Swept {
	const char *name;
	Scenario scenario;
	uint64_t seeds;
};

// The whole life, and all that the power cut goes through. Of those one seed, with each of
// its calls: a seed more of all five would add as much time as the whole life takes.
const Swept kSwept[] = {
	{"the whole life", scenario::whole_life, 3},
	{"random load", scenario::load, 1},
	{"recycling", scenario::recycle, 1},
	{"suspends and swaps", scenario::suspend_and_swap, 1},
	{"an outage", scenario::outage, 1},
	{"an outage on copy-on-write", scenario::outage_on_cow, 1},
};

void sweep(const Fault &fault, uint64_t least)
{
	for (const Swept &one : kSwept) {
		SCOPED_TRACE(one.name);
		for (uint64_t seed = 1; seed <= one.seeds; seed++)
			sweep_one(seed, one.scenario, fault, least);
		if (testing::Test::HasFailure())
			return;
	}
}

} // namespace

// @least is about half of the calls that the shortest of the scenarios has now.

TEST(FailNth, Eio)
{
	sweep({.calls = CALL_ALL, .error = -EIO}, 90);
}
TEST(FailNth, NoSpace)
{
	sweep({.calls = CALL_ALL & ~(CALL_ALLOC | CALL_OP_NEW | CALL_OPEN | call_of(PLOOP_OP_READ)),
	       .error = -ENOSPC},
	      30);
}
TEST(FailNth, NotSupported)
{
	sweep({.calls = call_of(PLOOP_OP_PUNCH) | call_of(PLOOP_OP_ZERO) |
			call_of(PLOOP_OP_RESERVE) | CALL_RQ_READ | CALL_RQ_WRITE,
	       .error = -EOPNOTSUPP},
	      15);
}
TEST(FailNth, Short)
{
	sweep({.calls = CALL_RQ_READ | CALL_RQ_WRITE, .error = 0, .short_bytes = 512}, 12);
}
TEST(FailNth, ShortOfTheCoresOwn)
{
	sweep({.calls = call_of(PLOOP_OP_WRITE) | call_of(PLOOP_OP_WRITE_BUFFERED) |
			call_of(PLOOP_OP_READ),
	       .error = 0,
	       .short_bytes = 512},
	      6);
}
TEST(FailNth, ConstructorsMemory)
{
	for (uint64_t n = 1;; n++) {
		Rig rig;
		rig.world.fail_nth({.calls = CALL_ALLOC | CALL_OP_NEW | CALL_OPEN,
				    .nth = n,
				    .error = -ENOMEM});
		const int error = rig.device.create("6 /img", rig.sectors);
		if (error == 0) {
			rig.stop();
			EXPECT_GT(n, 50u);
			return;
		}
		EXPECT_TRUE(error == -ENOMEM) << n << ": " << error;
		rig.stop();
	}
}

// ---- The invariants, by name --------------------------------------------------

TEST(Invariant1, DataIsDurableBeforeItsEntry)
{
	// At every moment, whatever of the unsynced effects reached the disk: an
	// entry on the disk has its data there, where the host does not keep it honest.
	for (uint64_t seed = 1; seed <= 40; seed++) {
		Rig rig(seed);
		rig.file.facts.zeros_honest = false;
		rig.start();
		for (unsigned i = 0; i < 8; i++)
			rig.io.write(64 * i, 64);
		rig.io.wait_all();
		rig.io.flush();
		for (unsigned i = 0; i < rig.world.random(30); i++)
			rig.world.step();
		const Image image = rig.file.crash_image(Cut::Partial, seed);
		const ImageReport report = check_image(image);
		EXPECT_TRUE(report.ok()) << report.text();
		for (uint32_t i = 0; i < 8; i++) {
			EXPECT_TRUE(report.bat[i] == 0 || all_there(image, i)) << "seed " << seed;
		}
		rig.io.wait_all();
		rig.stop();
	}
}

TEST(Invariant1, AnEntryBeforeItsDataShowsZeros)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		Rig rig(seed);
		rig.start();
		for (unsigned i = 0; i < 8; i++)
			rig.io.write(64 * i, 64);
		for (unsigned i = 0; i < rig.world.random(60); i++)
			rig.world.step();
		rig.io.flush();
		for (unsigned i = 0; i < rig.world.random(30); i++)
			rig.world.step();
		const Image image = rig.file.crash_image(Cut::Partial, seed);
		const ImageReport report = check_image(image);
		EXPECT_TRUE(report.ok()) << report.text();
		for (uint32_t i = 0; i < 8; i++)
			EXPECT_TRUE(data_or_zeros(image, i)) << "seed " << seed;
		rig.io.wait_all();
		rig.stop();
	}
}

TEST(Invariant1, EntryPublishedDuringACommitWaitsForTheNext)
{
	// Published between the copy and the write of its page, then the cut, at each
	// moment of both syncs, with many choices of what reached the disk.
	for (uint64_t moment_ms = 0; moment_ms < 120; moment_ms += 15) {
		Rig rig;
		rig.start();
		rig.io.write(0, 64);
		rig.io.wait_all();
		rig.world.at_once_chance = 0;
		rig.world.delay_ms[call_of(PLOOP_OP_SYNC)] = 50;
		rig.io.flush();
		rig.world.advance_ms(10);
		rig.io.write(64, 64); // the same page
		rig.world.advance_ms(moment_ms);
		for (uint64_t seed = 1; seed <= 60; seed++) {
			const Image image = rig.file.crash_image(Cut::Partial, seed);
			const ImageReport report = check_image(image);
			EXPECT_TRUE(report.ok()) << report.text();
			EXPECT_TRUE(report.bat[1] == 0 || all_there(image, 1))
				<< moment_ms << " ms, seed " << seed;
		}
		rig.io.wait_all();
		rig.stop();
	}
}

TEST(Invariant2, AFreedClusterIsNotReusedWhileReadersAreOnIt)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		Rig rig(seed);
		rig.world.at_once_chance = 0;
		rig.start();
		rig.write(0, 64);
		rig.world.delay_ms[CALL_RQ_READ] = 20000;
		rig.io.read(0, 64); // still under way when its cluster is discarded
		rig.world.advance_ms(1);
		rig.io.discard(0, 64, true);
		rig.io.flush();
		rig.world.advance_ms(1000);
		rig.io.write(64 * 5, 64, PLOOP_RQ_FUA);
		rig.world.advance_ms(1000);
		// Until the read has ended its cluster keeps its data: cluster 1.
		EXPECT_EQ(rig.report().bat[5], 2u);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
	}
}

TEST(Invariant2, AFreedClusterIsNotReusedBeforeTheMapWithoutItIsDurable)
{
	Rig rig;
	rig.start();
	rig.io.write(0, 64);
	rig.io.flush();
	rig.io.wait_all();
	rig.io.discard(0, 64);
	rig.io.wait_all();
	rig.write(64 * 5, 64, PLOOP_RQ_FUA);
	EXPECT_EQ(rig.report().bat[5], 2u);
	rig.io.flush();
	rig.io.wait_all();
	rig.world.run_idle();
	// Now it may be, when those are used up that were ready before.
	const uint64_t ready = rig.clean_clusters();
	for (uint64_t i = 0; i <= ready; i++)
		rig.write(64 * (6 + i), 64, PLOOP_RQ_FUA);
	const ImageReport report = rig.report();
	EXPECT_EQ(std::count(report.bat.begin(), report.bat.end(), 1u), 1);
	rig.stop();
	EXPECT_EQ(rig.io.problem, "");
}

TEST(Invariant2, AFailedCommitKeepsItsClusters)
{
	Rig rig;
	rig.world.disk.copy_on_write = true;
	rig.start();
	rig.io.write(0, 64);
	rig.io.flush();
	rig.io.wait_all();
	rig.io.discard(0, 64);
	rig.io.wait_all();
	rig.world.fail_nth(
		{.calls = call_of(PLOOP_OP_WRITE_BUFFERED), .error = -ENOSPC, .sticky = true});
	rig.io.flush();
	rig.world.advance_ms(500);
	EXPECT_EQ(rig.field("quarantined"), 1u);
	rig.world.clear_faults();
	rig.io.wait_all();
	rig.stop();
	EXPECT_EQ(rig.report().text(), "");
}

TEST(Invariant3, NewClustersReadAsZeroWhereNotWritten)
{
	// An image whose free clusters are full of somebody's bytes.
	for (uint64_t seed = 1; seed <= 40; seed++) {
		ImageSpec spec;
		spec.file_clusters = 12;
		Rig rig(seed, spec);
		for (uint32_t i = 1; i < 12; i++)
			rig.file.poke(i * 32768ull, std::vector<uint8_t>(32768, 0xAA));
		if (seed % 2)
			rig.file.unsupported = 1u << PLOOP_OP_PUNCH | 1u << PLOOP_OP_ZERO;
		rig.start(seed % 3 == 0 ? "falloc_new_clu" : "");
		for (unsigned i = 0; i < 14; i++)
			rig.io.write(64 * i + 5, 1 + uint32_t(rig.world.random(58)));
		rig.io.write_zeroes(64 * 14, 64, PLOOP_RQ_NOUNMAP);
		rig.io.wait_all();
		rig.io.read(0, 64 * 16);
		rig.io.wait_all();
		rig.stop();
		ASSERT_EQ(rig.io.problem, "") << "seed " << seed;
	}
}

TEST(Invariant3, AClusterWhoseFirstWriteFailedIsDirty)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		Rig rig(seed);
		rig.start();
		rig.world.fail_nth({.calls = CALL_RQ_WRITE});
		auto bad = rig.device.submit(PLOOP_RQ_WRITE, 0, 64, 0, Model::pattern(77, 0, 64));
		EXPECT_EQ(rig.device.wait(bad), -EIO);
		for (unsigned i = 2; i < 8; i++)
			rig.io.write(64 * i + 10, 10);
		rig.io.wait_all();
		rig.io.read(64, 64 * 9);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.io.problem, "") << "seed " << seed;
	}
}

TEST(Invariant3, NobodyWritesBesideTheWriteThatCoversADirtyCluster)
{
	// The covering write fails, one beside it would not: it alone must not map
	// a cluster that still holds somebody's bytes.
	for (uint64_t seed = 1; seed <= 40; seed++) {
		ImageSpec spec;
		spec.file_clusters = 2;
		Rig rig(seed, spec);
		rig.file.facts.zeros_honest = seed % 2 != 0;
		rig.file.poke(32768, std::vector<uint8_t>(32768, 0xAA));
		rig.start();
		rig.world.at_once_chance = 0;
		rig.world.fail_nth({.calls = CALL_RQ_WRITE});
		auto covering = rig.io.write(0, 64);
		auto beside = rig.io.write(8, 8);
		rig.io.wait_all();
		EXPECT_TRUE(covering->error == -EIO || beside->error == -EIO);
		rig.io.read(8, 56);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.io.problem, "") << "seed " << seed;
	}
}

TEST(Invariant4, AfterAFailedCommitEveryWriteAndFlushFails)
{
	Rig rig;
	rig.start();
	rig.write(0, 8);
	rig.world.advance_ms(100); // no other sync is under way
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC)});
	EXPECT_EQ(rig.device.flush(), -EIO);
	EXPECT_EQ(rig.device.flush(), -EIO);
	EXPECT_EQ(rig.device.write(0, Model::pattern(1, 0, 1)), -EIO);
	EXPECT_EQ(rig.device.write(6400, Model::pattern(1, 6400, 1), PLOOP_RQ_FUA), -EIO);
	EXPECT_EQ(rig.read_id(6400, 8), 0u); // reads go on
	EXPECT_TRUE(rig.device.host().logged("the map could not be written"));
	EXPECT_TRUE(rig.has_word("mode=failed"));
	rig.stop();
	EXPECT_TRUE(rig.report().ok());
}

// device-mapper drops the error of a flush and sends the data that follows it.
TEST(Invariant4, APreflushedWriteFailsWhenItsFlushFailed)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		Rig rig(seed);
		rig.start();
		rig.io.write(0, 8);
		rig.io.write(64, 8);
		rig.io.wait_all();
		rig.world.advance_ms(100); // no other sync is under way
		rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC)});
		auto commit_record = rig.write(0, 8, BIO_PREFLUSH | PLOOP_RQ_FUA);
		EXPECT_EQ(commit_record->error, -EIO);
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
	}
}

// Even when there is space again: what the flush was for is not durable yet.
TEST(Invariant4, AFlushThatEndsForWantOfSpaceShutsTheGateUntilACommit)
{
	Rig rig;
	rig.start_uncommitted_on_cow("error_if_no_space");
	rig.fill();
	EXPECT_EQ(rig.device.flush(), -ENOSPC);
	rig.free_space();
	EXPECT_EQ(rig.device.write(0, Model::pattern(1, 0, 1)), -ENOSPC);
	rig.world.advance_ms(6000);
	EXPECT_EQ(rig.device.write(0, Model::pattern(1, 0, 1)), 0);
	rig.stop();
}

// The test host aborts on a second end; that none is missing is told here.
TEST(Invariant5, EachRequestCompletesExactlyOnce)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		Rig rig(seed);
		rig.world.short_chance = 0.2;
		rig.start("enospc_timeout_s=2");
		unsigned begun = 0;
		unsigned ended = 0;
		const auto count = [&ended](Bio &) { ended++; };
		for (unsigned round = 0; round < 4; round++) {
			rig.world.disk.capacity =
				rig.world.disk.used() + rig.world.random(3) * 32768;
			for (unsigned i = 0; i < 30; i++, begun++) {
				const uint64_t at = rig.world.random(64 * 20);
				const uint32_t sectors = 1 + uint32_t(rig.world.random(200));
				const ploop_rq_op ops[] = {
					PLOOP_RQ_READ,	  PLOOP_RQ_WRITE,	 PLOOP_RQ_WRITE,
					PLOOP_RQ_DISCARD, PLOOP_RQ_WRITE_ZEROES, PLOOP_RQ_FLUSH,
				};
				const ploop_rq_op op = ops[rig.world.random(6)];
				std::vector<uint8_t> data;
				if (op == PLOOP_RQ_WRITE)
					data = Model::pattern(1, at, sectors);
				rig.device.submit(op, op == PLOOP_RQ_FLUSH ? 0 : at,
						  op == PLOOP_RQ_FLUSH ? 0 : sectors,
						  rig.world.random(3) == 0 && op == PLOOP_RQ_WRITE
							  ? PLOOP_RQ_FUA
							  : 0,
						  std::move(data), count);
			}
			rig.world.advance_ms(rig.world.random(2500));
			const bool noflush = rig.world.random(2);
			EXPECT_EQ(rig.device.suspend(noflush), 0);
			rig.free_space();
			EXPECT_EQ(rig.device.resume(noflush), 0);
		}
		rig.world.run_until([&] { return begun == ended; });
		rig.stop();
		EXPECT_EQ(begun, ended);
		EXPECT_EQ(rig.device.requeue_lost, 0u);
	}
}

TEST(Invariant6, ForeignBytesOfTheHeaderStay)
{
	Rig rig;
	rig.start();
	// User space edits the extension offset and the flags, 4 and 8 bytes each.
	const std::vector<uint8_t> offset = {0x11, 0x22, 0x33, 0, 0, 0, 0, 0};
	rig.file.poke(56, offset);
	rig.file.poke(44, std::vector<uint8_t>{1, 2, 3, 4});
	rig.io.write(0, 64);
	rig.io.flush();
	rig.io.wait_all();
	EXPECT_EQ(rig.file.peek(56, 8), offset);
	EXPECT_EQ(rig.file.peek(44, 4), (std::vector<uint8_t>{1, 2, 3, 4}));
	rig.stop();
	EXPECT_EQ(rig.file.peek(56, 8), offset);
}

TEST(Invariant6, AMarkThatWasSetStaysAndOneOfOursGoes)
{
	{
		ImageSpec spec;
		spec.in_use = IMAGE_IN_USE;
		Rig found(1, spec);
		found.start();
		found.stop();
		EXPECT_EQ(found.report().in_use, IMAGE_IN_USE);
	}
	Rig ours;
	ours.start();
	EXPECT_EQ(ours.report().in_use, IMAGE_IN_USE);
	EXPECT_EQ(ours.device.suspend(), 0);
	EXPECT_EQ(ours.report().in_use, 0u);
	EXPECT_EQ(ours.device.resume(), 0);
	EXPECT_EQ(ours.report().in_use, IMAGE_IN_USE);
	ours.stop();
	EXPECT_EQ(ours.report().in_use, 0u);
}

TEST(Invariant7, SuspendedMeansStill)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		Rig rig(seed);
		rig.start();
		rig.random_load(60);
		EXPECT_EQ(rig.device.suspend(), 0);
		EXPECT_TRUE(rig.file.clean()) << "not durable";
		EXPECT_EQ(rig.report().text(), "");
		const Image before = rig.file.now();
		rig.world.advance_ms(20000);
		EXPECT_TRUE(before == rig.file.now());
		EXPECT_EQ(rig.device.resume(), 0);
		rig.io.wait_all();
		rig.stop();
	}
}

TEST(Invariant7, ACommitWithoutSpaceAtSuspendIsWrittenAtResume)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		Rig rig(seed);
		rig.start();
		rig.io.write(0, 64);
		rig.io.write(64 * 3, 8);
		rig.io.wait_all();
		rig.world.fail_nth(
			{.calls = call_of(PLOOP_OP_WRITE_BUFFERED) | call_of(PLOOP_OP_SYNC),
			 .nth = 1 + seed % 3,
			 .error = -ENOSPC,
			 .sticky = true});
		EXPECT_EQ(rig.device.suspend(true), 0);
		EXPECT_TRUE(rig.has_word("dirty-suspended"));
		const bool swap = seed % 2;
		if (swap) {
			ASSERT_EQ(rig.device.load("6 /img", rig.sectors), 0) << rig.device.error;
		}
		EXPECT_EQ(rig.device.resume(true), -ENOSPC); // it never re-reads over them
		rig.world.clear_faults();
		EXPECT_EQ(rig.device.resume(true), 0);
		rig.io.read(0, 64 * 4);
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

TEST(Invariant7, ASuspendWhoseCommitFailedIsStillToo)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		Rig rig(seed);
		rig.start();
		for (unsigned i = 0; i < 8; i++)
			rig.io.write(64 * i, 64);
		rig.io.flush();
		rig.io.wait_all();
		rig.world.delay_ms[call_of(PLOOP_OP_PUNCH)] = 2000;
		rig.io.discard(64 * 2, 64 * 3, true);
		rig.io.flush();
		rig.io.wait_all();
		rig.io.write(64 * 20, 64);
		rig.world.run_idle(); // the punch is under way
		rig.world.fail_nth({.calls = call_of(PLOOP_OP_WRITE_BUFFERED),
				    .error = -ENOSPC,
				    .sticky = true});
		EXPECT_EQ(rig.device.suspend(true), 0);
		const Image before = rig.file.now();
		rig.world.advance_ms(5000);
		EXPECT_TRUE(before == rig.file.now()) << "seed " << seed;
		rig.world.clear_faults();
		EXPECT_EQ(rig.device.resume(true), 0);
		for (unsigned i = 0; i < 6; i++)
			rig.io.write(64 * (30 + i) + 3, 9);
		rig.io.wait_all();
		rig.io.read(0, 64 * 40);
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

TEST(Invariant8, TheMapIsReadAtResume)
{
	for (const bool load_first : {true, false}) {
		Rig rig;
		rig.start();
		rig.write(0, 64);
		if (load_first) {
			ASSERT_EQ(rig.device.load("6 /img", rig.sectors), 0);
			rig.write(64 * 2, 64); // newer than the load
		}
		EXPECT_EQ(rig.device.suspend(), 0);
		if (!load_first) {
			ASSERT_EQ(rig.device.load("6 /img", rig.sectors), 0);
		}
		EXPECT_EQ(rig.device.resume(), 0);
		rig.io.read(0, 64 * 4);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
	}
}

TEST(Invariant8, AResumeBesideARunningInstanceIsRefused)
{
	Rig rig;
	rig.start();
	Device other(rig.world, "dm-1");
	EXPECT_EQ(other.create("6 /img", rig.sectors), -EBUSY);
	rig.write(0, 8);
	other.remove();
	rig.stop();
	EXPECT_EQ(rig.io.problem, "");
}

TEST(Hostile, DuplicateEntriesAreRefusedByName)
{
	ImageSpec spec;
	spec.bat = {{3, 5}, {200, 5}};
	spec.file_clusters = 8;
	Rig rig(1, spec);
	EXPECT_EQ(rig.device.create("6 /img", rig.sectors), -EPROTO);
	EXPECT_NE(rig.device.error.find("BAT entry 200 is 5"), std::string::npos)
		<< rig.device.error;
}

// Whatever is wrong with a delta, the text names it as the table line does.
TEST(Errors, ATextAboutADeltaNamesIt)
{
	struct Case {
		int code;
		const char *reason;
		void (*spoil)(File &);
	};
	const Case cases[] = {
		{-EBADF, "not opened for reading", [](File &f) { f.facts.readable = false; }},
		{-ENOSPC,
		 "an earlier write to it failed, error -28; check it, sync it, and try again",
		 [](File &f) { f.facts.unsynced_error = -ENOSPC; }},
		{-ELOOP, "lies on the device that this table is for",
		 [](File &f) { f.facts.own_device = true; }},
		{-EINVAL, "neither a regular file nor a block device",
		 [](File &f) { f.open_error = -EINVAL; }},
		{-EROFS, "may not be written; use a read-only table",
		 [](File &f) { f.open_error = -EROFS; }},
		{-ETXTBSY, "cannot be opened, error -26", [](File &f) { f.open_error = -ETXTBSY; }},
	};
	const std::pair<std::string, std::string> names[] = {{"/img", "/img"}, {"7", "fd 7"}};
	for (const Case &one : cases) {
		for (const auto &[word, name] : names) {
			Rig rig;
			rig.world.add_fd(7, "/img", true);
			one.spoil(rig.file);
			EXPECT_EQ(rig.device.create("6 " + word, rig.sectors), one.code);
			EXPECT_EQ(rig.device.error, "delta " + name + ": " + one.reason);
		}
	}
}

// In an outage the kernel may be the first to write the map, and to meet no space. The
// instance that runs repeats it, so the table that may help must load. Without such an
// instance, or with another error, something is lost.
TEST(Errors, AnEarlierWriteWithoutSpaceIsNoLossWhileItsInstanceRuns)
{
	for (const int error : {-ENOSPC, -EIO}) {
		Rig rig;
		rig.file.facts.unsynced_error = error;
		EXPECT_EQ(rig.device.create("6 /img", rig.sectors), error);
		rig.file.facts.unsynced_error = 0;
		rig.start();
		rig.write(0, 8);
		rig.file.facts.unsynced_error = error;
		EXPECT_EQ(rig.device.load("6 /img", rig.sectors), error == -EIO ? -EIO : 0);
		EXPECT_EQ(rig.device.suspend(), 0);
		EXPECT_EQ(rig.device.resume(), 0);
		rig.io.read(0, 64);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
	}
}

// A table that only reads repeats nothing, and neither does one of another device.
TEST(Errors, AnEarlierWriteWithoutSpaceIsALossBesideAReader)
{
	for (const bool other_device : {false, true}) {
		Rig rig;
		ASSERT_EQ(rig.device.create("6 /img", rig.sectors, !other_device), 0);
		ASSERT_EQ(rig.device.resume(), 0);
		rig.file.facts.unsynced_error = -ENOSPC;
		Device other(rig.world, "dm-1");
		EXPECT_EQ(other_device ? other.create("6 /img", rig.sectors)
				       : rig.device.load("6 /img", rig.sectors),
			  -ENOSPC);
		other.remove();
		rig.stop();
	}
}

// What the instance before met, and wrote again, is told to the first sync of the next one.
TEST(Errors, WhatIsToldOfEarlierWritesIsNoOutage)
{
	// The resume's first sync is that of the in-use mark, unless it was found, or unwritten.
	enum class Next { mark, no_mark, unwritten };
	for (const Next next : {Next::mark, Next::no_mark, Next::unwritten}) {
		const bool unwritten = next == Next::unwritten;
		ImageSpec spec;
		spec.in_use = next == Next::no_mark ? IMAGE_IN_USE : 0;
		Rig rig(1, spec);
		if (unwritten) {
			rig.start_and_suspend_unwritten();
		} else {
			rig.start();
			rig.write(0, 8);
			EXPECT_EQ(rig.device.suspend(), 0);
		}
		EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
		rig.free_space();
		const uint64_t events = rig.field("enospc_events");
		rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC), .error = -ENOSPC});
		EXPECT_EQ(rig.device.resume(unwritten), 0);
		EXPECT_EQ(rig.device.flush(), 0);
		EXPECT_EQ(rig.field("enospc_events"), events);
		EXPECT_FALSE(rig.device.host().logged("in-use mark"));
		rig.io.read(0, 64);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
		EXPECT_EQ(rig.report().text(), next == Next::no_mark ? "in use; " : "");
	}
}

TEST(Errors, AnotherErrorOfEarlierWritesIsTheResumes)
{
	Rig rig;
	rig.start();
	EXPECT_EQ(rig.device.suspend(), 0);
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC)});
	EXPECT_EQ(rig.device.resume(), -EIO);
	EXPECT_EQ(rig.device.resume(), 0);
	rig.write(0, 8);
	rig.stop();
	EXPECT_EQ(rig.io.problem, "");
}

// The manual's word on mode=failed: the next resume fails, of whichever table, and who
// loads one after that has been told.
TEST(Errors, AFailedDeviceIsToldByTheNextResume)
{
	for (const bool own : {false, true}) {
		Rig rig;
		rig.start();
		rig.io.write(0, 64);
		rig.io.wait_all();
		rig.world.advance_ms(100); // no other sync is under way
		rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC)});
		EXPECT_EQ(rig.device.flush(), -EIO);
		EXPECT_TRUE(rig.has_word("mode=failed"));
		if (!own) {
			EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
		}
		EXPECT_EQ(rig.device.suspend(), 0);
		EXPECT_EQ(rig.device.resume(), -EIO);
		EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
		EXPECT_EQ(rig.device.resume(), 0);
		EXPECT_TRUE(rig.has_word("mode=rw"));
		rig.stop();
	}
}

TEST(Errors, ATextAboutADeltaNamesWhatIsNotThereOrNotForUs)
{
	Rig rig;
	rig.world.add_fd(7, "/img", false);
	EXPECT_EQ(rig.device.create("6 7", rig.sectors), -EACCES);
	EXPECT_EQ(rig.device.error,
		  "delta fd 7: not opened for writing; open it so or use a read-only table");
	EXPECT_EQ(rig.device.create("6 8", rig.sectors), -ENOENT);
	EXPECT_EQ(rig.device.error, "delta fd 8: no such open descriptor");
	EXPECT_EQ(rig.device.create("6 /none", rig.sectors), -ENOENT);
	EXPECT_EQ(rig.device.error, "delta /none: no such file");
	rig.file.open_error = -EACCES;
	EXPECT_EQ(rig.device.create("6 /img", rig.sectors, true), -EACCES);
	EXPECT_EQ(rig.device.error, "delta /img: may not be read");
}

TEST(Errors, EioReachesItsRequestAndNoOther)
{
	for (uint64_t n = 1; n <= 10; n++) {
		Rig rig(n);
		rig.start();
		rig.world.fail_nth({.calls = CALL_RQ_WRITE, .nth = n});
		std::vector<BioPtr> bios;
		for (unsigned i = 0; i < 10; i++)
			bios.push_back(rig.io.write(64 * i, 8));
		rig.io.wait_all();
		unsigned failed = 0;
		for (const BioPtr &bio : bios)
			failed += bio->error != 0;
		EXPECT_EQ(failed, 1u);
		EXPECT_EQ(rig.device.flush(), 0);
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
	}
}

// The host may tell a read of an error that was another's, once. Its own comes again.
TEST(Errors, AReadIsTriedTwice)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		Rig rig(seed);
		rig.start();
		rig.write(0, 64);
		std::vector<uint8_t> data;
		for (const int error : {-EIO, -ENOSPC}) {
			rig.world.fail_nth({.calls = CALL_RQ_READ, .error = error});
			EXPECT_EQ(rig.device.read(0, 64, data), 0);
		}
		const Fault &lasting = rig.world.fail_nth({.calls = CALL_RQ_READ, .sticky = true});
		EXPECT_EQ(rig.device.read(0, 64, data), -EIO);
		EXPECT_LE(lasting.fired, 3u); // and once in the submitter's context
		rig.world.clear_faults();
		rig.stop();
	}
}

TEST(Errors, AFileCutShortIsAnErrorNotAHang)
{
	Rig rig;
	rig.start();
	rig.write(0, 64);
	rig.file.set_size(32768);
	std::vector<uint8_t> data;
	EXPECT_EQ(rig.device.read(0, 64, data), -EIO);
	rig.stop();
}

TEST(Background, AMapIsCommittedAfterAFewSeconds)
{
	Rig rig;
	rig.start();
	for (unsigned round = 0; round < 3; round++) {
		rig.write(64 * round, 64);
		rig.world.advance_ms(5100);
		rig.world.run_idle();
		EXPECT_EQ(check_image(rig.file.crash_image(Cut::Drop, 1)).used, round + 1);
		EXPECT_EQ(rig.device.suspend(), 0);
		EXPECT_EQ(rig.device.resume(), 0);
	}
	rig.stop();
}

} // namespace sim
