// SPDX-License-Identifier: GPL-2.0
// The main job on the simulated host: read, write, flush, suspend, reload, remove.
#include <gtest/gtest.h>

#include "sim/fixture.h"

namespace sim {

TEST(Basic, HolesReadAsZeros)
{
	Rig rig;
	rig.start();
	EXPECT_EQ(rig.read_id(0, 64), 0u);
	EXPECT_EQ(rig.read_id(1000, 8), 0u);
	rig.stop();
	EXPECT_EQ(rig.report().used, 0u);
}

TEST(Basic, WriteReadSurvivesSuspend)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		Rig rig(seed);
		rig.start();
		rig.io.write(3, 9);
		rig.io.write(64 * 5, 64);
		rig.io.write(64 * 7 + 60, 8);
		rig.io.wait_all();
		rig.io.read(0, 64 * 16);
		rig.io.wait_all();
		EXPECT_EQ(rig.device.suspend(), 0);
		EXPECT_EQ(rig.report().text(), "");
		EXPECT_EQ(rig.report().used, 4u);
		EXPECT_EQ(rig.device.resume(), 0);
		rig.io.read(0, 64 * 16);
		rig.io.wait_all();
		rig.stop();
		EXPECT_EQ(rig.io.problem, "") << "seed " << seed;
	}
}

TEST(Basic, ZeroWritesToHolesAllocateNothing)
{
	Rig rig;
	rig.start();
	rig.io.write_zero_data(10, 20);
	rig.io.write_zero_data(64, 64, PLOOP_RQ_FUA);
	rig.io.wait_all();
	rig.stop();
	EXPECT_EQ(rig.report().used, 0u);
}

TEST(Basic, RandomLoad)
{
	for (uint64_t seed = 1; seed <= 150; seed++) {
		Rig rig(seed);
		rig.start();
		rig.random_load(150);
		rig.io.wait_all();
		EXPECT_EQ(rig.device.suspend(), 0);
		EXPECT_EQ(rig.report().text(), "") << "seed " << seed;
		EXPECT_EQ(rig.device.resume(), 0);
		rig.random_load(50);
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

// Where the device's first whole cluster begins, wherever in the image the device does.
TEST(Limits, FirstClusterOfADeviceWithAnOffset)
{
	for (const auto &[offset, first] : std::vector<std::pair<uint32_t, uint32_t>>{
		     {0, 0}, {1, 63}, {63, 1}, {64, 0}, {65, 63}, {100, 28}}) {
		Rig rig;
		ASSERT_EQ(rig.device.create("6 off=" + std::to_string(offset) + " /img",
					    rig.sectors - offset),
			  0)
			<< rig.device.error;
		EXPECT_EQ(rig.device.limits.first_cluster_sector, first) << "off=" << offset;
		EXPECT_EQ(rig.device.limits.cluster_sectors, 64u);
		rig.stop();
	}
}

} // namespace sim
