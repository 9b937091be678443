// SPDX-License-Identifier: GPL-2.0
// Which pages of the BAT differ from what is durable on disk.
//
// Marked in any context, taken by the commit round. The mark of a page is visible
// before anybody can be told of what makes it dirty: whoever publishes a word, or
// writes through one that is fresh, marks the page before it submits its data.
//
//	who publishes                     the round
//	-------------                     ---------
//	the word (compare-and-swap)       takes the mark
//	full fence                  <-->  full fence
//	looks at the mark, sets it        copies the words
//
// Either the round's copy has the word, or its publisher finds the mark taken and
// sets it anew, for the next round.
//
// The count is of pages that are not durable yet, those of the round under way
// included, and once more if they were marked again since: it is raised before the
// mark is visible, and lowered only when a round has succeeded. So whoever finds it 0
// knows that all that was told is durable.
#pragma once

#include "base/atomics.h"
#include "base/memory.h"
#include "format/format.h"

namespace ploop {

template <class Atomics, template <class Word> class Array>
class DirtyPagesOver {
public:
	explicit DirtyPagesOver(ploop_host *host) : host_(host) {}
	DirtyPagesOver(const DirtyPagesOver &) = delete;
	DirtyPagesOver &operator=(const DirtyPagesOver &) = delete;

	// Once. Process context.
	Status allocate(uint32_t pages)
	{
		pages_ = pages;
		return words_.allocate(ceil_div<size_t>(pages, 64));
	}

	static constexpr uint32_t kCommitDelayMs = 5000;
	static constexpr uint32_t kDiscardDelayMs = 1000; // so that freed space is soon seen

	// Any context, after the word was published, or was seen to be fresh.
	void mark(VirtualCluster cluster)
	{
		const uint32_t page = bat_page_of(cluster);

		Atomics::full_fence(); // pairs with the one in take()
		// Acquire: pairs with the mark of another, which has raised the count before. Who
		// hears from us that the data is written must find it raised.
		if ((words_[page / 64].load_acquire() & bit(page)) != 0)
			return;
		mark_page(page);
		arm_timer(kCommitDelayMs);
	}

	// Any context. How many pages are not durable? Acquire: pairs with the release in
	// lower(), so that who finds 0 comes after the round that made it so.
	uint32_t count() const { return count_.load_acquire(); }
	bool test(uint32_t page) const
	{
		return (words_[page / 64].load_relaxed() & bit(page)) != 0;
	}

	// A commit begins in the background after so long, unless one is due already.
	void arm_timer(uint32_t delay_ms)
	{
		if (timer_armed_.load_relaxed() || timer_armed_.exchange_relaxed(true))
			return;
		ph_timer_arm(host_, PLOOP_TIMER_COMMIT, delay_ms);
	}
	// Sooner than that, if it is.
	void hasten_timer(uint32_t delay_ms)
	{
		timer_armed_.store_relaxed(true);
		ph_timer_arm(host_, PLOOP_TIMER_COMMIT, delay_ms);
	}
	// The timer has fired, or was stopped.
	void timer_over() { timer_armed_.store_relaxed(false); }

	// ---- The worker ----

	uint32_t pages() const { return pages_; }
	// The first marked page in [from, pages()), or pages().
	uint32_t find(uint32_t from) const
	{
		while (from < pages_) {
			const uint64_t word =
				words_[from / 64].load_relaxed() & ~uint64_t{0} << from % 64;
			if (word != 0)
				return min_of(pages_,
					      from / 64 * 64 + static_cast<uint32_t>(
								       std::countr_zero(word)));
			from = (from / 64 + 1) * 64;
		}
		return pages_;
	}
	// Takes the mark away, before the page is copied; it still counts.
	void take(uint32_t page)
	{
		words_[page / 64].and_full(~bit(page));
		Atomics::full_fence(); // pairs with the one in mark()
	}
	// The page has to be written (again) by a later round.
	void mark_page(uint32_t page)
	{
		count_.add_relaxed(1); // visible before the mark: that is of full order
		if ((words_[page / 64].or_full(bit(page)) & bit(page)) != 0)
			lower(1);
	}
	// The page was taken, and still differs.
	void put_back(uint32_t page)
	{
		if ((words_[page / 64].or_full(bit(page)) & bit(page)) != 0)
			lower(1); // somebody else has marked it meanwhile
	}
	// So many taken pages are durable now.
	void lower(uint32_t by) { count_.add_release(0 - by); }

	// While nobody else is there: none is dirty.
	void clear_all()
	{
		for (size_t i = 0; i < words_.length(); i++)
			words_[i].store_relaxed(0);
		count_.store_relaxed(0);
	}
	void swap(DirtyPagesOver &other)
	{
		const uint32_t count = count_.load_relaxed();

		words_.swap(other.words_);
		std::swap(pages_, other.pages_);
		count_.store_relaxed(other.count_.load_relaxed());
		other.count_.store_relaxed(count);
	}

private:
	static uint64_t bit(uint32_t page) { return uint64_t{1} << page % 64; }

	template <class Number>
	using Word = typename Atomics::template Word<Number>;

	ploop_host *host_;
	Array<Word<uint64_t>> words_;
	uint32_t pages_ = 0;
	Word<uint32_t> count_;
	Word<bool> timer_armed_;
};

using DirtyPages = DirtyPagesOver<HostAtomics, ChunkedArray>;

} // namespace ploop
