// SPDX-License-Identifier: GPL-2.0
// Who holds which file, and what belongs to a device.
#include <gtest/gtest.h>

#include "core/target/registry.h"
#include "sim/host.h"

namespace ploop {

namespace {

FileClaim &fill(FileClaim &claim, uint64_t file, uint64_t device)
{
	claim.file_id[0] = 1;
	claim.file_id[1] = file;
	claim.device_id = device;
	return claim;
}

} // namespace

TEST(Registry, OneHolderOfAFile)
{
	sim::World world;
	FileClaim a, b, c;

	registry::begin();
	fill(a, 10, 1);
	fill(b, 10, 2);
	fill(c, 11, 2);
	EXPECT_FALSE(registry::held_by_other(a));
	EXPECT_TRUE(registry::hold(a));
	EXPECT_TRUE(registry::hold(a)) << "a holder may hold again";
	EXPECT_FALSE(registry::hold(b));
	EXPECT_FALSE(b.held);
	EXPECT_TRUE(registry::held_by_other(b));
	EXPECT_FALSE(registry::held_by_other(a));
	EXPECT_TRUE(registry::hold(c));
	registry::release(a);
	registry::release(a);
	EXPECT_TRUE(registry::hold(b));
	EXPECT_FALSE(registry::hold(a));
	registry::release(b);
	registry::release(c);
	EXPECT_FALSE(registry::held_by_other(a));
}

TEST(Registry, BothHalvesOfAnIdCount)
{
	sim::World world;
	FileClaim a, b;

	registry::begin();
	fill(a, 10, 1);
	fill(b, 10, 1);
	b.file_id[0] = 2;
	EXPECT_TRUE(registry::hold(a));
	EXPECT_TRUE(registry::hold(b));
	registry::release(a);
	registry::release(b);
}

TEST(Registry, UnwrittenChangesGoToTheSameDeviceOnly)
{
	sim::World world;
	FileClaim old, same, other;
	Map map;
	DirtyPages dirty{nullptr};

	registry::begin();
	ASSERT_TRUE(map.allocate(100).ok());
	ASSERT_TRUE(dirty.allocate(1).ok());
	fill(old, 10, 1);
	fill(same, 10, 1);
	fill(other, 10, 2);
	ASSERT_TRUE(registry::hold(old));
	EXPECT_FALSE(registry::hold(same)) << "the old one is running";
	old.unwritten.keep(map, dirty, true);
	EXPECT_FALSE(registry::hold(other));
	ASSERT_TRUE(registry::hold(same));
	EXPECT_TRUE(same.held);
	EXPECT_TRUE(same.unwritten.present());
	EXPECT_TRUE(same.unwritten.marked());
	EXPECT_FALSE(old.held);
	EXPECT_FALSE(old.unwritten.present());
	registry::release(same);
}

TEST(Registry, ADeviceLivesAsLongAsItsTables)
{
	sim::World world;

	registry::begin();
	DeviceShared *const a = registry::get_device(1);
	DeviceShared *const b = registry::get_device(2);
	ASSERT_NE(a, nullptr);
	EXPECT_NE(a, b);
	EXPECT_EQ(registry::get_device(1), a);
	a->events.enospc.raise();
	registry::drop_device(a);
	DeviceShared *const again = registry::get_device(1);
	EXPECT_EQ(again, a);
	EXPECT_EQ(again->events.enospc.raised(), 1u);
	registry::drop_device(a);
	registry::drop_device(a);
	registry::drop_device(b);
	EXPECT_EQ(world.live_allocations(), 0u);
	DeviceShared *const fresh = registry::get_device(1);
	EXPECT_EQ(fresh->events.enospc.raised(), 0u);
	registry::drop_device(fresh);
}

TEST(Registry, NoMemoryForADevice)
{
	sim::World world;

	registry::begin();
	world.fail_nth({.calls = sim::CALL_ALLOC, .nth = 1});
	EXPECT_EQ(registry::get_device(1), nullptr);
	world.clear_faults();
	DeviceShared *const device = registry::get_device(1);
	ASSERT_NE(device, nullptr);
	registry::drop_device(device);
}

} // namespace ploop
