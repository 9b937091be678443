// SPDX-License-Identifier: GPL-2.0
// What the worker does with the words of whole pages.
#include "map/map.h"

namespace ploop {

namespace {

// What the disk has to say of the word after the next round.
uint32_t next_entry(MapWord word, DeltaId top)
{
	if (word.delta != top)
		return 0;
	switch (word.state) {
	case MapState::fresh:
	case MapState::syncing:
	case MapState::in_round:
	case MapState::durable:
	case MapState::slot: // of a relocation: the old place
		return word.cluster.raw();
	case MapState::hole:
	case MapState::lower:
	case MapState::unsynced:
		return 0;
	}
	return 0;
}

} // namespace

void Map::clear_all()
{
	if (!std::exchange(used_, true))
		return;
	for (size_t i = 0; i < words_.length(); i++) {
		words_[i].store_relaxed(0);
		if (i % (kBatPageEntries * 64) == 0)
			ph_yield();
	}
}

bool Map::begin_sync(uint32_t page)
{
	change(page, MapState::unsynced, MapState::syncing);
	return change(page, MapState::syncing, MapState::syncing) > 0;
}

bool Map::copy_page(uint32_t page, DeltaId top, uint32_t entries[kBatPageEntries], FewWords &copied)
{
	const uint32_t first = page * kBatPageEntries;
	const Atomic<uint64_t> *word = &words_[first]; // a page is in one chunk
	// Most are like this, or holes; and there are 1024 of them in each commit, so that
	// a few instructions less are worth eight at a time.
	const uint64_t settled = MapWord::at(MapState::durable, top, {}).pack() >> 32;
	bool left = false;

	for (uint32_t i = 0; i < kBatPageEntries; i += 8, word += 8, entries += 8) {
#pragma GCC unroll 8
		for (uint32_t k = 0; k < 8; k++) {
			const uint64_t packed = word[k].load_acquire();
			entries[k] = to_le32(static_cast<uint32_t>(packed));
			if (packed >> 32 != settled && packed != 0)
				left = copy_word(first + i + k, top, entries[k], copied) || left;
		}
	}
	return left;
}

// True if it has to stay behind.
bool Map::copy_word(uint32_t i, DeltaId top, uint32_t &entry, FewWords &copied)
{
	const MapWord word = MapWord::unpack(words_[i].load_acquire());

	entry = to_le32(next_entry(word, top));
	if (word.state == MapState::fresh || word.state == MapState::syncing) {
		words_[i].store_release(word.with(MapState::in_round).pack());
		copied.add(i);
	}
	return word.state == MapState::unsynced;
}

void Map::round_succeeded(uint32_t page)
{
	change(page, MapState::in_round, MapState::durable);
}

void Map::round_succeeded(const FewWords &copied)
{
	for (const uint32_t i : copied)
		change_word(i, MapState::in_round, MapState::durable);
}

void Map::round_failed(uint32_t page)
{
	change(page, MapState::in_round, MapState::fresh);
}

bool Map::change_word(uint32_t i, MapState from, MapState to)
{
	const MapWord word = MapWord::unpack(words_[i].load_acquire());

	if (word.state != from)
		return false;
	words_[i].store_release(word.with(to).pack());
	return true;
}

// How many there were.
uint32_t Map::change(uint32_t page, MapState from, MapState to)
{
	uint32_t changed = 0;

	for (uint32_t i = 0; i < kBatPageEntries; i++)
		changed += change_word(page * kBatPageEntries + i, from, to);
	return changed;
}

} // namespace ploop
