// SPDX-License-Identifier: GPL-2.0
// The map in memory: one atomically readable word per virtual cluster.
//
// Read by anyone in any context without a lock; changed by the target's worker
// only (and while the map is loaded, when there is no I/O). A reader enters the
// epoch before it reads a word and leaves it when its I/O on that mapping ended.
#pragma once

#include "base/atomics.h"
#include "base/memory.h"
#include "format/format.h"

namespace ploop {

enum class MapState : uint8_t {
	hole,	 // reads as zeros
	pending, // space is being prepared for it; reads as zeros still; index = slot
	mapped,	 // its data is at index = file cluster of the level
};

struct MapWord {
	MapState state = MapState::hole;
	Level level{};
	uint32_t index = 0;

	static constexpr MapWord unpack(uint64_t packed)
	{
		return {static_cast<MapState>(packed >> 40 & 0xff),
			Level(static_cast<uint8_t>(packed >> 32 & 0xff)),
			static_cast<uint32_t>(packed)};
	}
	constexpr uint64_t pack() const
	{
		return static_cast<uint64_t>(state) << 40 |
		       static_cast<uint64_t>(level.raw()) << 32 | index;
	}
	static constexpr MapWord mapped(Level level, FileCluster cluster)
	{
		return {MapState::mapped, level, cluster.raw()};
	}
	static constexpr MapWord pending(uint32_t slot)
	{
		return {MapState::pending, Level(), slot};
	}
	bool is_mapped() const { return state == MapState::mapped; }
	FileCluster cluster() const { return FileCluster(index); }
};

static_assert(MapWord{}.pack() == 0); // fresh memory is a map of holes

// The most clusters that a map can have.
constexpr uint64_t kMapLongest = ChunkedArray<Atomic<uint64_t>>::kLongest - kBatPageEntries;

// The words lie as the entries do in the file: the header takes the room of the
// first 16, so that one 4 KiB page of the file is one aligned run of 1024 words.
class Map {
public:
	// As many whole BAT pages as @entries need. Process context.
	Status allocate(uint32_t entries)
	{
		return words_.allocate(size_t{bat_page_of(VirtualCluster(entries - 1)) + 1u} *
				       kBatPageEntries);
	}

	void swap(Map &other) { words_.swap(other.words_); }

	uint32_t pages() const { return static_cast<uint32_t>(words_.length() / kBatPageEntries); }

	// Any context. Acquire: pairs with the release of set(), so that whoever
	// sees a mapping sees all that was done to the cluster before it.
	MapWord get(VirtualCluster cluster) const
	{
		return MapWord::unpack(words_[bat_slot_of(cluster)].load_acquire());
	}

	void set(VirtualCluster cluster, MapWord word)
	{
		words_[bat_slot_of(cluster)].store_release(word.pack());
	}

	void clear_all()
	{
		for (size_t i = 0; i < words_.length(); i++)
			words_[i].store_relaxed(0);
	}

	// The page as it has to be on disk: published clusters of @top only.
	void copy_page(uint32_t page, Level top, uint32_t entries[kBatPageEntries]) const
	{
		for (uint32_t i = 0; i < kBatPageEntries; i++) {
			const MapWord word = MapWord::unpack(
				words_[size_t{page} * kBatPageEntries + i].load_relaxed());
			entries[i] =
				word.is_mapped() && word.level == top ? to_le32(word.index) : 0;
		}
	}

private:
	ChunkedArray<Atomic<uint64_t>> words_;
};

} // namespace ploop
