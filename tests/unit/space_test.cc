// SPDX-License-Identifier: GPL-2.0
// Free clusters, against a model that keeps one record per cluster.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/map/space.h"
#include "sim/host.h"

namespace ploop {

namespace {

// What the class promises, in the simplest words.
struct Model {
	Model(uint64_t limit, uint64_t file_clusters, uint32_t reserved)
		: taken(limit), zero(limit), end(std::min(limit, file_clusters)), first(reserved)
	{
		for (uint32_t i = 0; i < reserved; i++)
			taken[i] = true;
	}

	// The lowest free cluster from @from on, or end.
	uint64_t free_from(uint64_t from) const
	{
		while (from < end && taken[from])
			from++;
		return std::max(from, end) == from ? end : from;
	}

	uint64_t used() const
	{
		uint64_t count = 0;
		for (uint64_t i = first; i < taken.size(); i++)
			count += taken[i];
		return count;
	}

	uint64_t taken_end() const
	{
		for (uint64_t i = taken.size(); i > 0; i--) {
			if (taken[i - 1])
				return i;
		}
		return first;
	}

	std::vector<bool> taken;
	std::vector<bool> zero;
	uint64_t end;
	uint32_t first;
};

class SpaceTest : public testing::Test {
protected:
	void begin(uint64_t limit, uint64_t file_clusters, uint32_t reserved)
	{
		model = Model(limit, file_clusters, reserved);
		space.reset(file_clusters, reserved);
	}

	void compare()
	{
		ASSERT_EQ(space.end(), model.end);
		ASSERT_EQ(space.nr_used(), model.used());
		ASSERT_EQ(space.taken_end(), model.taken_end());
		for (uint32_t i = model.first; i < model.taken.size(); i++)
			ASSERT_EQ(space.is_zero(FileCluster(i)), model.zero[i]) << i;
	}

	void take()
	{
		FileCluster cluster;
		const uint64_t expected = model.free_from(model.first);

		ASSERT_EQ(space.take(cluster), expected < model.end);
		if (expected == model.end)
			return;
		ASSERT_EQ(cluster.raw(), expected);
		model.taken[expected] = true;
	}

	void give(uint32_t cluster, bool zero)
	{
		if (cluster < model.first || !model.taken[cluster])
			return;
		space.give(FileCluster(cluster), zero);
		model.taken[cluster] = false;
		model.zero[cluster] = zero;
	}

	void claim(uint32_t cluster)
	{
		const bool free = cluster < model.taken.size() && !model.taken[cluster];

		ASSERT_EQ(space.claim(FileCluster(cluster)), free);
		if (free)
			model.taken[cluster] = true;
	}

	void set_zero(uint32_t cluster, bool zero)
	{
		space.set_zero(FileCluster(cluster), zero);
		model.zero[cluster] = zero;
	}

	void grow(uint64_t end)
	{
		const uint64_t limit = model.taken.size();

		space.grow(end);
		for (uint64_t i = model.end; i < std::min(end, limit); i++)
			model.zero[i] = true;
		model.end = std::max(model.end, std::min(end, limit));
	}

