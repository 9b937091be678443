// SPDX-License-Identifier: GPL-2.0
// A long row of bits. Not synchronised: each bitmap has one owner.
#pragma once

#include <bit>

#include "base/memory.h"

namespace ploop {

class Bitmap {
public:
	Status allocate(uint64_t bits)
	{
		bits_ = bits;
		return words_.allocate(
			static_cast<size_t>(ceil_div<uint64_t>(max_of<uint64_t>(bits, 1), 64)));
	}

	void swap(Bitmap &other)
	{
		words_.swap(other.words_);
		std::swap(bits_, other.bits_);
	}

	uint64_t length() const { return bits_; }
	bool test(uint64_t i) const { return (words_[i / 64] >> (i % 64) & 1) != 0; }
	void set(uint64_t i) { words_[i / 64] |= uint64_t{1} << (i % 64); }
	bool test_and_set(uint64_t i)
	{
		uint64_t &word = words_[i / 64];
		const uint64_t bit = uint64_t{1} << (i % 64);
		const bool was_set = (word & bit) != 0;
		word |= bit;
		return was_set;
	}
	void clear(uint64_t i) { words_[i / 64] &= ~(uint64_t{1} << (i % 64)); }

	// Sets, or clears, all of [from, end), by words.
	void set_range(uint64_t from, uint64_t end) { change_range(from, end, ~uint64_t{0}); }
	void clear_range(uint64_t from, uint64_t end) { change_range(from, end, 0); }

	// Gives way in between. Process context.
	void clear_all()
	{
		for (size_t i = 0; i < words_.length(); i++) {
			words_[i] = 0;
			if (i % kWordsAtATime == 0)
				ph_yield();
		}
	}

	// 64 bits from 64 * i on, and how many such words there are.
	uint64_t word(size_t i) const { return words_[i]; }
	size_t nr_words() const { return words_.length(); }

	// The first bit in [from, end) with this value, or end.
	uint64_t find(bool value, uint64_t from, uint64_t end) const
	{
		while (from < end) {
			uint64_t word = words_[from / 64];
			if (!value)
				word = ~word;
			word &= ~uint64_t{0} << (from % 64);
			if (word != 0)
				return min_of(
					end, from / 64 * 64 +
						     static_cast<uint64_t>(std::countr_zero(word)));
			from = (from / 64 + 1) * 64;
		}
		return end;
	}

	// The last set bit, or length() if there is none.
	uint64_t find_last() const
	{
		for (size_t i = words_.length(); i > 0; i--) {
			if (words_[i - 1] != 0)
				return i * 64 - 1 -
				       static_cast<uint64_t>(std::countl_zero(words_[i - 1]));
		}
		return bits_;
	}

private:
	static constexpr size_t kWordsAtATime = 65536;

	void change_range(uint64_t from, uint64_t end, uint64_t value)
	{
		while (from < end) {
			const uint64_t stop = min_of(end, (from / 64 + 1) * 64);
			const uint64_t low = ~uint64_t{0} << from % 64;
			const uint64_t mask =
				stop % 64 == 0 ? low : low & ~(~uint64_t{0} << stop % 64);
			uint64_t &word = words_[static_cast<size_t>(from / 64)];
			word = (word & ~mask) | (value & mask);
			if (from / 64 % kWordsAtATime == 0)
				ph_yield();
			from = stop;
		}
	}

	ChunkedArray<uint64_t> words_;
	uint64_t bits_ = 0;
};

} // namespace ploop
