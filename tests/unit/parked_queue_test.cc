// SPDX-License-Identifier: GPL-2.0
// Who waits for space comes out by order of arrival, whatever order they came in, at a
// cost that does not grow with the square of their number.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <vector>

#include "core/nospace/parked_queue.h"

namespace ploop {

namespace {

std::vector<ploop_rq> numbered(size_t count)
{
	std::vector<ploop_rq> requests(count);

	for (size_t i = 0; i < count; i++)
		state(&requests[i]).park_order = i + 1;
	return requests;
}

} // namespace

TEST(ParkedQueue, AgainstASetOfTheLibrary)
{
	std::mt19937_64 rng(1);
	std::vector<ploop_rq> requests = numbered(60);
	std::set<size_t> unused, model;
	ParkedQueue queue;

	for (size_t i = 0; i < requests.size(); i++)
		unused.insert(i);
	for (int step = 0; step < 200000; step++) {
		if (rng() % 2 != 0 && !unused.empty()) {
			auto any = std::next(unused.begin(), long(rng() % unused.size()));
			queue.insert(&requests[*any]);
			model.insert(*any);
			unused.erase(any);
		} else {
			ploop_rq *const rq = queue.pop();
			ASSERT_EQ(rq, model.empty() ? nullptr : &requests[*model.begin()]);
			if (rq != nullptr) {
				unused.insert(*model.begin());
				model.erase(model.begin());
			}
		}
		ASSERT_EQ(queue.count(), model.size());
		ASSERT_EQ(queue.empty(), model.empty());
		ASSERT_EQ(queue.first(), model.empty() ? nullptr : &requests[*model.begin()]);
	}
}

// With a queue that is walked for each, this takes minutes.
TEST(ParkedQueue, AHundredThousandInAnyOrder)
{
	constexpr size_t kCount = 100000;
	std::mt19937_64 rng(1);
	std::vector<ploop_rq> requests = numbered(kCount);
	std::vector<size_t> orders[3];

	for (std::vector<size_t> &order : orders) {
		for (size_t i = 0; i < kCount; i++)
			order.push_back(i);
	}
	std::reverse(orders[1].begin(), orders[1].end());
	std::shuffle(orders[2].begin(), orders[2].end(), rng);
	for (const std::vector<size_t> &order : orders) {
		ParkedQueue queue;
		const auto began = std::chrono::steady_clock::now();
		for (size_t i : order)
			queue.insert(&requests[i]);
		for (size_t i = 0; i < kCount; i++)
			ASSERT_EQ(queue.pop(), &requests[i]);
		EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
	}
}

} // namespace ploop
