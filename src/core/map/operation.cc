// SPDX-License-Identifier: GPL-2.0
#include "map/operation.h"

#include "base/invariant.h"
#include "format/format.h"

namespace ploop {

namespace {

// Does it change bytes of the file, at an offset?
bool writes(ploop_op_kind kind)
{
	switch (kind) {
	case PLOOP_OP_WRITE:
	case PLOOP_OP_WRITE_BUFFERED:
	case PLOOP_OP_PUNCH:
	case PLOOP_OP_ZERO:
	case PLOOP_OP_WRITE_ZEROES:
		return true;
	case PLOOP_OP_READ:
	case PLOOP_OP_SYNC:
	case PLOOP_OP_TRUNCATE:
	case PLOOP_OP_RESERVE:
	case PLOOP_OP_FREE_SPACE:
		return false;
	}
	return true;
}

constexpr uint32_t kTriesMost = 8;

// Of the header that is the in-use mark alone.
bool is_ours(uint64_t offset, uint64_t bytes)
{
	return offset >= kHeaderBytes || (offset == kInUseOffset && bytes == sizeof(uint32_t));
}

} // namespace

Status Operation::create(void *part, Handler handler, ploop_host *host, Inbox &inbox,
			 uint32_t argument)
{
	part_ = part;
	inbox_ = &inbox;
	handler_ = handler;
	argument_ = argument;
	op_ = ph_op_new(host);
	if (op_ == nullptr)
		return Status::error(kENOMEM);
	op_->owner = this;
	op_->done = done;
	return {};
}

void Operation::start(ploop_op_kind kind, ploop_file *file, uint64_t offset, uint64_t bytes,
		      void *buffer)
{
	must_hold(!inbox_->still(), "7: suspended means still");
	must_hold(kind != PLOOP_OP_SYNC || modes_ != nullptr, "4: every sync is heard");
	must_hold(!writes(kind) || is_ours(offset, bytes), "6: foreign bytes stay");
	op_->kind = kind;
	op_->file = file;
	op_->offset = offset;
	op_->bytes = bytes;
	op_->buffer = buffer;
	tries_ = 0;
	restart();
}

void Operation::restart()
{
	running_ = true;
	ph_op_start(op_);
}

bool Operation::zero_otherwise(int64_t result)
{
	if ((result != -kEOPNOTSUPP && result != -kEINVAL) || kind() == PLOOP_OP_WRITE_ZEROES)
		return false;
	start(PLOOP_OP_WRITE_ZEROES, op_->file, offset(), bytes());
	return true;
}

void Operation::done(ploop_op *op, int64_t result)
{
	Operation *const operation = static_cast<Operation *>(op->owner);

	op->result = result;
	if (op->kind == PLOOP_OP_SYNC)
		operation->modes_->sync_ended(Status::from(result));
	operation->inbox_->send_ended(&op->node);
}

void Operation::ended(ploop_node *node)
{
	ploop_op *op = reinterpret_cast<ploop_op *>(reinterpret_cast<char *>(node) -
						    offsetof(ploop_op, node));
	Operation *operation = static_cast<Operation *>(op->owner);

	operation->running_ = false;
	if (Status::from(op->result).passes() && operation->tries_++ < kTriesMost)
		return operation->restart();
	operation->handler_(operation->part_, *operation, op->result);
}

namespace {

void signal_done(ploop_op *op, int64_t result)
{
	op->result = result;
	ph_wait_signal(static_cast<ploop_wait *>(op->owner));
}

} // namespace

int64_t WaitedOperation::run(ploop_op_kind kind, ploop_file *file, uint64_t offset, uint64_t bytes,
			     void *buffer)
{
	ploop_wait wait;

	ph_wait_init(&wait);
	op_->kind = kind;
	op_->file = file;
	op_->offset = offset;
	op_->bytes = bytes;
	op_->buffer = buffer;
	op_->owner = &wait;
	op_->done = signal_done;
	ph_op_start(op_);
	ph_wait(&wait);
	return op_->result;
}

Status WaitedOperation::run_whole(ploop_op_kind kind, ploop_file *file, uint64_t offset,
				  uint64_t bytes, void *buffer)
{
	const int64_t result = run(kind, file, offset, bytes, buffer);

	if (result < 0)
		return Status::from(result);
	if (static_cast<uint64_t>(result) != bytes)
		return Status::error(kind == PLOOP_OP_READ ? kENODATA : kENOSPC);
	return {};
}

} // namespace ploop
