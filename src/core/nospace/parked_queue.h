// SPDX-License-Identifier: GPL-2.0
// Requests that wait for space, by order of arrival, whatever order they come (back) in.
//
// A pairing heap: to put one in takes a few steps, to take the oldest out takes about
// log2(n), on the average of many. Not synchronised; no memory of its own.
#pragma once

#include "base/request.h"

namespace ploop {

class ParkedQueue {
public:
	ParkedQueue() = default;
	ParkedQueue(const ParkedQueue &) = delete;
	ParkedQueue &operator=(const ParkedQueue &) = delete;

	bool empty() const { return root_ == nullptr; }
	uint64_t count() const { return count_; }
	// The oldest, or NULL.
	ploop_rq *first() const { return root_ != nullptr ? request_of(root_) : nullptr; }

	void insert(ploop_rq *rq)
	{
		state(rq).after = state(rq).children = nullptr;
		root_ = meld(root_, &state(rq).node);
		count_++;
	}

	// Takes the oldest, or NULL.
	ploop_rq *pop()
	{
		if (root_ == nullptr)
			return nullptr;
		ploop_rq *const rq = request_of(root_);
		root_ = meld_all(state(rq).children);
		count_--;
		return rq;
	}

private:
	static RequestState &at(ploop_node *node) { return state(request_of(node)); }

	// Two heaps become one: the younger root is the elder's first child.
	static ploop_node *meld(ploop_node *a, ploop_node *b)
	{
		if (a == nullptr)
			return b;
		if (b == nullptr)
			return a;
		if (at(b).park_order < at(a).park_order)
			std::swap(a, b);
		at(b).after = at(a).children;
		at(a).children = b;
		return a;
	}

	// Siblings, pair by pair, and then the pairs from the last to the first.
	static ploop_node *meld_all(ploop_node *siblings)
	{
		ploop_node *pairs = nullptr;

		while (siblings != nullptr) {
			ploop_node *const a = siblings;
			ploop_node *const b = at(a).after;
			siblings = b != nullptr ? at(b).after : nullptr;
			at(a).after = nullptr;
			if (b != nullptr)
				at(b).after = nullptr;
			ploop_node *const pair = meld(a, b);
			at(pair).after = pairs;
			pairs = pair;
		}
		ploop_node *root = nullptr;
		while (pairs != nullptr) {
			ploop_node *const pair = pairs;
			pairs = at(pair).after;
			at(pair).after = nullptr;
			root = meld(root, pair);
		}
		return root;
	}

	ploop_node *root_ = nullptr;
	uint64_t count_ = 0;
};

} // namespace ploop
