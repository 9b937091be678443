// SPDX-License-Identifier: GPL-2.0
// Atomics for the model checker, in place of HostAtomics of src/core/atomics.h.
//
// The shipping templates run over them unchanged. Relacy interleaves the
// threads at each access, and lets a load return an older value where the
// orders given here allow it; rl::var tells accesses that race.
//
// One thing at a time can be weakened, to show that the model would notice.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include <relacy/relacy.hpp>

// Words of the language, which relacy takes for the allocations of a test.
#undef new
#undef delete

namespace model {

enum class Weakening {
	none,
	no_fence_in_park,
	no_fence_in_attentive,
	acq_rel_fence_in_park,
	acq_rel_fence_in_attentive,
	push_relaxed,
	take_relaxed,
	raise_relaxed,
	raised_relaxed,
	ack_not_max,
	ack_latest,
	ack_unfit,
	put_acquire_relaxed,
	put_release_relaxed,
	take_acquire_relaxed,
	take_release_relaxed,
	no_fence_in_mark,
	no_fence_in_round,
	acq_rel_fence_in_mark,
	acq_rel_fence_in_round,
	seen_mark_relaxed,
	count_relaxed,
	lower_relaxed,
	count_after_mark,
	mark_after_submit,
	no_second_mark,
	lower_before_words,
};

inline constexpr const char *kWeakenings[] = {
	"none",
	"no_fence_in_park",
	"no_fence_in_attentive",
	"acq_rel_fence_in_park",
	"acq_rel_fence_in_attentive",
	"push_relaxed",
	"take_relaxed",
	"raise_relaxed",
	"raised_relaxed",
	"ack_not_max",
	"ack_latest",
	"ack_unfit",
	"put_acquire_relaxed",
	"put_release_relaxed",
	"take_acquire_relaxed",
	"take_release_relaxed",
	"no_fence_in_mark",
	"no_fence_in_round",
	"acq_rel_fence_in_mark",
	"acq_rel_fence_in_round",
	"seen_mark_relaxed",
	"count_relaxed",
	"lower_relaxed",
	"count_after_mark",
	"mark_after_submit",
	"no_second_mark",
	"lower_before_words",
};

inline Weakening weakened = Weakening::none;

inline rl::memory_order order_unless(Weakening which, rl::memory_order order)
{
	return weakened == which ? rl::mo_relaxed : order;
}

constexpr unsigned kThreadsMax = 4;

// What a thread is about, where the same order is used by both sides: the test says so.
enum class Side : uint8_t { none, putter, taker, marker, round, flusher };

// What really happened, for the checks: seen by all threads at once, as the
// checked code's own words are not.
struct Truth {
	uint64_t added = 0;			  // how often a word was added to
	uint64_t last_add[kThreadsMax] = {};	  // what the thread's last addition gave
	uint64_t last_acquired[kThreadsMax] = {}; // what the thread's last acquire load gave
	bool pushed_last[kThreadsMax] = {};	  // its last change was a push, not a store
	Side side[kThreadsMax] = {};
};

inline Truth truth;

inline Side &my_side()
{
	return truth.side[rl::thread_index()];
}

inline Weakening weakening_of_acquire()
{
	switch (my_side()) {
	case Side::putter:
		return Weakening::put_acquire_relaxed;
	case Side::taker:
		return Weakening::take_acquire_relaxed;
	case Side::marker:
		return Weakening::seen_mark_relaxed;
	case Side::flusher:
		return Weakening::count_relaxed;
	case Side::none:
	case Side::round:
		break;
	}
	return Weakening::raised_relaxed;
}

inline Weakening weakening_of_add()
{
	return my_side() == Side::round ? Weakening::lower_relaxed : Weakening::raise_relaxed;
}

inline Weakening weakening_of_release()
{
	return my_side() == Side::putter ? Weakening::put_release_relaxed
					 : Weakening::take_release_relaxed;
}

template <class Number>
class Word {
public:
	Word() : Word(Number{}) {}
	explicit Word(Number number) { word_($).store(number, rl::mo_relaxed); }

	Number load_relaxed() const { return word_($).load(rl::mo_relaxed); }

	Number load_acquire() const
	{
		const Number number =
			word_($).load(order_unless(weakening_of_acquire(), rl::mo_acquire));

		truth.last_acquired[rl::thread_index()] = uint64_t{number};
		return number;
	}

	void store_relaxed(Number number)
	{
		truth.pushed_last[rl::thread_index()] = false;
		word_($).store(number, rl::mo_relaxed);
	}

	void store_release(Number number)
	{
		word_($).store(number, order_unless(weakening_of_release(), rl::mo_release));
	}

	Number exchange_relaxed(Number number)
	{
		return word_($).exchange(number, rl::mo_relaxed);
	}

	Number add_relaxed(Number by) { return word_($).fetch_add(by, rl::mo_relaxed); }
	Number or_full(Number bits) { return word_($).fetch_or(bits, rl::mo_seq_cst); }
	Number and_full(Number bits) { return word_($).fetch_and(bits, rl::mo_seq_cst); }

	Number add_release(Number by)
	{
		const Number before = word_($).fetch_add(
			by, order_unless(weakening_of_add(), rl::mo_release));

		truth.added++;
		truth.last_add[rl::thread_index()] = uint64_t{before} + by;
		return before;
	}

	bool compare_exchange_release(Number &expected, Number number)
	{
		return word_($).compare_exchange_strong(expected, number, rl::mo_acq_rel,
							rl::mo_acquire);
	}

