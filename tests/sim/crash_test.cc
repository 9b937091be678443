// SPDX-License-Identifier: GPL-2.0
// Power cuts at every write of a scenario, with the volatile cache dropped, kept
// and partly kept: the image stays consistent and all that was promised is there.
#include <gtest/gtest.h>

#include "sim/fixture.h"

namespace sim {

namespace {

constexpr uint64_t kSpan = 64 * 24; // sectors that the scenarios touch

using Scenario = void (*)(Rig &);

constexpr uint64_t kFlagsOffset = 52;
// Bits that nobody knows, in a field that is not the kernel's (invariant 6).
const std::vector<uint8_t> kForeignFlags = {0, 0, 0x5A, 0xA5};

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
bool run_to(Rig &rig, uint64_t n, Scenario scenario)
{
	rig.file.poke(kFlagsOffset, kForeignFlags);
	rig.start();
	rig.world.cut_at(n);
	try {
		scenario(rig);
		return true;
	} catch (const PowerCut &) {
		return false;
	}
}

void cut_everywhere(Scenario scenario, uint64_t seeds)
{
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		bool ended = false;
		for (uint64_t n = 1; !ended; n++) {
			for (const Cut cut : {Cut::Drop, Cut::Keep, Cut::Partial}) {
				Rig rig(seed);
				ended = run_to(rig, n, scenario);
				SCOPED_TRACE("seed " + std::to_string(seed) + ", write point " +
					     std::to_string(n) + ", cut " +
					     std::to_string(int(cut)));
				ASSERT_NO_FATAL_FAILURE(judge(rig, cut, seed * 1000 + n));
				if (testing::Test::HasFailure())
					return;
			}
			ASSERT_LT(n, 5000u);
		}
	}
}

void load(Rig &rig)
{
	rig.random_load(30);
	rig.io.flush();
	rig.io.wait_all();
	rig.random_load(25);
	rig.io.wait_all();
	rig.world.advance_ms(6000); // the commit in the background
}

// Full clusters of old data are discarded and used again at once: the places
// where foreign bytes could show.
void recycle(Rig &rig)
{
	for (unsigned i = 0; i < 6; i++)
		rig.io.write(64 * i, 64);
	rig.io.flush();
	rig.io.wait_all();
	for (unsigned round = 0; round < 3; round++) {
		rig.io.discard(0, 64 * 6);
		rig.io.wait_all();
		rig.io.flush();
		rig.io.wait_all();
		rig.world.run_idle();
		for (unsigned i = 0; i < 6; i++) {
			if (rig.world.random(2))
				rig.io.write(64 * (10 + i) + 7, 9);
			else
				rig.io.write(64 * i, 64);
		}
		rig.io.wait_all();
		rig.io.flush();
		rig.io.wait_all();
	}
}

void suspend_and_swap(Rig &rig)
{
	rig.random_load(15);
	rig.io.wait_all();
	ASSERT_EQ(rig.device.suspend(), 0);
	ASSERT_EQ(rig.device.resume(), 0);
	rig.random_load(15);
	ASSERT_EQ(rig.device.load("6 /img", rig.sectors), 0);
	ASSERT_EQ(rig.device.resume(true), 0);
	rig.random_load(10);
	rig.io.wait_all();
}

void outage(Rig &rig)
{
	rig.random_load(15);
	rig.io.wait_all();
	rig.world.disk.capacity = rig.world.disk.used() + 16384;
	rig.random_load(1);
	for (unsigned i = 0; i < 20; i++)
		rig.random_step(rig.world.random(kSpan - 200), 1 + uint32_t(rig.world.random(150)));
	rig.world.advance_ms(700);
	rig.world.disk.capacity = UINT64_MAX;
	rig.io.wait_all();
	rig.io.flush();
	rig.io.wait_all();
}

void outage_on_cow(Rig &rig)
{
	rig.world.disk.copy_on_write = true;
	outage(rig);
}

} // namespace

TEST(PowerCut, AtEveryWriteOfARandomLoad)
{
	cut_everywhere(load, 2);
}
TEST(PowerCut, AtEveryWriteOfRecycling)
{
	cut_everywhere(recycle, 2);
}
TEST(PowerCut, AtEveryWriteOfSuspendsAndSwaps)
{
	cut_everywhere(suspend_and_swap, 2);
}
TEST(PowerCut, AtEveryWriteOfAnOutage)
{
	cut_everywhere(outage, 2);
}
TEST(PowerCut, AtEveryWriteOfAnOutageOnCopyOnWrite)
{
	cut_everywhere(outage_on_cow, 2);
}

} // namespace sim