	sim::World world;
	Space space;
	Model model{1, 1, 1};
	std::mt19937_64 rng{1};
};

} // namespace

TEST_F(SpaceTest, AgainstANaiveOne)
{
	constexpr uint32_t kLimit = 300;

	ASSERT_TRUE(space.allocate(kLimit).ok());
	EXPECT_EQ(space.limit(), kLimit);
	for (int round = 0; round < 30; round++) {
		const uint32_t reserved = 1 + uint32_t(rng() % 5);
		begin(kLimit, reserved + rng() % 400, reserved);
		// As the map is read: claims come first, and only of what the file has.
		for (uint64_t i = rng() % 100; i > 0; i--)
			claim(uint32_t(rng() % model.end));
		for (int step = 0; step < 300; step++) {
			const uint32_t any = reserved + uint32_t(rng() % (kLimit - reserved));
			switch (rng() % 8) {
			case 0:
			case 1:
			case 2:
				take();
				break;
			case 3:
			case 4:
			case 5:
				give(any, rng() % 2);
				break;
			case 6:
				set_zero(any, rng() % 2);
				break;
			default:
				if (rng() % 8 == 0)
					grow(model.end + rng() % 30);
			}
			ASSERT_NO_FATAL_FAILURE(compare()) << "round " << round << " step " << step;
		}
	}
}

TEST_F(SpaceTest, ClaimTwiceOrBeyondIsRefused)
{
	ASSERT_TRUE(space.allocate(100).ok());
	begin(100, 50, 2);
	for (uint32_t cluster : {0u, 1u, 2u, 49u, 99u, 100u, 1000u, UINT32_MAX}) {
		claim(cluster);
		claim(cluster);
	}
	compare();
}

TEST_F(SpaceTest, ClaimAll)
{
	FileCluster cluster;

	ASSERT_TRUE(space.allocate(100).ok());
	begin(100, 50, 2);
	claim(10);
	space.claim_all();
	EXPECT_FALSE(space.take(cluster));
	EXPECT_EQ(space.nr_free(), 0u);
	EXPECT_EQ(space.taken_end(), 50u);
	EXPECT_EQ(space.nr_used(), 1u); // what is somebody else's is not counted
	space.grow(51);
	ASSERT_TRUE(space.take(cluster));
	EXPECT_EQ(cluster.raw(), 50u);
	EXPECT_TRUE(space.is_zero(cluster));
}

TEST_F(SpaceTest, WhatTheFileHadIsDirtyWhatItGrewIsZero)
{
	ASSERT_TRUE(space.allocate(100).ok());
	begin(100, 10, 2);
	for (uint32_t i = 2; i < 100; i++)
		EXPECT_FALSE(space.is_zero(FileCluster(i)));
	space.grow(12);
	EXPECT_TRUE(space.is_zero(FileCluster(10)));
	EXPECT_TRUE(space.is_zero(FileCluster(11)));
	EXPECT_FALSE(space.is_zero(FileCluster(12)));
	// A new reset knows nothing of the earlier life.
	space.reset(12, 2);
	EXPECT_FALSE(space.is_zero(FileCluster(10)));
}

TEST_F(SpaceTest, WhatOthersHaveAddedIsDirty)
{
	FileCluster cluster;

	ASSERT_TRUE(space.allocate(100).ok());
	space.reset(3, 2);
	ASSERT_TRUE(space.take(cluster));
	EXPECT_FALSE(space.take(cluster));
	EXPECT_FALSE(space.extend(3));
	EXPECT_FALSE(space.extend(2));
	EXPECT_EQ(space.nr_free(), 0u);
	EXPECT_TRUE(space.extend(4));
	EXPECT_EQ(space.nr_free(), 1u);
	ASSERT_TRUE(space.take(cluster));
	EXPECT_EQ(cluster.raw(), 3u);
	EXPECT_FALSE(space.is_zero(cluster));
	EXPECT_TRUE(space.extend(uint64_t{1} << 40));
	EXPECT_EQ(space.end(), 100u);
	EXPECT_FALSE(space.extend(uint64_t{1} << 40));
}

TEST_F(SpaceTest, TheEndIsNeverBeyondTheLimit)
{
	FileCluster cluster;
	uint64_t taken = 0;

	ASSERT_TRUE(space.allocate(100).ok());
	space.reset(uint64_t{1} << 40, 2);
	EXPECT_EQ(space.end(), 100u);
	space.grow(uint64_t{1} << 41);
	EXPECT_EQ(space.end(), 100u);
	while (space.take(cluster))
		taken++;
	EXPECT_EQ(taken, 98u);
	EXPECT_EQ(cluster.raw(), 99u);
}

TEST_F(SpaceTest, AvoidedClustersComeBackWhenALowerOneIsGiven)
{
	FileCluster cluster;

	ASSERT_TRUE(space.allocate(100).ok());
	space.reset(10, 2);
	ASSERT_TRUE(space.take(cluster));
	ASSERT_TRUE(space.take(cluster));
	EXPECT_EQ(cluster.raw(), 3u);
	space.give(cluster, false);
	space.avoid(cluster);
	ASSERT_TRUE(space.take(cluster));
	EXPECT_EQ(cluster.raw(), 4u) << "the cluster that the host cannot write came again";
	space.give(FileCluster(2), true);
	ASSERT_TRUE(space.take(cluster));
	EXPECT_EQ(cluster.raw(), 2u);
	EXPECT_TRUE(space.is_zero(cluster));
	ASSERT_TRUE(space.take(cluster));
	EXPECT_EQ(cluster.raw(), 3u);
}

} // namespace ploop
