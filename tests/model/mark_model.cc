// SPDX-License-Identifier: GPL-2.0
// The mark protocol of src/core/map/dirty_pages.h, with the words of the map around it:
// who finds that no page is dirty may tell a flush that all that was acknowledged before
// is durable.
//
// One page with two clusters. The first was published, marked and acknowledged before
// all begins; the second is published, and written by others, while a round of the
// commit takes the page. The words are as in src/core/map/map.h, their orders too.
#include "relaxed.h"

#include "core/map/dirty_pages.h"

namespace {

using model::my_side;
using model::Side;
using model::truth;
using model::weakened;
using model::Weakening;

constexpr uint64_t kHole = 0, kFresh = 1, kInRound = 2, kDurable = 3;

// In place of ChunkedArray: one word.
template <class Word>
struct OneWord {
	ploop::Status allocate(size_t) { return {}; }
	size_t length() const { return 1; }
	Word &operator[](size_t) { return word; }
	const Word &operator[](size_t) const { return word; }

	Word word;
};

// The mark is set first, and counted after that.
struct LateCount : model::Atomics {
	template <class Number>
	class Word : public model::Word<Number> {
	public:
		Number add_relaxed(Number by)
		{
			if (weakened != Weakening::count_after_mark)
				return model::Word<Number>::add_relaxed(by);
			due()[rl::thread_index()] = this;
			return 0;
		}
		Number or_full(Number bits)
		{
			const Number before = model::Word<Number>::or_full(bits);
			auto *const count = std::exchange(
				Word<uint32_t>::due()[rl::thread_index()], nullptr);

			if (count != nullptr)
				count->model::template Word<uint32_t>::add_relaxed(1);
			return before;
		}
		static Word **due()
		{
			static Word *words[model::kThreadsMax];

			return words;
		}
	};
};

using Dirty = ploop::DirtyPagesOver<LateCount, OneWord>;

// @publishers threads that write into the hole, whoever of them publishes; @writers that
// write into the cluster if they find it mapped; a round, @rounds times; a flush.
template <unsigned publishers, unsigned writers, unsigned rounds>
struct MarkTest
	: rl::test_suite<MarkTest<publishers, writers, rounds>, publishers + writers + 2> {
	static constexpr unsigned kWriters = publishers + writers;
	static constexpr unsigned kClusters = 2;

	Dirty dirty{nullptr};
	LateCount::Word<uint64_t> words[kClusters];
	bool on_disk[kClusters] = {};
	rl::atomic<bool> acknowledged[kWriters];

	void before()
	{
		truth = {};
		for (unsigned i = 0; i < kWriters; i++)
			acknowledged[i]($).store(false, rl::mo_relaxed);
		static_cast<void>(dirty.allocate(1).ok());
		dirty.arm_timer(0);
		words[0].store_relaxed(kFresh);
		words[1].store_relaxed(kHole);
		my_side() = Side::none;
		dirty.mark_page(0);
	}

	void thread(unsigned index)
	{
		if (index < publishers)
			publish(index);
		else if (index < kWriters)
			write(index);
		else if (index == kWriters)
			commit(rounds);
		else
			flush();
	}

	void publish(unsigned index)
	{
		uint64_t seen = kHole;

		my_side() = Side::marker;
		if (words[1].compare_exchange_release(seen, kFresh))
			seen = kFresh;
		submit(index, seen == kFresh);
	}

	// The second of them.
	void write(unsigned index)
	{
		my_side() = Side::none;
		const uint64_t seen = words[1].load_acquire();

		my_side() = Side::marker;
		if (seen != kHole)
			submit(index, seen == kFresh && weakened != Weakening::no_second_mark);
	}

	// The data is written and acknowledged, all at once.
	void submit(unsigned index, bool mark)
	{
		if (mark && weakened != Weakening::mark_after_submit)
			dirty.mark(ploop::VirtualCluster(0));
		acknowledged[index]($).store(true, rl::mo_release);
		if (mark && weakened == Weakening::mark_after_submit)
			dirty.mark(ploop::VirtualCluster(0));
	}

	// As the Committer does it.
	void commit(unsigned times)
	{
		uint64_t copies[kClusters];

		my_side() = Side::round;
		for (; times > 0; times--) {
			if (dirty.find(0) == dirty.pages())
				continue;
			dirty.take(0);
			for (unsigned i = 0; i < kClusters; i++) {
				copies[i] = words[i].load_relaxed();
				if (copies[i] == kFresh)
					words[i].store_relaxed(kInRound);
			}
			if (weakened == Weakening::lower_before_words)
				dirty.lower(1);
			for (unsigned i = 0; i < kClusters; i++) {
				on_disk[i] = on_disk[i] || copies[i] != kHole;
				if (words[i].load_relaxed() == kInRound)
					words[i].store_relaxed(kDurable);
			}
			if (weakened != Weakening::lower_before_words)
				dirty.lower(1);
		}
	}

	// What was acknowledged before it is durable, and known to be.
	void flush()
	{
		bool told = false;

		for (unsigned i = 0; i < kWriters; i++)
			told = acknowledged[i]($).load(rl::mo_acquire) || told;
		my_side() = Side::flusher;
		if (dirty.count() != 0)
			return;
		RL_ASSERT(on_disk[0]);
		RL_ASSERT(words[0].load_relaxed() == kDurable);
		if (!told)
			return;
		RL_ASSERT(on_disk[1]);
		RL_ASSERT(words[1].load_relaxed() == kDurable);
	}

	// In the end rounds leave nothing dirty, and nothing that is not durable.
	void after()
	{
		commit(2);
		RL_ASSERT(dirty.find(0) == dirty.pages() && dirty.count() == 0);
		for (unsigned i = 0; i < kClusters; i++)
			RL_ASSERT(words[i].load_relaxed() == (on_disk[i] ? kDurable : kHole));
	}
};

constexpr model::Scenario kScenarios[] = {
	{"mark_meets_round",
	 [](std::ostream &log) { return model::holds_within<MarkTest<1, 0, 1>>(4, log); }},
	{"mark_by_second_writer",
	 [](std::ostream &log) { return model::holds_within<MarkTest<1, 1, 1>>(2, log); }},
	{"mark_2_publishers",
	 [](std::ostream &log) { return model::holds_within<MarkTest<2, 0, 1>>(2, log); }},
	{"mark_random",
	 [](std::ostream &log) { return model::holds_often<MarkTest<1, 1, 2>>(40000, log); }},
};

} // namespace

// The commit's timer is armed all the time: it is no part of this.
void ph_timer_arm(ploop_host *, ploop_timer, uint32_t) {}
void ph_broken(const char *) {}

int main(int argc, char **argv)
{
	return model::main_of(kScenarios, argc, argv);
}
