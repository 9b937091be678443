// SPDX-License-Identifier: GPL-2.0
// The words of the map, what becomes of them, and where they lie in a page of the file.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/map/map.h"
#include "sim/host.h"

namespace ploop {

namespace {

const MapState kStates[] = {MapState::hole,	MapState::fresh,   MapState::lower,
			    MapState::slot,	MapState::unsynced, MapState::syncing,
			    MapState::in_round, MapState::durable};

const DeltaId kTop(3), kLower(1);

MapWord top_word(MapState state, uint32_t cluster)
{
	return MapWord::at(state, kTop, FileCluster(cluster));
}

struct OnePage {
	OnePage() { EXPECT_TRUE(map.allocate(1000).ok()); }

	void set(uint32_t cluster, MapWord word) { map.set(VirtualCluster(cluster), word); }
	MapWord get(uint32_t cluster) const { return map.get(VirtualCluster(cluster)); }
	// What the disk would have of the cluster.
	uint32_t entry(uint32_t cluster) const { return entries[kHeaderSlots + cluster]; }

	sim::World world;
	Map map;
	uint32_t entries[kBatPageEntries] = {};
};

} // namespace

TEST(MapWord, PackAndUnpack)
{
	for (MapState state : kStates) {
		for (int delta : {0, 1, 255}) {
			for (uint32_t cluster : {0u, 1u, 0x80000000u, UINT32_MAX}) {
				for (bool hides : {false, true}) {
					const MapWord word{state, hides, uint8_t(cluster % 64),
							   DeltaId(uint8_t(delta)),
							   FileCluster(cluster)};
					EXPECT_EQ(MapWord::unpack(word.pack()), word);
				}
			}
		}
	}
}

TEST(MapWord, DifferentWordsPackDifferently)
{
	std::mt19937_64 rng(1);

	for (int i = 0; i < 10000; i++) {
		MapWord words[2];
		for (MapWord &word : words)
			word = {kStates[rng() % 8], rng() % 2 != 0, uint8_t(rng() % 2),
				DeltaId(uint8_t(rng() % 2)), FileCluster(uint32_t(rng() % 2))};
		EXPECT_EQ(words[0].pack() == words[1].pack(), words[0] == words[1]);
	}
}

TEST(MapWord, WhoMayReadAndWriteThePlace)
{
	for (MapState state : kStates) {
		const bool top = state != MapState::hole && state != MapState::lower &&
				 state != MapState::slot;
		EXPECT_EQ(top_word(state, 5).is_tops(), top);
		EXPECT_TRUE(top_word(state, 5).has_place());
	}
	EXPECT_FALSE(MapWord{}.has_place());
	// A slot keeps the old place, and what it hides.
	MapWord old = MapWord::at(MapState::lower, kLower, FileCluster(9));
	old.hides = true;
	const MapWord slot = old.with_slot(63);
	EXPECT_EQ(slot.state, MapState::slot);
	EXPECT_EQ(slot.slot, 63);
	EXPECT_EQ(slot.without_slot(MapState::lower), old);
	EXPECT_FALSE(MapWord{}.with_slot(0).has_place());
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
		map.set(VirtualCluster(i), top_word(MapState::durable, 100 + i));
	EXPECT_FALSE(map.copy_page(0, kTop, page));
	for (uint32_t i = 0; i < 16; i++)
		EXPECT_EQ(page[i], 0u) << i;
	for (uint32_t i = 16; i < kBatPageEntries; i++)
		ASSERT_EQ(page[i], 100 + i - 16);
	for (uint32_t number : {1u, 2u}) {
		map.copy_page(number, kTop, page);
		for (uint32_t i = 0; i < kBatPageEntries; i++) {
			const uint32_t cluster = number * 1024 + i - 16;
			ASSERT_EQ(page[i], cluster < 3000 ? 100 + cluster : 0);
		}
	}
}

TEST(Map, AHoleIsPublishedOnce)
{
	OnePage one;
	MapWord first = top_word(MapState::fresh, 5), second = top_word(MapState::fresh, 6);

	EXPECT_TRUE(one.map.publish(VirtualCluster(1), first));
	EXPECT_FALSE(one.map.publish(VirtualCluster(1), second));
	EXPECT_EQ(second, first) << "who loses learns what is there";
	EXPECT_EQ(one.get(1), first);
}

TEST(Map, WhatARoundCopies)
{
	OnePage one;

	one.set(0, top_word(MapState::fresh, 5));
	one.set(1, top_word(MapState::unsynced, 6));
	one.set(2, top_word(MapState::durable, 7));
	one.set(3, MapWord::at(MapState::lower, kLower, FileCluster(8)));
	one.set(4, MapWord::at(MapState::lower, kLower, FileCluster(9)).with_slot(1));
	one.set(5, top_word(MapState::durable, 10).with_slot(2)); // being relocated
	EXPECT_TRUE(one.map.copy_page(0, kTop, one.entries)) << "one has to wait for its sync";
	const uint32_t wanted[] = {5, 0, 7, 0, 0, 10, 0};
	for (uint32_t i = 0; i < 7; i++)
		EXPECT_EQ(one.entry(i), wanted[i]) << i;
	EXPECT_EQ(one.get(0).state, MapState::in_round);
	EXPECT_EQ(one.get(1).state, MapState::unsynced);
	one.map.round_succeeded(0);
	EXPECT_EQ(one.get(0), top_word(MapState::durable, 5));
	EXPECT_EQ(one.get(1).state, MapState::unsynced);
	EXPECT_EQ(one.get(5).state, MapState::slot);
}

// A round of a few words need not look at whole pages when it has succeeded.
TEST(Map, AFewWordsOfARound)
{
	OnePage one;
	FewWords few, many;

	one.set(3, top_word(MapState::fresh, 5));
	one.set(900, top_word(MapState::fresh, 6));
	one.set(901, top_word(MapState::durable, 7));
	EXPECT_FALSE(one.map.copy_page(0, kTop, one.entries, few));
	EXPECT_TRUE(few.known());
	EXPECT_EQ(few.end() - few.begin(), 2);
	one.set(900, MapWord{}); // unmapped meanwhile
	one.map.round_succeeded(few);
	EXPECT_EQ(one.get(3), top_word(MapState::durable, 5));
	EXPECT_EQ(one.get(900), MapWord{});
	EXPECT_EQ(one.get(901), top_word(MapState::durable, 7));

	for (uint32_t i = 0; i < 500; i++)
		one.set(i, top_word(MapState::fresh, 1000 + i));
	EXPECT_FALSE(one.map.copy_page(0, kTop, one.entries, many));
	EXPECT_FALSE(many.known());
	many.clear();
	EXPECT_TRUE(many.known());
	EXPECT_EQ(many.begin(), many.end());
}

TEST(Map, WhatIsSyncedIsCopied)
{
	OnePage one;

	one.set(0, top_word(MapState::unsynced, 5));
	EXPECT_TRUE(one.map.begin_sync(0));
	one.set(1, top_word(MapState::unsynced, 6)); // published while the sync runs
	EXPECT_TRUE(one.map.copy_page(0, kTop, one.entries));
	EXPECT_EQ(one.entry(0), 5u);
	EXPECT_EQ(one.entry(1), 0u);
	one.map.round_succeeded(0);
	EXPECT_EQ(one.get(0).state, MapState::durable);
	EXPECT_TRUE(one.map.begin_sync(0));
	EXPECT_FALSE(one.map.copy_page(0, kTop, one.entries));
	EXPECT_EQ(one.entry(1), 6u);
}

TEST(Map, AFailedRoundLeavesNothingDurable)
{
	OnePage one;

	one.set(0, top_word(MapState::fresh, 5));
	one.map.copy_page(0, kTop, one.entries);
	one.set(1, top_word(MapState::fresh, 6)); // published after the copy
	one.map.round_failed(0);
	EXPECT_EQ(one.get(0).state, MapState::fresh);
	one.map.copy_page(0, kTop, one.entries);
	EXPECT_EQ(one.entry(0), 5u);
	EXPECT_EQ(one.entry(1), 6u);
	// What was unmapped, or came, after the copy is not made durable by its round.
	one.set(0, MapWord{});
	one.set(2, top_word(MapState::fresh, 7));
	one.map.round_succeeded(0);
	EXPECT_EQ(one.get(0), MapWord{});
	EXPECT_EQ(one.get(1).state, MapState::durable);
	EXPECT_EQ(one.get(2).state, MapState::fresh);
}

TEST(Map, ClearAndSwap)
{
	sim::World world;
	Map a, b;

	ASSERT_TRUE(a.allocate(1).ok());
	ASSERT_TRUE(b.allocate(5000).ok());
	b.clear_all(); // a load begins so; at first there is nothing to do
	b.set(VirtualCluster(4999), top_word(MapState::durable, 3));
	a.swap(b);
	EXPECT_EQ(b.pages(), 1u);
	EXPECT_EQ(a.get(VirtualCluster(4999)).cluster, FileCluster(3));
	a.clear_all();
	EXPECT_EQ(a.get(VirtualCluster(4999)).state, MapState::hole);
	EXPECT_EQ(Map().pages(), 0u);
}

} // namespace ploop
