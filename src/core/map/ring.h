// SPDX-License-Identifier: GPL-2.0
// A bounded ring of numbers without a lock: many put, many take, in any context.
//
// Each cell counts its turns: it is free for the put number `at` when its turn is
// `at`, holds that number for the take `at` when its turn is `at` + 1, and is free for
// the next lap after that. Who has moved the tail, or the head, owns the cell until it
// says so with a release of the turn; the acquire of the other side pairs with it.
// Nobody waits for anybody: a put or take that meets a cell whose owner is not done
// yet fails as if the ring were full, or empty.
#pragma once

#include <cstdint>

namespace ploop {

template <class Atomics, uint32_t kCells>
class Ring {
	static_assert((kCells & (kCells - 1)) == 0);

public:
	Ring()
	{
		for (uint32_t i = 0; i < kCells; i++)
			cells_[i].turn.store_relaxed(i);
	}
	Ring(const Ring &) = delete;
	Ring &operator=(const Ring &) = delete;

	// False if it is full. What was written before is seen by who takes the number.
	bool put(uint32_t number)
	{
		uint32_t at = tail_.load_relaxed();

		for (;;) {
			Cell &cell = cells_[at % kCells];
			// Pairs with the release in take(): its reader is done with the cell.
			const int32_t ahead = difference(cell.turn.load_acquire(), at);
			if (ahead < 0)
				return false;
			if (ahead > 0) {
				at = tail_.load_relaxed();
			} else if (tail_.compare_exchange_relaxed(at, at + 1)) {
				cell.number.store_relaxed(number);
				cell.turn.store_release(at + 1); // pairs with the acquire in take()
				return true;
			}
		}
	}

	// False if it is empty.
	bool take(uint32_t &number)
	{
		uint32_t at = head_.load_relaxed();

		for (;;) {
			Cell &cell = cells_[at % kCells];
			// Pairs with the release in put().
			const int32_t ahead = difference(cell.turn.load_acquire(), at + 1);
			if (ahead < 0)
				return false;
			if (ahead > 0) {
				at = head_.load_relaxed();
			} else if (head_.compare_exchange_relaxed(at, at + 1)) {
				number = cell.number.load_relaxed();
				cell.turn.store_release(at + kCells); // pairs with put()'s acquire
				return true;
			}
		}
	}

	// About so many: exact only while nobody puts or takes.
	uint32_t count() const
	{
		const int32_t count = difference(tail_.load_relaxed(), head_.load_relaxed());

		return count < 0 ? 0 : static_cast<uint32_t>(count);
	}
	static constexpr uint32_t size() { return kCells; }

private:
	struct Cell {
		typename Atomics::template Word<uint32_t> turn;
		typename Atomics::template Word<uint32_t> number;
	};

	static int32_t difference(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b); }

	Cell cells_[kCells];
	typename Atomics::template Word<uint32_t> head_; // the next take
	typename Atomics::template Word<uint32_t> tail_; // the next put
};

} // namespace ploop