	bool compare_exchange_relaxed(Number &expected, Number number)
	{
		if (weakened == Weakening::ack_latest)
			number = static_cast<Number>(truth.added);
		if (weakened == Weakening::ack_not_max) {
			word_($).store(number, rl::mo_relaxed);
			return true;
		}
		return word_($).compare_exchange_strong(expected, number, rl::mo_relaxed);
	}

private:
	rl::atomic<Number> word_;
};

struct Node {
	rl::var<Node *> next;
	rl::var<int> data; // what the one who parks wrote before
	unsigned taken = 0;
};

// No more than the contract promises: release by the push, acquire by the take,
// and nothing at all by a take that finds the list empty, which need not write.
// A push that has to try again does nothing in between, so it is done in one go.
class List {
public:
	List() { first_($).store(nullptr, rl::mo_relaxed); }

	void push(Node *node)
	{
		Node *first = newest_;

		truth.pushed_last[rl::thread_index()] = true;
		node->next($) = first;
		while (!first_($).compare_exchange_strong(
			first, node, order_unless(Weakening::push_relaxed, rl::mo_release)))
			node->next($) = first;
		newest_ = node;
	}

	Node *take()
	{
		const rl::memory_order order =
			order_unless(Weakening::take_relaxed, rl::mo_acquire);

		if (first_($).load(order) == nullptr)
			return nullptr;
		Node *const newest = first_($).exchange(nullptr, order);
		newest_ = nullptr;
		return newest;
	}

private:
	rl::atomic<Node *> first_;
	Node *newest_ = nullptr; // what is in first_ really: the first guess of a push
};

struct Atomics {
	template <class Number>
	using Word = model::Word<Number>;
	using List = model::List;

	// All fences are this one; the side, or what came before it, tells which one it is.
	static void full_fence()
	{
		switch (my_side()) {
		case Side::marker:
			return fence_unless(Weakening::no_fence_in_mark,
					    Weakening::acq_rel_fence_in_mark);
		case Side::round:
			return fence_unless(Weakening::no_fence_in_round,
					    Weakening::acq_rel_fence_in_round);
		case Side::none:
		case Side::putter:
		case Side::taker:
		case Side::flusher:
			break;
		}
		if (truth.pushed_last[rl::thread_index()])
			fence_unless(Weakening::no_fence_in_park,
				     Weakening::acq_rel_fence_in_park);
		else
			fence_unless(Weakening::no_fence_in_attentive,
				     Weakening::acq_rel_fence_in_attentive);
	}

private:
	static void fence_unless(Weakening none, Weakening weak)
	{
		if (weakened == none)
			return;
		rl::atomic_thread_fence(weakened == weak ? rl::mo_acq_rel : rl::mo_seq_cst, $);
	}
};

// True if no execution fails; tells on @log how many there were, or shows the one that failed.
template <class Test, template <rl::thread_id_t> class Scheduler>
bool holds(rl::test_params &params, std::ostream &log)
{
	using Search = Scheduler<Test::params::thread_count>;
	rl::ostringstream progress;
	rl::ostringstream place;

	params.output_stream = &log;
	params.progress_stream = &progress;
	if (rl::run_test<Test, Search>(params, place, false) == rl::test_result_success) {
		log << params.stop_iteration << " executions, none fails\n";
		return true;
	}
	// Once more, from the state before it failed, to show the history.
	params.initial_state = place.str();
	params.collect_history = true;
	rl::run_test<Test, Search>(params, place, true);
	return false;
}

// Every interleaving, and for each load the value that is current and the one before.
template <class Test>
bool holds_always(std::ostream &log)
{
	rl::test_params params;

	return holds<Test, rl::full_search_scheduler>(params, log);
}

// The same, but at most so many switches between threads that nothing forces.
template <class Test>
bool holds_within(unsigned switches, std::ostream &log)
{
	rl::test_params params;

	params.context_bound = switches;
	return holds<Test, rl::context_bound_scheduler>(params, log);
}

// So many executions at random, always the same ones; loads look back two values.
template <class Test>
bool holds_often(unsigned executions, std::ostream &log)
{
	rl::test_params params;

	params.iteration_count = executions;
	return holds<Test, rl::random_scheduler>(params, log);
}

// The contract's kick: what was written before it is seen by the round that it leads to.
class Kick {
public:
	Kick() { pending_($).store(false, rl::mo_relaxed); }

	void kick() { exchange(true, rl::mo_release); }
	// A round begins: true if a kick was pending, which now is not.
	bool begin_round() { return exchange(false, rl::mo_acquire); }

private:
	// In one go with what comes before: a later kick only leads to a later round.
	bool exchange(bool pending, rl::memory_order order)
	{
		const rl::preemption_disabler in_one_go(rl::ctx());

		return pending_($).exchange(pending, order);
	}

	rl::atomic<bool> pending_;
};

struct Scenario {
	const char *name;
	bool (*holds)(std::ostream &log);
};

// model [SCENARIO [WEAKENING]]: exit status 0 if it holds, 1 if not.
template <unsigned nr_scenarios>
int main_of(const Scenario (&scenarios)[nr_scenarios], int argc, char **argv)
{
	if (argc < 2 || argc > 3) {
		for (const Scenario &scenario : scenarios)
			std::cout << scenario.name << '\n';
		return argc == 1 ? 0 : 2;
	}
	for (unsigned i = 0; argc == 3 && i < std::size(kWeakenings); i++) {
		if (strcmp(argv[2], kWeakenings[i]) == 0)
			weakened = static_cast<Weakening>(i);
	}
	if (argc == 3 && weakened == Weakening::none) {
		std::cerr << "no such weakening: " << argv[2] << '\n';
		return 2;
	}
	for (const Scenario &scenario : scenarios) {
		if (strcmp(argv[1], scenario.name) == 0)
			return scenario.holds(std::cout) ? 0 : 1;
	}
	std::cerr << "no such scenario: " << argv[1] << '\n';
	return 2;
}

} // namespace model
