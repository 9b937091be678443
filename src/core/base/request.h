// SPDX-License-Identifier: GPL-2.0
// Requests as the core sees them: stages, marks, and queues of them.
#pragma once

#include "base/invariant.h"
#include "base/types.h"
#include "ploop/target.h"

namespace ploop {

// Where a request is, and so what the end of its I/O, or its arrival at the
// worker, means.
enum class Stage : uint8_t {
	fresh,	    // nothing was done yet
	overwrite,  // reading or writing a mapped cluster
	first_data, // writing into a cluster that an allocation slot prepares
	data_done,  // the same, ended: `error` says how
	commit,	    // data is written, waits for a full commit (FUA)
	ended,	    // to be ended by the worker: `error` says how
	over,	    // ended: the host's again
};

enum Mark : uint8_t {
	kMarkInline = 1,     // the last try was in the submitter's context
	kMarkCopied = 2,     // the host copies its data from now on
	kMarkProbe = 4,	     // its outcome tells whether there is space again
	kMarkRetried = 8,    // had its one retry of a flushing suspend
	kMarkHopes = 16,     // `hopes_until` says which part of the quarantine it waits for
	kMarkReadAgain = 32, // a read that was tried again after an error
	kMarkUntried = 64,   // parked in hope, and not tried since
};

constexpr uint32_t kNoEpoch = ~0u;
constexpr uint32_t kNoSlot = ~0u;

inline ploop_rq *request_of(ploop_node *node)
{
	return reinterpret_cast<ploop_rq *>(reinterpret_cast<char *>(node) -
					    offsetof(ploop_rq, node));
}

// A lockless list is taken newest first; this turns it round.
inline ploop_node *oldest_first(ploop_node *newest)
{
	ploop_node *oldest = nullptr;

	while (newest != nullptr) {
		ploop_node *const node = newest;
		newest = node->next;
		node->next = oldest;
		oldest = node;
	}
	return oldest;
}

inline Stage stage_of(const ploop_rq *rq)
{
	return static_cast<Stage>(rq->stage);
}
inline void set_stage(ploop_rq *rq, Stage stage)
{
	rq->stage = static_cast<uint8_t>(stage);
}
// The request is the host's again: the last that is done to it. @error: 0, a
// negative errno, or PLOOP_END_REQUEUE. Any context.
inline void end_request(ploop_rq *rq, int error)
{
	must_hold(stage_of(rq) != Stage::over, "5: each request ends once");
	set_stage(rq, Stage::over);
	ph_rq_end(rq, error);
}
inline bool has_mark(const ploop_rq *rq, Mark mark)
{
	return (rq->marks & mark) != 0;
}
inline void set_mark(ploop_rq *rq, Mark mark)
{
	rq->marks = static_cast<uint8_t>(rq->marks | mark);
}
inline void clear_mark(ploop_rq *rq, Mark mark)
{
	rq->marks = static_cast<uint8_t>(rq->marks & ~mark);
}
inline uint32_t bytes_of(const ploop_rq *rq)
{
	return rq->nr_sectors << PLOOP_SECTOR_SHIFT;
}
inline bool is_write(const ploop_rq *rq)
{
	return rq->op == PLOOP_RQ_WRITE;
}
inline bool is_fua(const ploop_rq *rq)
{
	return (rq->flags & PLOOP_RQ_FUA) != 0;
}

// First in, first out; a request is in one queue at most. Not synchronised.
class RequestQueue {
public:
	RequestQueue() = default;
	RequestQueue(const RequestQueue &) = delete;
	RequestQueue &operator=(const RequestQueue &) = delete;

	bool empty() const { return first_ == nullptr; }
	uint64_t count() const { return count_; }
	ploop_rq *first() const { return first_ != nullptr ? request_of(first_) : nullptr; }
	// The one behind @rq, which is in this queue.
	ploop_rq *next(const ploop_rq *rq) const
	{
		return rq->after != nullptr ? request_of(rq->after) : nullptr;
	}

	void push(ploop_rq *rq)
	{
		rq->after = nullptr;
		if (last_ != nullptr)
			request_of(last_)->after = &rq->node;
		else
			first_ = &rq->node;
		last_ = &rq->node;
		count_++;
	}

	void push_front(ploop_rq *rq)
	{
		rq->after = first_;
		first_ = &rq->node;
		if (last_ == nullptr)
			last_ = first_;
		count_++;
	}

	ploop_rq *pop()
	{
		if (first_ == nullptr)
			return nullptr;
		ploop_rq *rq = request_of(first_);
		first_ = rq->after;
		if (first_ == nullptr)
			last_ = nullptr;
		count_--;
		return rq;
	}

	// Moves all of @other behind those here.
	void splice(RequestQueue &other)
	{
		while (ploop_rq *rq = other.pop())
			push(rq);
	}

	// Puts it in its place by order of arrival; cheap where it is the newest.
	void insert_by_arrival(ploop_rq *rq)
	{
		if (last_ == nullptr || request_of(last_)->park_order < rq->park_order)
			return push(rq);
		ploop_node **place = &first_;
		while (request_of(*place)->park_order < rq->park_order)
			place = &request_of(*place)->after;
		rq->after = *place;
		*place = &rq->node;
		count_++;
	}

private:
	ploop_node *first_ = nullptr;
	ploop_node *last_ = nullptr;
	uint64_t count_ = 0;
};

} // namespace ploop
