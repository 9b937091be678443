// SPDX-License-Identifier: GPL-2.0
// Ring of src/core/map/ring.h: every number that was put comes out once, and who takes it
// sees what was written before the put.
//
// What names a cell's number is stored and loaded relaxed, under the protection of the
// cell's turn: it must not race. So each such word has a shadow here that is plain, for
// relacy to watch: a load that the machine makes later than a store behind it, which is
// what the release in take() is against, is nothing that relacy shows otherwise.
#include "relaxed.h"

#include "core/map/ring.h"

namespace {

using model::my_side;
using model::Side;
using model::truth;

constexpr int kData = 7;
constexpr uint32_t kCells = 2;

struct RingAtomics {
	template <class Number>
	class Word : public model::Word<Number> {
	public:
		Word() { shadow_($) = 0; }
		Number load_relaxed() const
		{
			static_cast<void>(static_cast<int>(shadow_($)));
			return model::Word<Number>::load_relaxed();
		}
		void store_relaxed(Number number)
		{
			shadow_($) = 0;
			model::Word<Number>::store_relaxed(number);
		}

	private:
		rl::var<int> shadow_;
	};
};

// The first @putters threads put @puts numbers each, the others try to take @takes times.
template <unsigned putters, unsigned puts, unsigned takers, unsigned takes>
struct RingTest : rl::test_suite<RingTest<putters, puts, takers, takes>, putters + takers> {
	ploop::Ring<RingAtomics, kCells> ring;
	struct Number {
		rl::var<int> data; // what the one who puts it wrote before
		unsigned in = 0;
		unsigned out = 0;
	} numbers[putters * puts];

	void before()
	{
		truth = {};
		for (Number &number : numbers)
			number.data($) = 0;
	}

	void thread(unsigned index)
	{
		if (index < putters) {
			for (unsigned i = 0; i < puts; i++)
				put(index * puts + i);
		} else {
			for (unsigned i = 0; i < takes; i++)
				take();
		}
	}

	void put(uint32_t number)
	{
		my_side() = Side::putter;
		numbers[number].data($) = kData;
		numbers[number].in += ring.put(number);
	}

	bool take()
	{
		uint32_t number = putters * puts;

		my_side() = Side::taker;
		if (!ring.take(number))
			return false;
		RL_ASSERT(number < putters * puts);
		RL_ASSERT(numbers[number].data($) == kData);
		numbers[number].data($) = 0; // it is the taker's alone
		numbers[number].out++;
		return true;
	}

	// What is left comes out; then the ring is as new: it takes what it has room for,
	// and gives it back in that order.
	void after()
	{
		uint32_t number = 0;
		unsigned left = ring.count();

		RL_ASSERT(left <= kCells);
		while (take())
			left--;
		RL_ASSERT(left == 0 && ring.count() == 0);
		for (const Number &each : numbers)
			RL_ASSERT(each.in == each.out && each.in <= 1);
		for (uint32_t i = 0; i < kCells; i++)
			RL_ASSERT(ring.put(100 + i));
		RL_ASSERT(!ring.put(0));
		for (uint32_t i = 0; i < kCells; i++)
			RL_ASSERT(ring.take(number) && number == 100 + i);
		RL_ASSERT(!ring.take(number));
	}
};

constexpr model::Scenario kScenarios[] = {
	// More puts than cells: the ring gets full, and the cells are used again.
	{"ring_laps",
	 [](std::ostream &log) { return model::holds_within<RingTest<1, 3, 1, 3>>(5, log); }},
	{"ring_2_putters_1_taker",
	 [](std::ostream &log) { return model::holds_within<RingTest<2, 2, 1, 2>>(3, log); }},
	{"ring_1_putter_2_takers",
	 [](std::ostream &log) { return model::holds_within<RingTest<1, 3, 2, 1>>(4, log); }},
	{"ring_2_putters_2_takers",
	 [](std::ostream &log) { return model::holds_within<RingTest<2, 1, 2, 1>>(3, log); }},
	{"ring_random",
	 [](std::ostream &log) { return model::holds_often<RingTest<2, 3, 2, 3>>(100000, log); }},
};

} // namespace

int main(int argc, char **argv)
{
	return model::main_of(kScenarios, argc, argv);
}
