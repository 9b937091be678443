// SPDX-License-Identifier: GPL-2.0
// The lockless protocols with real threads. Built twice: with the other unit
// tests, and alone under ThreadSanitizer. What the machine's order hides is for
// the model checker.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "core/base/atomics.h"
#include "core/nospace/event.h"
#include "core/nospace/park.h"

namespace ploop {

namespace {

struct Parked {
	ploop_node node;
	uint64_t payload; // plain: its reader must be ordered behind its writer
	uint64_t from;
};

Parked *parked_of(ploop_node *node)
{
	return reinterpret_cast<Parked *>(node);
}

// What wakes the worker, as ph_kick() does.
struct Kick {
	void kick() { wanted.store(true, std::memory_order_release); }
	bool take() { return wanted.exchange(false, std::memory_order_acquire); }
	std::atomic<bool> wanted{false};
};

// Threads that begin a round at the same moment, as nearly as it goes.
class Gate {
public:
	explicit Gate(int threads) : threads_(threads) {}
	void wait()
	{
		const int round = round_.load();
		if (arrived_.fetch_add(1) + 1 == threads_) {
			arrived_.store(0);
			round_.store(round + 1);
			return;
		}
		for (int spins = 0; round_.load() == round; spins++) {
			if (spins % 100 == 99)
				std::this_thread::yield();
		}
	}

private:
	const int threads_;
	std::atomic<int> arrived_{0};
	std::atomic<int> round_{0};
};

using Lot = ParkLot<HostAtomics, ploop_node>;

} // namespace

// Either the one who parks is told to kick, or the worker's take has the request.
TEST(Park, EitherKickedOrTaken)
{
	constexpr int kRounds = 100000;
	const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(4);
	Lot lot;
	Parked parked = {};
	Gate gate(2);
	bool kicked = false;
	bool over = false;
	int rounds = 0;

	lot.be_quiet();
	std::thread parker([&] {
		while (true) {
			gate.wait();
			if (over)
				return;
			parked.payload++;
			kicked = lot.park(&parked.node);
			gate.wait();
		}
	});
	for (rounds = 0; rounds < kRounds && std::chrono::steady_clock::now() < end; rounds++) {
		gate.wait();
		ploop_node *taken = lot.be_attentive();
		if (taken != nullptr) {
			EXPECT_EQ(parked_of(taken)->payload, uint64_t(rounds) + 1);
		}
		gate.wait();
		if (taken == nullptr && !kicked) {
			ADD_FAILURE() << "a parked request was forgotten in round " << rounds;
			break;
		}
		if (taken == nullptr) {
			EXPECT_EQ(lot.take(), &parked.node);
		}
		lot.be_quiet();
	}
	over = true;
	gate.wait();
	parker.join();
	EXPECT_GT(rounds, 100);
}

// Many who park, one worker that goes to sleep and is woken: all requests come,
// each once, with what was written before they were parked.
TEST(Park, ManyParkersOneWorker)
{
	constexpr uint64_t kParkers = 3;
	constexpr uint64_t kEach = 60000;
	std::vector<std::vector<Parked>> all(kParkers, std::vector<Parked>(kEach));
	std::vector<uint64_t> seen(kParkers);
	std::vector<std::thread> parkers;
	Lot lot;
	Kick kick;
	uint64_t total = 0;

	for (uint64_t from = 0; from < kParkers; from++) {
		parkers.emplace_back([&, from] {
			for (uint64_t i = 0; i < kEach; i++) {
				all[from][i].payload = i;
				all[from][i].from = from;
				if (lot.park(&all[from][i].node))
					kick.kick();
			}
		});
	}
	const auto handle = [&](ploop_node *newest_first) {
		while (newest_first != nullptr) {
			Parked *const parked = parked_of(newest_first);
			newest_first = newest_first->next;
			seen[parked->from] += parked->payload;
			total++;
		}
	};
	bool attentive = true;
	for (uint64_t turn = 0; total < kParkers * kEach; turn++) {
		if (attentive && kick.take())
			handle(lot.take());
		if (turn % 1000 == 0) {
			lot.be_quiet();
			attentive = false;
		} else if (turn % 1000 == 500) {
			handle(lot.be_attentive());
			attentive = true;
		}
		if (turn % 64 == 0)
			std::this_thread::yield();
	}
	for (std::thread &parker : parkers)
		parker.join();
	EXPECT_EQ(lot.take(), nullptr);
	for (uint64_t sum : seen)
		EXPECT_EQ(sum, kEach * (kEach - 1) / 2);
}

TEST(Event, OneRaiseOneReply)
{
	EventCount<HostAtomics> event;

	EXPECT_FALSE(event.pending());
	event.raise();
	EXPECT_TRUE(event.pending());
	event.raise();
	const uint64_t told = event.raised();
	EXPECT_EQ(told, 2u);
	event.raise(); // during the read: the reply does not cover it
	event.acknowledge(told);
	EXPECT_TRUE(event.pending());
	event.acknowledge(event.raised());
	EXPECT_FALSE(event.pending());
	event.acknowledge(1); // a late one takes nothing back
	EXPECT_FALSE(event.pending());
	EXPECT_EQ(event.acknowledged(), 3u);
}

// The kernel's atomics, which remember what this thread has loaded last in order:
// the count that a reply is about.
thread_local uint64_t last_acquired;

template <class Number>
class NotingWord : public HostAtomics::Word<Number> {
public:
	Number load_acquire() const
	{
		last_acquired = HostAtomics::Word<Number>::load_acquire();
		return last_acquired;
	}
};

struct NotingAtomics {
	template <class Number>
	using Word = NotingWord<Number>;
};

// Raises, and what their two readers make of them.
struct Storm {
	EventCount<NotingAtomics> event;
	std::atomic<uint64_t> announced{0}; // what the raise of that number tells of
	std::atomic<uint64_t> ended{0};	    // raises that have ended
	std::atomic<uint64_t> told{0};	    // the last that a reply was about
	std::atomic<uint64_t> reads{0};
	std::atomic<bool> over{false};
};

// A reply that fits, or does not.
struct Reply {
	Storm &storm;
	bool fits = true;

