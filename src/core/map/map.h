// SPDX-License-Identifier: GPL-2.0
// The map in memory: one atomically readable word per virtual cluster.
//
// Read by anyone in any context without a lock. A reader enters the epoch before it
// reads a word and leaves it when its I/O on that mapping has ended. A hole is left
// by compare-and-swap only, in any context; every other word is changed by the
// target's worker alone (and while the map is loaded, when there is no I/O).
//
//	state     meaning                                            left by
//	hole      nothing anywhere                                   compare-and-swap
//	fresh     a clean cluster, published; its entry is in no     worker
//	          copy that is known to be durable
//	lower     the data is in a lower delta                       worker
//	slot      a place is being prepared; the old place, if       worker
//	          there is one, stays readable in the word
//	unsynced  a slot's cluster, data written, not yet synced     worker
//	syncing   the same, and a sync that began later is under     worker
//	          way or has succeeded
//	in_round  copied by the commit round under way               worker
//	durable   the entry on disk is this one                      worker
#pragma once

#include "base/atomics.h"
#include "base/invariant.h"
#include "base/memory.h"
#include "format/format.h"

namespace ploop {

enum class MapState : uint8_t {
	hole,
	fresh,
	lower,
	slot,
	unsynced,
	syncing,
	in_round,
	durable,
};

struct MapWord {
	MapState state = MapState::hole;
	bool hides = false;    // a lower delta has something under this top cluster
	uint8_t slot = 0;      // of the state slot: which one
	DeltaId delta{};       // of the place
	FileCluster cluster{}; // the place; 0: none, for no delta keeps data there

	static constexpr MapWord unpack(uint64_t packed)
	{
		return {static_cast<MapState>(packed >> 56), (packed >> 48 & 1) != 0,
			static_cast<uint8_t>(packed >> 40),
			DeltaId(static_cast<uint8_t>(packed >> 32)),
			FileCluster(static_cast<uint32_t>(packed))};
	}
	constexpr uint64_t pack() const
	{
		return static_cast<uint64_t>(state) << 56 | uint64_t{hides} << 48 |
		       uint64_t{slot} << 40 | uint64_t{delta.raw()} << 32 | cluster.raw();
	}
	static constexpr MapWord at(MapState state, DeltaId delta, FileCluster cluster)
	{
		return {state, false, 0, delta, cluster};
	}
	// The same place, in another state.
	constexpr MapWord with(MapState other) const { return {other, hides, 0, delta, cluster}; }
	// The same place, while the slot prepares another.
	constexpr MapWord with_slot(uint8_t number) const
	{
		return {MapState::slot, hides, number, delta, cluster};
	}
	// What the word is again when the slot has come to nothing.
	constexpr MapWord without_slot(MapState before) const
	{
		return {before, hides, 0, delta, cluster};
	}

	// Is there data to be read?
	constexpr bool has_place() const { return cluster.raw() != 0; }
	// May it be written where it is?
	constexpr bool is_tops() const
	{
		switch (state) {
		case MapState::fresh:
		case MapState::unsynced:
		case MapState::syncing:
		case MapState::in_round:
		case MapState::durable:
			return true;
		case MapState::hole:
		case MapState::lower:
		case MapState::slot:
			return false;
		}
		return false;
	}
	constexpr bool operator==(const MapWord &) const = default;
};

static_assert(MapWord{}.pack() == 0); // fresh memory is a map of holes

// Which words a round has copied, as long as they are few.
class FewWords {
public:
	void clear() { count_ = 0; }
	void add(uint32_t word)
	{
		if (count_ < kMost)
			words_[count_] = word;
		count_ = min_of(count_ + 1, kMost + 1);
	}
	// Were they few enough to be known?
	bool known() const { return count_ <= kMost; }
	const uint32_t *begin() const { return words_; }
	const uint32_t *end() const { return words_ + count_; }

private:
	static constexpr uint32_t kMost = 64;

	uint32_t words_[kMost];
	uint32_t count_ = 0;
};

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

	void swap(Map &other)
	{
		words_.swap(other.words_);
		std::swap(may_have_unsynced_, other.may_have_unsynced_);
		std::swap(used_, other.used_);
	}

	uint32_t pages() const { return static_cast<uint32_t>(words_.length() / kBatPageEntries); }

	// Any context. Acquire: pairs with the release of all that changes a word, so that
	// whoever sees a mapping sees all that was done to the cluster before it.
	MapWord get(VirtualCluster cluster) const
	{
		return MapWord::unpack(words_[bat_slot_of(cluster)].load_acquire());
	}

	// Any context: a hole becomes @word, unless it is none any more: then @word is
	// what it is now, and false is returned.
	bool publish(VirtualCluster cluster, MapWord &word)
	{
		uint64_t seen = MapWord{}.pack();

		if (words_[bat_slot_of(cluster)].compare_exchange_release(seen, word.pack()))
			return true;
		word = MapWord::unpack(seen);
		return false;
	}

	// The worker, or nobody else is there: not for a hole while others may publish.
	void set(VirtualCluster cluster, MapWord word)
	{
		words_[bat_slot_of(cluster)].store_release(word.pack());
	}

	// While nobody else is there: all are holes. Called before any word is set: then
	// what was just allocated is clear already. Gives way in between.
	void clear_all();

	// ---- The worker: one page of the BAT ----

	// Somebody has set a word to unsynced.
	void note_unsynced() { may_have_unsynced_ = true; }
	bool may_have_unsynced() const { return may_have_unsynced_; }
	void forget_unsynced() { may_have_unsynced_ = false; }
	// A sync begins: what is unsynced in the page is covered by it. True if anything is.
	bool begin_sync(uint32_t page);
	// Copies the page as it has to be on disk next to @entries: what is fresh, or
	// synced, goes in round, and is added to @copied. True if something has to stay behind.
	bool copy_page(uint32_t page, DeltaId top, uint32_t entries[kBatPageEntries],
		       FewWords &copied);
	bool copy_page(uint32_t page, DeltaId top, uint32_t entries[kBatPageEntries])
	{
		FewWords unused;

		return copy_page(page, top, entries, unused);
	}
	// The round has succeeded: what it copied, and still is there, is durable.
	void round_succeeded(uint32_t page);
	void round_succeeded(const FewWords &copied);
	// It has failed: the entries are neither old nor new on disk. Data that needed a
	// sync has had it.
	void round_failed(uint32_t page);

private:
	bool copy_word(uint32_t i, DeltaId top, uint32_t &entry, FewWords &copied);
	bool change_word(uint32_t i, MapState from, MapState to);
	uint32_t change(uint32_t page, MapState from, MapState to);

	ChunkedArray<Atomic<uint64_t>> words_;
	bool may_have_unsynced_ = false;
	bool used_ = false; // since it was allocated
};

} // namespace ploop
