// SPDX-License-Identifier: GPL-2.0
// The words of the map, and where they lie in a page of the file.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/map/map.h"
#include "sim/host.h"

namespace ploop {

TEST(MapWord, PackAndUnpack)
{
	for (MapState state : {MapState::hole, MapState::pending, MapState::mapped}) {
		for (int level : {0, 1, 255}) {
			for (uint32_t index : {0u, 1u, 0x80000000u, UINT32_MAX}) {
				const MapWord word{state, Level(uint8_t(level)), index};
				const MapWord back = MapWord::unpack(word.pack());
				EXPECT_EQ(back.state, state);
				EXPECT_EQ(back.level, word.level);
				EXPECT_EQ(back.index, index);
				EXPECT_EQ(back.is_mapped(), state == MapState::mapped);
			}
		}
	}
	EXPECT_EQ(MapWord::mapped(Level(2), FileCluster(7)).cluster(), FileCluster(7));
	EXPECT_EQ(MapWord::pending(63).state, MapState::pending);
	EXPECT_EQ(MapWord::pending(63).index, 63u);
}

TEST(MapWord, DifferentWordsPackDifferently)
{
	std::mt19937_64 rng(1);

	for (int i = 0; i < 10000; i++) {
		const MapWord a{MapState(rng() % 3), Level(uint8_t(rng())), uint32_t(rng())};
		const MapWord b{MapState(rng() % 3), Level(uint8_t(rng())), uint32_t(rng())};
		EXPECT_EQ(a.pack() == b.pack(),
			  a.state == b.state && a.level == b.level && a.index == b.index);
	}
}

TEST(Map, SizeIsOfWholePages)
{
	sim::World world;

	for (const auto &[entries, pages] : std::vector<std::pair<uint32_t, uint32_t>>{
		     {1, 1}, {1008, 1}, {1009, 2}, {2032, 2}, {2033, 3}, {100000, 98}}) {
		Map map;
		ASSERT_TRUE(map.allocate(entries).ok());
		EXPECT_EQ(map.pages(), pages) << entries;
		EXPECT_EQ(map.get(VirtualCluster(entries - 1)).state, MapState::hole);
	}
}

TEST(Map, TheHeadersSlotsStayZero)
{
	sim::World world;
	Map map;
	uint32_t page[kBatPageEntries];

	ASSERT_TRUE(map.allocate(3000).ok());
	for (uint32_t i = 0; i < 3000; i++)
		map.set(VirtualCluster(i), MapWord::mapped(Level(), FileCluster(100 + i)));
	map.copy_page(0, Level(), page);
	for (uint32_t i = 0; i < 16; i++)
		EXPECT_EQ(page[i], 0u) << i;
	for (uint32_t i = 16; i < kBatPageEntries; i++)
		ASSERT_EQ(page[i], 100 + i - 16);
	for (uint32_t number : {1u, 2u}) {
		map.copy_page(number, Level(), page);
		for (uint32_t i = 0; i < kBatPageEntries; i++) {
			const uint32_t cluster = number * 1024 + i - 16;
			ASSERT_EQ(page[i], cluster < 3000 ? 100 + cluster : 0);
		}
	}
}

TEST(Map, OnlyPublishedClustersOfTheTopAreCopied)
{
	sim::World world;
	Map map;
	uint32_t page[kBatPageEntries];

	ASSERT_TRUE(map.allocate(100).ok());
	map.set(VirtualCluster(0), MapWord::mapped(Level(1), FileCluster(5)));
	map.set(VirtualCluster(1), MapWord::mapped(Level(0), FileCluster(6)));
	map.set(VirtualCluster(2), MapWord::pending(7));
	map.copy_page(0, Level(1), page);
	EXPECT_EQ(page[16], 5u);
	EXPECT_EQ(page[17], 0u) << "a lower delta's cluster";
	EXPECT_EQ(page[18], 0u) << "a cluster without its data";
	EXPECT_EQ(page[19], 0u);
	map.copy_page(0, Level(0), page);
	EXPECT_EQ(page[16], 0u);
	EXPECT_EQ(page[17], 6u);
}

TEST(Map, ClearAndSwap)
{
	sim::World world;
	Map a, b;

	ASSERT_TRUE(a.allocate(1).ok());
	ASSERT_TRUE(b.allocate(5000).ok());
	b.set(VirtualCluster(4999), MapWord::mapped(Level(), FileCluster(3)));
	a.swap(b);
	EXPECT_EQ(b.pages(), 1u);
	EXPECT_EQ(a.get(VirtualCluster(4999)).cluster(), FileCluster(3));
	a.clear_all();
	EXPECT_EQ(a.get(VirtualCluster(4999)).state, MapState::hole);
	EXPECT_EQ(Map().pages(), 0u);
}

} // namespace ploop