	Reply &operator<<(const char *)
	{
		uint64_t seen = storm.told.load();
		while (fits && seen < last_acquired &&
		       !storm.told.compare_exchange_weak(seen, last_acquired)) {
		}
		return *this;
	}
	bool has_spare() const { return fits; }
};

struct Reader {
	Storm &storm;
	uint64_t reads = 0;
	uint64_t replies = 0;
	uint64_t last_acknowledged = 0;
	uint64_t uncovered = 0;	 // raises that had ended and were told by nobody
	uint64_t unfounded = 0;	 // replies without a raise since the last one
	uint64_t untold = 0;	 // acknowledged, and in no reply
	uint64_t taken_back = 0; // an acknowledgement
	uint64_t early = 0;	 // the event came before what it announces

	void read_once()
	{
		const uint64_t ended = storm.ended.load(std::memory_order_acquire);
		const uint64_t acknowledged = storm.event.acknowledged();
		const EventLine<NotingAtomics> lines[] = {{storm.event, "event\n"}};
		Reply reply{storm, ++reads % 3 != 0};

		early += storm.event.raised() > storm.announced.load(std::memory_order_relaxed);
		taken_back += acknowledged < last_acknowledged;
		if (tell_events(lines, reply) && reply.fits) {
			replies++;
			unfounded += storm.event.raised() <= acknowledged;
		}
		untold += storm.event.acknowledged() > storm.told.load();
		// What did not fit is asked for again, as device-mapper does.
		if (!reply.fits) {
			reply.fits = true;
			replies += tell_events(lines, reply);
		}
		last_acknowledged = storm.event.acknowledged();
		uncovered += last_acknowledged < ended;
		storm.reads.fetch_add(1);
	}
	void read_all()
	{
		while (!storm.over.load())
			read_once();
		read_once();
	}
};

// A raise that ended before a read began is covered by that read, or by an earlier
// reply; a reply needs a raise; in the end nothing is pending.
TEST(Event, StormAgainstTwoReaders)
{
#if defined(__SANITIZE_THREAD__)
	constexpr uint64_t kRaises = 2'000'000;
#else
	constexpr uint64_t kRaises = 3'000'000;
#endif
	Storm storm;
	Reader readers[2] = {Reader{storm}, Reader{storm}};

	std::thread first([&] { readers[0].read_all(); });
	std::thread second([&] { readers[1].read_all(); });
	for (uint64_t i = 1; i <= kRaises; i++) {
		storm.announced.store(i, std::memory_order_relaxed);
		storm.event.raise();
		storm.ended.store(i, std::memory_order_release);
		// Between two bursts there are reads, whatever the scheduler thinks.
		const uint64_t before = storm.reads.load();
		while (i % 512 == 0 && storm.reads.load() < before + 2)
			std::this_thread::yield();
	}
	storm.over.store(true);
	first.join();
	second.join();
	for (Reader &reader : readers) {
		EXPECT_EQ(reader.uncovered, 0u);
		EXPECT_EQ(reader.unfounded, 0u);
		EXPECT_EQ(reader.untold, 0u);
		EXPECT_EQ(reader.taken_back, 0u);
		EXPECT_EQ(reader.early, 0u);
		EXPECT_GT(reader.replies, 0u);
		// Without a raise there is nothing more to tell.
		const uint64_t replies = reader.replies;
		reader.read_once();
		EXPECT_EQ(reader.replies, replies);
	}
	EXPECT_EQ(storm.event.raised(), kRaises);
	EXPECT_EQ(storm.event.acknowledged(), kRaises);
}

// Each single raise is told before the next: a lost one would hang the raiser.
TEST(Event, NoSingleRaiseIsLost)
{
	constexpr uint64_t kRaises = 100000;
	const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(4);
	EventCount<HostAtomics> event;
	std::atomic<bool> over{false};
	uint64_t raises = 0;

	const auto reader = [&] {
		while (!over.load()) {
			const uint64_t raised = event.raised();
			if (raised > event.acknowledged())
				event.acknowledge(raised);
			else
				std::this_thread::yield();
		}
	};
	std::thread first(reader), second(reader);
	for (; raises < kRaises && std::chrono::steady_clock::now() < end; raises++) {
		event.raise();
		const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
		while (event.pending()) {
			std::this_thread::yield();
			if (std::chrono::steady_clock::now() > patience) {
				ADD_FAILURE() << "raise " << raises << " was never told";
				break;
			}
		}
	}
	over.store(true);
	first.join();
	second.join();
	EXPECT_EQ(event.acknowledged(), raises);
}

} // namespace ploop
