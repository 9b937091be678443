// SPDX-License-Identifier: GPL-2.0
// File operations of the core's own, waited for or handed to the worker.
#pragma once

#include "base/types.h"
#include "ploop/host.h"

namespace ploop {

class Target;

// An operation whose end is handled by the target's worker, in order with all
// else it does. Owned by the part of the target that uses it; one at a time.
class Operation {
public:
	using Handler = void (*)(Target &target, Operation &operation, int64_t result);

	Operation() = default;
	Operation(const Operation &) = delete;
	Operation &operator=(const Operation &) = delete;
	~Operation() { ph_op_free(op_); }

	// Once. @argument comes back through argument().
	Status create(Target &target, ploop_host *host, Handler handler, uint32_t argument = 0);

	// Starts it; the handler is called once, later, by the worker.
	void start(ploop_op_kind kind, ploop_file *file, uint64_t offset, uint64_t bytes,
		   void *buffer = nullptr);

	// A PUNCH or ZERO that this file, or this range, does not allow is done by
	// writing zeros: true, and the handler is called again.
	bool zero_otherwise(int64_t result);

	bool running() const { return running_; }
	uint32_t argument() const { return argument_; }
	uint64_t offset() const { return op_->offset; }
	uint64_t bytes() const { return op_->bytes; }
	ploop_op_kind kind() const { return op_->kind; }

	// The worker: calls the handler of an operation that has ended.
	static void ended(ploop_node *node);

private:
	static void done(ploop_op *op, int64_t result);

	ploop_op *op_ = nullptr;
	Target *target_ = nullptr;
	Handler handler_ = nullptr;
	uint32_t argument_ = 0;
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
