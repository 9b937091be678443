// SPDX-License-Identifier: GPL-2.0
// File operations of the core's own, waited for or handed to the worker.
#pragma once

#include "base/inbox.h"
#include "base/mode.h"
#include "base/types.h"
#include "ploop/host.h"

namespace ploop {

// An operation whose end is handled by the target's worker, in order with all
// else it does. Owned by the part of the target that uses it; one at a time.
class Operation {
public:
	using Handler = void (*)(void *part, Operation &operation, int64_t result);

	Operation() = default;
	Operation(const Operation &) = delete;
	Operation &operator=(const Operation &) = delete;
	~Operation() { ph_op_free(op_); }

	// Once. @method: of @part, called with each operation that has ended and its
	// result. @argument comes back through argument().
	template <auto method, class Part>
	Status create(Part &part, ploop_host *host, Inbox &inbox, uint32_t argument = 0)
	{
		const Handler handler = [](void *self, Operation &operation, int64_t result) {
			(static_cast<Part *>(self)->*method)(operation, result);
		};
		return create(&part, handler, host, inbox, argument);
	}

	// Once, by who starts syncs: their ends are told to @modes before the worker hears.
	void report_syncs(Modes &modes) { modes_ = &modes; }

	// Starts it; the handler is called once, later, by the worker. An error of the
	// moment is tried again a few times first.
	void start(ploop_op_kind kind, ploop_file *file, uint64_t offset, uint64_t bytes,
		   void *buffer = nullptr);

	// A PUNCH or ZERO that this file, or this range, does not allow is done by
	// writing zeros: true, and the handler is called again.
	bool zero_otherwise(int64_t result);

	// Starts the same once more, as it was or with what is left of it.
	void restart();

	bool running() const { return running_; }
	uint32_t argument() const { return argument_; }
	uint64_t offset() const { return op_->offset; }
	uint64_t bytes() const { return op_->bytes; }
	ploop_op_kind kind() const { return op_->kind; }

	// The worker: calls the handler of an operation that has ended.
	static void ended(ploop_node *node);

private:
	Status create(void *part, Handler handler, ploop_host *host, Inbox &inbox,
		      uint32_t argument);
	static void done(ploop_op *op, int64_t result);

	ploop_op *op_ = nullptr;
	void *part_ = nullptr;
	Inbox *inbox_ = nullptr;
	Modes *modes_ = nullptr;
	Handler handler_ = nullptr;
	uint32_t argument_ = 0;
	uint32_t tries_ = 0;
	bool running_ = false;
};

// An operation that the caller waits for: constructor and resume.
class WaitedOperation {
public:
	explicit WaitedOperation(ploop_host *host) : op_(ph_op_new(host)) {}
	WaitedOperation(const WaitedOperation &) = delete;
	WaitedOperation &operator=(const WaitedOperation &) = delete;
	~WaitedOperation() { ph_op_free(op_); }

	bool exists() const { return op_ != nullptr; }
	// The operation's result. Process context, sleeps.
	int64_t run(ploop_op_kind kind, ploop_file *file, uint64_t offset, uint64_t bytes,
		    void *buffer = nullptr);
	// A read or write of exactly @bytes: a shorter one is -ENODATA or -ENOSPC.
	Status run_whole(ploop_op_kind kind, ploop_file *file, uint64_t offset, uint64_t bytes,
			 void *buffer);

private:
	ploop_op *op_;
};

} // namespace ploop
