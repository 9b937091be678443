// SPDX-License-Identifier: GPL-2.0
// Queues of requests, against a list of the library.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "core/base/request.h"

namespace ploop {

namespace {

struct Queue {
	void compare()
	{
		ASSERT_EQ(queue.count(), model.size());
		ASSERT_EQ(queue.empty(), model.empty());
		ASSERT_EQ(queue.first(), model.empty() ? nullptr : model.front());
	}

	ploop_rq *pop()
	{
		ploop_rq *const expected = model.empty() ? nullptr : model.front();
		ploop_rq *const got = queue.pop();
		EXPECT_EQ(got, expected);
		if (!model.empty())
			model.pop_front();
		return got;
	}

	RequestQueue queue;
	std::deque<ploop_rq *> model;
};

} // namespace

TEST(RequestQueue, AgainstAListOfTheLibrary)
{
	std::mt19937_64 rng(1);
	std::vector<ploop_rq> requests(50);
	std::vector<ploop_rq *> unused;
	Queue queues[2];

	for (ploop_rq &rq : requests)
		unused.push_back(&rq);
	for (int step = 0; step < 100000; step++) {
		Queue &queue = queues[rng() % 2];
		Queue &other = queues[&queue == queues];
		const uint64_t what = rng() % 8;
		if (what < 5 && !unused.empty()) {
			ploop_rq *const rq = unused.back();
			unused.pop_back();
			if (what == 0) {
				queue.queue.push_front(rq);
				queue.model.push_front(rq);
			} else {
				queue.queue.push(rq);
				queue.model.push_back(rq);
			}
		} else if (what < 7) {
			if (ploop_rq *rq = queue.pop())
				unused.push_back(rq);
		} else {
			queue.queue.splice(other.queue);
			queue.model.insert(queue.model.end(), other.model.begin(),
					   other.model.end());
			other.model.clear();
		}
		ASSERT_NO_FATAL_FAILURE(queue.compare());
		ASSERT_NO_FATAL_FAILURE(other.compare());
	}
}

TEST(Request, MarksAreApart)
{
	const Mark all[] = {kMarkInline,	kMarkCopied,	kMarkProbe,   kMarkRetried,
			    kMarkFirst,	kMarkReadAgain, kMarkDurable, kMarkSettled,
			    kMarkUntried};
	ploop_rq rq = {};

	for (Mark mark : all)
		set_mark(&rq, mark);
	for (Mark mark : all) {
		clear_mark(&rq, mark);
		for (Mark other : all)
			EXPECT_EQ(has_mark(&rq, other), other != mark);
		set_mark(&rq, mark);
	}
}

TEST(Request, BytesAndNode)
{
	ploop_rq rq = {};

	rq.nr_sectors = 131072; // the largest cluster
	EXPECT_EQ(bytes_of(&rq), 64u << 20);
	EXPECT_EQ(request_of(&state(&rq).node), &rq);
	set_stage(&rq, Stage::ended);
	EXPECT_EQ(stage_of(&rq), Stage::ended);
}

} // namespace ploop
