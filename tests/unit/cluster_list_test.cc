// SPDX-License-Identifier: GPL-2.0
// Clusters on their way through the quarantine: none is lost, none comes twice.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "core/map/cluster_list.h"
#include "sim/host.h"

namespace ploop {

namespace {

// Takes all, and counts how often each came.
std::map<uint32_t, int> drain(ClusterList &list)
{
	std::map<uint32_t, int> seen;

	while (!list.empty()) {
		const uint64_t before = list.count();
		seen[list.pop_first().raw()]++;
		EXPECT_EQ(list.count(), before - 1);
	}
	EXPECT_EQ(list.count(), 0u);
	return seen;
}

} // namespace

TEST(ClusterList, NothingIsLost)
{
	sim::World world;
	std::mt19937_64 rng(1);

	for (int round = 0; round < 200; round++) {
		ClusterList lists[2];
		std::map<uint32_t, int> model;
			uint32_t next = 1;
		const uint64_t steps = rng() % 5000;
		for (uint64_t i = 0; i < steps; i++) {
			// Runs upward and downward, as discards make them, and jumps.
			next = rng() % 20 == 0 ? uint32_t(rng()) : rng() % 4 ? next + 1 : next - 1;
			if (model.count(next) != 0)
				continue;
			model[next]++;
			ASSERT_TRUE(lists[rng() % 2].push(FileCluster(next)));
			if (rng() % 1000 == 0)
				lists[0].splice(lists[1]);
		}
		lists[0].splice(lists[1]);
		EXPECT_TRUE(lists[1].empty());
		EXPECT_EQ(lists[0].count(), model.size());
		ASSERT_EQ(drain(lists[0]), model);
	}
}

TEST(ClusterList, TheEndsOfTheNumbers)
{
	sim::World world;
	ClusterList list;

	for (uint32_t cluster : {0u, UINT32_MAX, 1u, UINT32_MAX - 1})
		ASSERT_TRUE(list.push(FileCluster(cluster)));
	const std::map<uint32_t, int> all = {{0, 1}, {1, 1}, {UINT32_MAX - 1, 1}, {UINT32_MAX, 1}};
	EXPECT_EQ(drain(list), all);
}

TEST(ClusterList, SpliceOfEmptyOnes)
{
	sim::World world;
	ClusterList a, b;

	a.splice(b);
	EXPECT_TRUE(a.empty());
	ASSERT_TRUE(b.push(FileCluster(7)));
	a.splice(b);
	b.splice(b);
	EXPECT_EQ(a.count(), 1u);
	ASSERT_TRUE(b.push(FileCluster(9)));
	a.splice(b);
	EXPECT_EQ(drain(a).size(), 2u);
}

TEST(ClusterList, NoMemory)
{
	sim::World world;
	ClusterList list;
	uint64_t pushed = 0;

	world.fail_nth({.calls = sim::CALL_ALLOC, .nth = 3, .sticky = true});
	while (list.push(FileCluster(uint32_t(pushed * 2))))
		pushed++;
	EXPECT_EQ(list.count(), pushed);
	EXPECT_FALSE(list.push(FileCluster(1)));
	world.clear_faults();
	EXPECT_TRUE(list.push(FileCluster(1)));
	EXPECT_EQ(drain(list).size(), pushed + 1);
}

TEST(ClusterList, ADroppedListGivesItsMemoryBack)
{
	sim::World world;
	{
		ClusterList list;
		for (uint32_t i = 0; i < 5000; i++)
			ASSERT_TRUE(list.push(FileCluster(i)));
	}
	EXPECT_EQ(world.live_allocations(), 0u);
}

} // namespace ploop
