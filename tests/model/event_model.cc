// SPDX-License-Identifier: GPL-2.0
// EventCount and tell_events() of src/core/event.h: no event is lost, none is
// told to a reader twice.
#include "relaxed.h"

#include "core/nospace/event.h"

namespace {

using model::truth;
using model::Weakening;

constexpr int kData = 7;

// What a reader is told, and how far all of them were told, where it fit.
struct Reply {
	bool fits;
	uint64_t &told_to_anybody;
	uint64_t told = 0;
	bool consumed = false;

	Reply &operator<<(const char *)
	{
		told = truth.last_acquired[rl::thread_index()];
		return *this;
	}

	bool has_spare()
	{
		if (!fits)
			return model::weakened == Weakening::ack_unfit;
		consumed = true;
		told_to_anybody = told > told_to_anybody ? told : told_to_anybody;
		return true;
	}
};

// @raisers threads that write something and raise the event for it @raises
// times, and @readers threads that read @reads times; if more than once, one of
// them has no room for the reply at first.
template <unsigned raisers, unsigned raises, unsigned readers, unsigned reads>
struct Events : rl::test_suite<Events<raisers, raises, readers, reads>, raisers + readers> {
	ploop::EventCount<model::Atomics> count;
	struct Raise {
		rl::var<int> data;  // what the event announces
		uint64_t place = 0; // among all raises, 1 the first; 0: it has not happened
	} raised[raisers][raises];
	rl::atomic<unsigned> ended[raisers]; // raises: how a reader learns that they had ended
	uint64_t told_to_anybody = 0;
	uint64_t told_to[readers] = {};

	void before()
	{
		truth = {};
		for (unsigned i = 0; i < raisers; i++) {
			ended[i]($).store(0, rl::mo_relaxed);
			for (Raise &raise : raised[i])
				raise.data($) = 0;
		}
	}

	void thread(unsigned index)
	{
		if (index < raisers)
			return raise_all(index);
		for (unsigned i = 0; i < reads; i++)
			read(index - raisers, reads == 1 || index != raisers || i > 0);
	}

	void raise_all(unsigned raiser)
	{
		for (unsigned i = 0; i < raises; i++) {
			raised[raiser][i].data($) = kData;
			count.raise();
			raised[raiser][i].place = truth.last_add[rl::thread_index()];
			ended[raiser]($).store(i + 1, rl::mo_release);
		}
	}

	void read(unsigned reader, bool fits)
	{
		const ploop::EventLine<model::Atomics> lines[] = {{count, "event"}};
		Reply reply{fits, told_to_anybody};
		uint64_t ended_before = 0;

		for (unsigned i = 0; i < raisers; i++) {
			const unsigned known = ended[i]($).load(rl::mo_acquire);
			if (known > 0 && raised[i][known - 1].place > ended_before)
				ended_before = raised[i][known - 1].place;
		}
		if (ploop::tell_events(lines, reply))
			look_at_data(reply.told);
		// A raise that ended before is covered by this reply or an earlier one.
		if (fits)
			RL_ASSERT(ended_before <= told_to_anybody);
		// Without a raise there is no second reply.
		if (reply.consumed) {
			RL_ASSERT(reply.told > told_to[reader]);
			told_to[reader] = reply.told;
		}
	}

	// What the events announce can be seen.
	void look_at_data(uint64_t told)
	{
		for (unsigned i = 0; i < raisers; i++) {
			for (const Raise &raise : raised[i]) {
				if (raise.place != 0 && raise.place <= told)
					RL_ASSERT(raise.data($) == kData);
			}
		}
	}

	// When all have ended, one more read leaves nothing; what was told is not told again.
	void after()
	{
		const ploop::EventLine<model::Atomics> lines[] = {{count, "event"}};
		const bool all_told = told_to_anybody == raisers * raises;
		Reply reply{true, told_to_anybody};

		RL_ASSERT(ploop::tell_events(lines, reply) == !all_told);
		RL_ASSERT(told_to_anybody == raisers * raises);
		RL_ASSERT(!ploop::tell_events(lines, reply));
	}
};

constexpr model::Scenario kScenarios[] = {
	{"event_2_raisers_1_reader", model::holds_always<Events<2, 1, 1, 2>>},
	{"event_2_raises_2_readers", model::holds_always<Events<1, 2, 2, 1>>},
	{"event_2_raisers_2_readers",
	 [](std::ostream &log) { return model::holds_within<Events<2, 1, 2, 1>>(3, log); }},
	{"event_random",
	 [](std::ostream &log) { return model::holds_often<Events<2, 2, 2, 3>>(300000, log); }},
};

} // namespace

int main(int argc, char **argv)
{
	return model::main_of(kScenarios, argc, argv);
}
