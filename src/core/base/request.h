// SPDX-License-Identifier: GPL-2.0
// Requests as the core sees them: stages, marks, and queues of them.
#pragma once

#include <utility>

#include "base/invariant.h"
#include "base/types.h"
#include "ploop/target.h"

namespace ploop {

// Where a request is, and so what the end of its I/O, or its arrival at the
// worker, means.
enum class Stage : uint8_t {
	fresh,	    // nothing was done yet
	overwrite,  // reading or writing a place that the map has
	first_data, // writing into a place that a slot prepares
	data_done,  // the same, ended: `error` says how
	lost,	    // brings back the clean cluster `place`, and begins anew
	commit,	    // data is written, waits for a full commit (FUA)
	ended,	    // to be ended by the worker: `error` says how
	over,	    // ended: the host's again
};

enum Mark : uint16_t {
	kMarkInline = 1,     // the last try was in the submitter's context
	kMarkCopied = 2,     // the host copies its data from now on
	kMarkProbe = 4,	     // its outcome tells whether there is space again
	kMarkRetried = 8,    // had its one retry of a flushing suspend
	kMarkFirst = 16,     // writes into a new cluster, which needs space, most likely
	kMarkReadAgain = 32, // a read that was tried again after an error
	kMarkDurable = 64,   // is durable when its I/O has ended
	kMarkSettled = 128,  // has waited for what was in quarantine
	kMarkUntried = 256,  // waits because others do, and was not refused space itself
};

constexpr uint32_t kNoEpoch = ~0u;
constexpr uint32_t kNoSlot = ~0u;

// The core's part of a request, in the room that the contract has for it. It begins
// as zero.
struct __attribute__((may_alias)) RequestState {
	ploop_node node;      // inbox, park, or one of the lists
	ploop_node *after;    // next in an ordered list; in the parked queue: a sibling
	ploop_node *children; // in the parked queue
	uint64_t file_offset; // bytes, of the I/O under way; of a range: sectors, where it goes on
	uint64_t park_order;  // 0: never parked
	uint64_t parked_at_ms;
	uint32_t done_bytes;
	uint32_t epoch; // entered, or none
	uint32_t slot;	// of a place that is being prepared, or none
	uint32_t place; // a clean cluster that it brings back
	int32_t error;
	uint16_t marks; // enum Mark
	uint8_t stage;	// enum Stage
	uint8_t delta;	// whose file its I/O is on: a DeltaId, valid while it is in its epoch
};
static_assert(sizeof(RequestState) <= sizeof(ploop_rq::core_room));
static_assert(alignof(RequestState) <= alignof(uint64_t));

inline RequestState &state(ploop_rq *rq)
{
	return *reinterpret_cast<RequestState *>(rq->core_room);
}
inline const RequestState &state(const ploop_rq *rq)
{
	return *reinterpret_cast<const RequestState *>(rq->core_room);
}

inline ploop_rq *request_of(ploop_node *node)
{
	static_assert(offsetof(RequestState, node) == 0);
	return reinterpret_cast<ploop_rq *>(reinterpret_cast<char *>(node) -
					    offsetof(ploop_rq, core_room));
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
	return static_cast<Stage>(state(rq).stage);
}
inline void set_stage(ploop_rq *rq, Stage stage)
{
	state(rq).stage = static_cast<uint8_t>(stage);
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
	return (state(rq).marks & mark) != 0;
}
inline void set_mark(ploop_rq *rq, Mark mark)
{
	state(rq).marks = static_cast<uint16_t>(state(rq).marks | mark);
}
inline void clear_mark(ploop_rq *rq, Mark mark)
{
	state(rq).marks = static_cast<uint16_t>(state(rq).marks & ~mark);
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
	void push(ploop_rq *rq)
	{
		state(rq).after = nullptr;
		if (last_ != nullptr)
			state(request_of(last_)).after = &state(rq).node;
		else
			first_ = &state(rq).node;
		last_ = &state(rq).node;
		count_++;
	}

	void push_front(ploop_rq *rq)
	{
		state(rq).after = first_;
		first_ = &state(rq).node;
		if (last_ == nullptr)
			last_ = first_;
		count_++;
	}

	ploop_rq *pop()
	{
		if (first_ == nullptr)
			return nullptr;
		ploop_rq *rq = request_of(first_);
		first_ = state(rq).after;
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

private:
	ploop_node *first_ = nullptr;
	ploop_node *last_ = nullptr;
	uint64_t count_ = 0;
};

} // namespace ploop
