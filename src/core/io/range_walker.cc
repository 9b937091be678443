// SPDX-License-Identifier: GPL-2.0
#include "io/range_walker.h"

#include "target/target.h"

namespace ploop {

namespace {

bool keeps_space(const ploop_rq *rq)
{
	return rq->op == PLOOP_RQ_WRITE_ZEROES && (rq->flags & PLOOP_RQ_NOUNMAP) != 0;
}

} // namespace

Status RangeWalker::create(ploop_host *host)
{
	return zero_.create(target_, host, on_zeroed);
}

void RangeWalker::start(ploop_rq *rq)
{
	if (rq == current_)
		waiting_ = false; // it waited for its turn to allocate: look again
	else
		queue_.push(rq);
}

void RangeWalker::run()
{
	uint32_t steps = 0;

	while (!waiting_) {
		if (current_ == nullptr && !begin_next())
			return;
		if (steps++ == kClustersAtATime)
			return ph_kick(target_.host_); // others have their turn
		const Piece piece = next_piece();
		if (piece.nr_sectors == 0)
			finish({});
		else
			step(piece);
	}
}

bool RangeWalker::begin_next()
{
	while (ploop_rq *rq = queue_.pop()) {
		// A discard takes no space and promises nothing, and it may be what frees
		// the space that the latch of a flush is about.
		const Status shut = target_.gate();
		const bool exempt = rq->op == PLOOP_RQ_DISCARD && shut.no_space();
		if (!shut.ok() && !exempt) {
			target_.finish(rq, shut);
			continue;
		}
		current_ = rq;
		cursor_ = rq->file_offset != 0 ? rq->file_offset : target_.position(rq);
		return true;
	}
	return false;
}

RangeWalker::Piece RangeWalker::next_piece() const
{
	const Geometry &geometry = target_.geometry_;
	const uint64_t end = target_.position(current_) + current_->nr_sectors;
	const uint32_t first = geometry.sector_in_cluster(cursor_);
	const uint32_t length = static_cast<uint32_t>(
		min_of<uint64_t>(geometry.cluster_sectors() - first, end - cursor_));
	// The image's last cluster may be a short one.
	const bool to_the_end = length == geometry.cluster_sectors() ||
				cursor_ + length == target_.image_.header().size_sectors();

	return {geometry.cluster_of(cursor_), first, length, first == 0 && to_the_end};
}

void RangeWalker::step(const Piece &piece)
{
	const MapWord word = target_.map_.get(piece.cluster);
	const bool zeroes = current_->op == PLOOP_RQ_WRITE_ZEROES;

	// Data on its way into a pending cluster was not acknowledged yet: it may
	// come before or after us.
	if (word.is_mapped() && piece.whole && !keeps_space(current_))
		unmap(piece, word);
	else if (word.is_mapped() && zeroes)
		zero(piece, word);
	else if (word.state == MapState::hole && keeps_space(current_))
		allocate(piece);
	else
		advance(piece);
}

void RangeWalker::unmap(const Piece &piece, MapWord word)
{
	must_hold(target_.space_.is_used(word.cluster()), "2: what is mapped is not free");
	if (!target_.freer_.add(word.cluster())) {
		if (current_->op == PLOOP_RQ_WRITE_ZEROES)
			return zero(piece, word);
		return advance(piece); // a discard is advice
	}
	target_.map_.set(piece.cluster, MapWord{});
	target_.committer_.mark_dirty(piece.cluster);
	advance(piece);
}

void RangeWalker::zero(const Piece &piece, MapWord word)
{
	const uint64_t offset = target_.geometry_.offset_of(word.cluster()) +
				(uint64_t{piece.first_sector} << PLOOP_SECTOR_SHIFT);

	waiting_ = true;
	zero_piece_ = piece;
	zero_.start(keeps_space(current_) ? PLOOP_OP_ZERO : PLOOP_OP_PUNCH, target_.image_.file(),
		    offset, uint64_t{piece.nr_sectors} << PLOOP_SECTOR_SHIFT);
}

void RangeWalker::on_zeroed(Target &target, Operation &operation, int64_t result)
{
	if (operation.zero_otherwise(result))
		return;
	target.walker_.done(Status::from(result));
}

void RangeWalker::allocate(const Piece &piece)
{
	waiting_ = true;
	zero_piece_ = piece;
	target_.writer_.allocate(current_, piece.cluster);
}

// The piece that was waited for is zero now, or not.
void RangeWalker::done(Status status)
{
	waiting_ = false;
	if (status.no_space())
		return park();
	if (!status.ok())
		return finish(status);
	clear_mark(current_, kMarkHopes); // the next cluster is a want of its own
	advance(zero_piece_);
}

void RangeWalker::park()
{
	ploop_rq *const rq = current_;

	waiting_ = false;
	current_ = nullptr;
	rq->file_offset = cursor_;
	target_.outage_.park(rq);
}

void RangeWalker::advance(const Piece &piece)
{
	cursor_ += piece.nr_sectors;
}

void RangeWalker::finish(Status status)
{
	ploop_rq *const rq = current_;

	current_ = nullptr;
	target_.finish(rq, status);
}

} // namespace ploop
