// SPDX-License-Identifier: GPL-2.0
// Files that take direct I/O in blocks larger than a sector, not always, or not at all.
#include "sim/scenarios.h"

namespace sim {

namespace {

constexpr uint32_t kPage = 4096 / SECTOR;

// What is there of sectors 0 to 63 if all that is not durable is lost.
std::vector<uint8_t> durable_data(const Rig &rig)
{
	return read_image(rig.file.crash_image(Cut::Drop, 1), 0, kClusterSectors);
}

} // namespace

TEST(Direct, AllScenariosInAllWays)
{
	const Scenario scenarios[] = {scenario::whole_life, scenario::load,
				      scenario::recycle,    scenario::suspend_and_swap,
				      scenario::outage,	    scenario::outage_on_cow};
	for (const Direct how : {Direct::Blocks, Direct::Sometimes, Direct::Never}) {
		for (const Scenario scenario : scenarios) {
			for (uint64_t seed = 1; seed <= 4; seed++) {
				SCOPED_TRACE("direct " + std::to_string(int(how)));
				Rig rig(seed);
				rig.file.take_direct(how);
				rig.world.part_ms = seed % 2;
				rig.start();
				EXPECT_TRUE(scenario(rig));
				rig.io.read(0, kSpan);
				rig.io.wait_all();
				rig.stop_in_order();
			}
		}
	}
}

// A part of a block and the whole of it, at the same time: what was acknowledged of the
// whole stays. Without the host's lock it would not, which shows that this looks at it.
TEST(Direct, APartOfABlockTakesNothingFromWhoWritesItWhole)
{
	for (const bool locks : {true, false}) {
		Rig rig;
		rig.file.take_direct(Direct::Blocks);
		rig.start();
		rig.write(0, 64);
		rig.world.advance_ms(100);
		rig.world.locks_parts = locks;
		rig.world.at_once_chance = 0;
		rig.world.part_ms = 20;
		rig.io.write(1, 1);
		rig.world.advance_ms(10);
		auto whole = rig.io.write(0, kPage);
		rig.io.write(2, 1);
		rig.world.advance_ms(5);
		EXPECT_EQ(whole->done, !locks);
		rig.io.wait_all();
		rig.io.read(0, 64);
		rig.io.wait_all();
		EXPECT_EQ(rig.io.problem == "", locks) << rig.io.problem;
		rig.stop();
	}
}

// What is copied is one write no more, so FUA waits for a commit.
TEST(Direct, FuaOfAPartOfABlock)
{
	Rig rig;
	rig.file.take_direct(Direct::Blocks);
	rig.start();
	rig.write(0, 64, PLOOP_RQ_FUA);
	rig.world.advance_ms(100);
	auto fua = rig.write(1, 2, PLOOP_RQ_FUA);
	const std::vector<uint8_t> data = durable_data(rig);
	EXPECT_TRUE(std::equal(fua->data.begin(), fua->data.end(), data.begin() + SECTOR));
	rig.stop_in_order();
}

TEST(Direct, FuaThatIsRefused)
{
	for (const int error : {-EINVAL, -EOPNOTSUPP}) {
		Rig rig;
		rig.start();
		rig.write(0, 64, PLOOP_RQ_FUA);
		rig.world.advance_ms(100);
		rig.world.fail_nth({.calls = CALL_RQ_WRITE, .error = error});
		auto fua = rig.write(0, 64, PLOOP_RQ_FUA);
		EXPECT_EQ(fua->error, 0);
		EXPECT_EQ(durable_data(rig), fua->data);
		rig.stop_in_order();
	}
}

// A page of the map that the page cache has lost is not on the disk, and is not read from
// there: memory has it, and the next commit, or the next table, writes it.
TEST(Direct, APageThatASyncHasLostIsWrittenAgain)
{
	for (const bool suspends : {false, true}) {
		Rig rig;
		rig.file.take_direct(Direct::Never);
		rig.start();
		rig.write(0, 8);
		rig.world.advance_ms(100);
		// The first sync is of the data, the second of the page.
		rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC),
				    .nth = 2,
				    .error = -ENOSPC,
				    .sticky = true});
		const uint64_t pages = rig.world.calls(call_of(PLOOP_OP_WRITE_BUFFERED));
		auto flush = rig.io.flush();
		rig.world.advance_ms(50);
		EXPECT_FALSE(flush->done);
		EXPECT_GT(rig.world.calls(call_of(PLOOP_OP_WRITE_BUFFERED)), pages);
		EXPECT_EQ(rig.report().bat[0], 0u);
		if (suspends) {
			EXPECT_EQ(rig.device.suspend(true), 0);
			EXPECT_TRUE(rig.has_word("dirty-suspended"));
		}
		rig.world.clear_faults();
		if (suspends) {
			EXPECT_EQ(rig.device.resume(), 0);
		}
		rig.io.wait_all();
		EXPECT_EQ(flush->error, 0);
		EXPECT_NE(check_image(rig.file.crash_image(Cut::Drop, 1)).bat[0], 0u);
		rig.io.read(0, 64);
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

} // namespace sim
