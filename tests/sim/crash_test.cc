// SPDX-License-Identifier: GPL-2.0
// Power cuts at every write of a scenario, with the volatile cache dropped, kept
// and partly kept: the image stays consistent and all that was promised is there.
#include <gtest/gtest.h>

#include "sim/scenarios.h"

namespace sim {

namespace {

// The file system of the host knows nothing of the cut: it must be all right.
void judge(Rig &rig, Cut cut, uint64_t seed)
{
	// More than one of the ways in which this cut could have gone.
	for (uint64_t other = 0; other < 6; other++) {
		const ImageReport report =
			check_image(rig.file.crash_image(Cut::Partial, seed * 7 + other));
		EXPECT_TRUE(report.ok()) << report.text();
	}
	rig.world.power_cut(cut, seed);
	rig.first.reset();
	const ImageReport report = rig.report();
	EXPECT_EQ(report.ok(), true) << report.text();
	EXPECT_EQ(rig.file.peek(kFlagsOffset, 4), kForeignFlags);
	rig.module.reboot();
	rig.world.clear_faults();
	rig.world.disk.capacity = UINT64_MAX;

	Device again(rig.world);
	ASSERT_EQ(again.create("6 /img", rig.sectors), 0) << again.error;
	rig.io.use(again);
	rig.io.verify_cut(kSpan);
	// It is as good as new: it can be used, and closed.
	rig.io.write(5, 100);
	rig.io.write(64 * 20, 64, PLOOP_RQ_FUA);
	rig.io.discard(64 * 2, 128);
	rig.io.wait_all();
	rig.io.read(0, kSpan);
	rig.io.wait_all();
	EXPECT_EQ(again.suspend(), 0);
	const ImageReport after = check_image(rig.file.now());
	EXPECT_TRUE(after.ok()) << after.text();
	EXPECT_EQ(after.leaked_end, 0u);
	again.remove();
	EXPECT_EQ(rig.io.problem, "");
}

// Runs the scenario to the @n-th write point; true if it ended before that.
bool run_to(Rig &rig, uint64_t n, Scenario scenario, Direct direct)
{
	rig.file.take_direct(direct);
	rig.file.poke(kFlagsOffset, kForeignFlags);
	rig.start();
	rig.world.cut_at(n);
	try {
		EXPECT_TRUE(scenario(rig));
		return true;
	} catch (const PowerCut &) {
		return false;
	}
}

// A scenario with no more than @least write points has failed: the cuts do not reach
// what they are for.
void cut_everywhere(Scenario scenario, uint64_t seeds, uint64_t least,
		    Direct direct = Direct::Sectors)
{
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		bool ended = false;
		uint64_t n = 0;
		while (!ended) {
			n++;
			for (const Cut cut : {Cut::Drop, Cut::Keep, Cut::Partial}) {
				Rig rig(seed);
				ended = run_to(rig, n, scenario, direct);
				SCOPED_TRACE("seed " + std::to_string(seed) + ", write point " +
					     std::to_string(n) + ", cut " +
					     std::to_string(int(cut)));
				ASSERT_NO_FATAL_FAILURE(judge(rig, cut, seed * 1000 + n));
				if (testing::Test::HasFailure())
					return;
			}
			ASSERT_LT(n, 5000u);
		}
		EXPECT_GT(n, least) << "seed " << seed;
	}
}

} // namespace

// @least is about half of the write points that the scenario has now.

TEST(PowerCut, AtEveryWriteOfARandomLoad)
{
	cut_everywhere(scenario::load, 2, 80);
}
TEST(PowerCut, AtEveryWriteOfRecycling)
{
	cut_everywhere(scenario::recycle, 2, 50);
}
TEST(PowerCut, AtEveryWriteOfSuspendsAndSwaps)
{
	cut_everywhere(scenario::suspend_and_swap, 2, 60);
}
TEST(PowerCut, AtEveryWriteOfAnOutage)
{
	cut_everywhere(scenario::outage, 2, 75);
}
TEST(PowerCut, AtEveryWriteOfAnOutageOnCopyOnWrite)
{
	cut_everywhere(scenario::outage_on_cow, 2, 50);
}
TEST(PowerCut, AtEveryWriteInBlocks)
{
	cut_everywhere(scenario::load, 1, 80, Direct::Blocks);
}
TEST(PowerCut, AtEveryWriteWhereDirectIoIsRefusedSometimes)
{
	cut_everywhere(scenario::recycle, 1, 50, Direct::Sometimes);
}
TEST(PowerCut, AtEveryWriteWithoutDirectIo)
{
	cut_everywhere(scenario::load, 1, 80, Direct::Never);
	cut_everywhere(scenario::outage, 1, 75, Direct::Never);
}

} // namespace sim
