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
		: taken(limit), clean(limit), end(std::min(limit, file_clusters)), first(reserved)
	{
		for (uint32_t i = 0; i < reserved; i++)
			taken[i] = true;
	}

	// The lowest free one that is clean, or is not; or end.
	uint64_t lowest(bool is_clean) const
	{
		uint64_t i = first;
		while (i < end && (taken[i] || clean[i] != is_clean))
			i++;
		return i;
	}

	uint64_t count(bool is_taken, bool is_clean) const
	{
		uint64_t count = 0;
		for (uint64_t i = first; i < end; i++)
			count += taken[i] == is_taken && clean[i] == is_clean;
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
	std::vector<bool> clean; // of those that are free
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
		ASSERT_EQ(space.nr_used(), model.count(true, false));
		ASSERT_EQ(space.nr_clean(), model.count(false, true));
		ASSERT_EQ(space.nr_free(), model.count(false, true) + model.count(false, false));
		ASSERT_EQ(space.has_dirty(), model.count(false, false) > 0);
		ASSERT_EQ(space.taken_end(), model.taken_end());
	}

	void take_clean()
	{
		FileCluster cluster;
		const uint64_t expected = model.lowest(true);

		ASSERT_EQ(space.take_clean(cluster), expected < model.end);
		if (expected == model.end)
			return;
		ASSERT_EQ(cluster.raw(), expected);
		model.taken[expected] = true;
		model.clean[expected] = false;
	}

	void take_dirty(uint32_t most)
	{
		ploop::Run run;
		const uint64_t expected = model.lowest(false);

		ASSERT_EQ(space.take_dirty(most, run), expected < model.end);
		if (expected == model.end)
			return;
		ASSERT_EQ(run.first.raw(), expected);
		ASSERT_LE(run.length, most);
		for (uint32_t i = 0; i < run.length; i++) {
			ASSERT_TRUE(!model.taken[expected + i] && !model.clean[expected + i]);
			model.taken[expected + i] = true;
		}
		// As many neighbours as there are.
		const uint64_t next = expected + run.length;
		ASSERT_TRUE(run.length == most || next == model.end || model.taken[next] ||
			    model.clean[next]);
	}

	void give(uint32_t cluster, bool clean)
	{
		if (cluster < model.first || !model.taken[cluster])
			return;
		space.give(FileCluster(cluster), clean);
		model.taken[cluster] = false;
		model.clean[cluster] = clean;
	}

	void claim(uint32_t cluster)
	{
		const bool free = cluster < model.taken.size() && !model.taken[cluster];

		ASSERT_EQ(space.claim(FileCluster(cluster)), free);
		if (free)
			model.taken[cluster] = true;
	}

	void grow(uint64_t end)
	{
		const uint64_t limit = model.taken.size();

		space.grow(end);
		for (uint64_t i = model.end; i < std::min(end, limit); i++)
			model.clean[i] = true;
		model.end = std::max(model.end, std::min(end, limit));
	}

	void forget_clean()
	{
		space.forget_clean();
		model.clean.assign(model.clean.size(), false);
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
				take_clean();
				break;
			case 2:
				take_dirty(1 + uint32_t(rng() % 9));
				break;
			case 3:
			case 4:
			case 5:
				give(any, rng() % 2);
				break;
			case 6:
				if (rng() % 16 == 0)
					forget_clean();
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
}

TEST_F(SpaceTest, ClaimAll)
{
	FileCluster cluster;
	ploop::Run run;

	ASSERT_TRUE(space.allocate(100).ok());
	begin(100, 50, 2);
	claim(10);
	space.claim_all();
	EXPECT_FALSE(space.take_dirty(1, run));
	EXPECT_EQ(space.nr_free(), 0u);
	EXPECT_EQ(space.taken_end(), 50u);
	EXPECT_EQ(space.nr_used(), 1u); // what is somebody else's is not counted
	space.grow(51);
	ASSERT_TRUE(space.take_clean(cluster));
	EXPECT_EQ(cluster.raw(), 50u);
}

TEST_F(SpaceTest, WhatTheFileHadIsDirtyWhatItGrewIsClean)
{
	ASSERT_TRUE(space.allocate(100).ok());
	begin(100, 10, 2);
	EXPECT_EQ(space.nr_clean(), 0u);
	grow(12);
	EXPECT_EQ(space.nr_clean(), 2u);
	compare();
	// A new reset knows nothing of the earlier life.
	begin(100, 12, 2);
	EXPECT_EQ(space.nr_clean(), 0u);
	take_clean();
	compare();
}

TEST_F(SpaceTest, WhatOthersHaveAddedIsDirty)
{
	ploop::Run run;

	ASSERT_TRUE(space.allocate(100).ok());
	space.reset(3, 2);
	ASSERT_TRUE(space.take_dirty(9, run));
	EXPECT_FALSE(space.take_dirty(9, run));
	EXPECT_FALSE(space.extend(3));
	EXPECT_FALSE(space.extend(2));
	EXPECT_EQ(space.nr_free(), 0u);
	EXPECT_TRUE(space.extend(4));
	EXPECT_EQ(space.nr_free(), 1u);
	EXPECT_EQ(space.nr_clean(), 0u);
	ASSERT_TRUE(space.take_dirty(9, run));
	EXPECT_EQ(run.first.raw(), 3u);
	EXPECT_EQ(run.length, 1u);
	EXPECT_TRUE(space.extend(uint64_t{1} << 40));
	EXPECT_EQ(space.end(), 100u);
	EXPECT_FALSE(space.extend(uint64_t{1} << 40));
}

TEST_F(SpaceTest, TheEndIsNeverBeyondTheLimit)
{
	ploop::Run run;

	ASSERT_TRUE(space.allocate(100).ok());
	space.reset(uint64_t{1} << 40, 2);
	EXPECT_EQ(space.end(), 100u);
	space.grow(uint64_t{1} << 41);
	EXPECT_EQ(space.end(), 100u);
	ASSERT_TRUE(space.take_dirty(1000, run));
	EXPECT_EQ(run.length, 98u);
	EXPECT_FALSE(space.take_dirty(1000, run));
}

TEST_F(SpaceTest, AvoidedClustersComeBackWhenAskedFor)
{
	ploop::Run run;

	ASSERT_TRUE(space.allocate(100).ok());
	space.reset(10, 2);
	ASSERT_TRUE(space.take_dirty(1, run));
	ASSERT_TRUE(space.take_dirty(1, run));
	EXPECT_EQ(run.first.raw(), 3u);
	space.give(run, false);
	space.avoid(run.first);
	ASSERT_TRUE(space.take_dirty(1, run));
	EXPECT_EQ(run.first.raw(), 4u) << "the cluster that the host cannot write came again";
	EXPECT_TRUE(space.forget_avoided());
	EXPECT_FALSE(space.forget_avoided());
	ASSERT_TRUE(space.take_dirty(1, run));
	EXPECT_EQ(run.first.raw(), 3u);
}

} // namespace ploop
