// SPDX-License-Identifier: GPL-2.0
#include "io/ranges.h"

namespace ploop {

Status Ranges::create()
{
	for (uint32_t i = 0; i < kWalks; i++)
		PLOOP_TRY(walks_[i].zero.create<&Ranges::on_zeroed>(*this, host_, inbox_, i));
	return {};
}

bool Ranges::idle() const
{
	for (const Walk &walk : walks_) {
		if (walk.rq != nullptr)
			return false;
	}
	return queue_.empty();
}

// Zeros that are to keep, or get, their space.
bool Ranges::keeps_space(const ploop_rq *rq) const
{
	return rq->op == PLOOP_RQ_WRITE_ZEROES && (rq->flags & PLOOP_RQ_NOUNMAP) != 0;
}

Ranges::Walk *Ranges::walk_of(const ploop_rq *rq)
{
	for (Walk &walk : walks_) {
		if (walk.rq == rq)
			return &walk;
	}
	return nullptr;
}

void Ranges::start(ploop_rq *rq)
{
	if (Walk *const walk = walk_of(rq); walk != nullptr)
		walk->waiting = false; // there may be a place for it now: look again
	else
		queue_.push(rq);
}

void Ranges::run()
{
	for (Walk &walk : walks_) {
		uint32_t steps = 0;
		while (advance(walk, steps)) {
		}
		if (steps >= kClustersAtATime)
			inbox_.kick(); // others have their turn
	}
}

// One step of a walk; false if there is none to make now.
bool Ranges::advance(Walk &walk, uint32_t &steps)
{
	if (walk.waiting || steps >= kClustersAtATime)
		return false;
	if (walk.rq == nullptr && !begin_next(walk))
		return false;
	steps++;
	const Piece piece = piece_of(walk);
	if (piece.nr_sectors == 0)
		finish(walk, {});
	else
		step(walk, piece);
	return true;
}

bool Ranges::begin_next(Walk &walk)
{
	while (ploop_rq *rq = queue_.pop()) {
		// A discard takes no space and promises nothing, and it may be what frees
		// the space that the latch of a flush is about.
		const Status shut = gate_.status();
		const bool exempt = rq->op == PLOOP_RQ_DISCARD && shut.no_space();
		if (!shut.ok() && !exempt) {
			endings_.finish(rq, shut);
			continue;
		}
		walk.rq = rq;
		walk.cursor =
			state(rq).file_offset != 0 ? state(rq).file_offset : stack_.position(rq);
		return true;
	}
	return false;
}

Ranges::Piece Ranges::piece_of(const Walk &walk) const
{
	const Geometry &geometry = stack_.geometry();
	const uint64_t end = stack_.position(walk.rq) + walk.rq->nr_sectors;
	const uint32_t first = geometry.sector_in_cluster(walk.cursor);
	const uint32_t length = static_cast<uint32_t>(
		min_of<uint64_t>(geometry.cluster_sectors() - first, end - walk.cursor));
	// The image's last cluster may be a short one.
	const bool to_the_end = length == geometry.cluster_sectors() ||
				walk.cursor + length == stack_.top().header().size_sectors();

	return {geometry.cluster_of(walk.cursor), first, length, first == 0 && to_the_end};
}

void Ranges::step(Walk &walk, const Piece &piece)
{
	const bool zeroes = walk.rq->op == PLOOP_RQ_WRITE_ZEROES;
	const bool keeps = keeps_space(walk.rq);

	// What another walk unmaps meanwhile is not used again before we have left.
	walk.epoch = ph_epoch_enter(host_);
	const MapWord word = map_.get(piece.cluster);

	// Data on its way into a slot was not acknowledged yet: it may come before or
	// after us.
	if (word.is_tops() && zeroes && (keeps || !piece.whole))
		return zero(walk, piece, word);
	if (word.is_tops() && piece.whole && !unmap(piece, word) && zeroes)
		return zero(walk, piece, word);
	if (word.state == MapState::hole && keeps && policy_.fallocate_new.load_relaxed()) {
		// What waits for space must not keep others from freeing some.
		leave(walk);
		walk.waiting = true;
		return new_places_.allocate(walk.rq, piece.cluster, *this);
	}
	piece_done(walk, {});
}

// False if there is no memory to remember the cluster: a discard is advice.
bool Ranges::unmap(const Piece &piece, MapWord word)
{
	must_hold(space_.is_used(word.cluster), "2: what is mapped is not free");
	if (!unmapped_.add(word.cluster))
		return false;
	dirty_.mark(piece.cluster);
	map_.set(piece.cluster, MapWord{});
	return true;
}

void Ranges::zero(Walk &walk, const Piece &piece, MapWord word)
{
	const uint64_t offset = stack_.geometry().offset_of(word.cluster) +
				(uint64_t{piece.first_sector} << PLOOP_SECTOR_SHIFT);

	if (word.state == MapState::fresh)
		dirty_.mark(piece.cluster);
	walk.waiting = true;
	walk.zero.start(keeps_space(walk.rq) ? PLOOP_OP_ZERO : PLOOP_OP_PUNCH, stack_.top().file(),
			offset, uint64_t{piece.nr_sectors} << PLOOP_SECTOR_SHIFT);
}

void Ranges::on_zeroed(Operation &operation, int64_t result)
{
	if (operation.zero_otherwise(result))
		return;
	piece_done(walks_[operation.argument()], Status::from(result));
}

void Ranges::allocated(ploop_rq *rq, Status status)
{
	piece_done(*walk_of(rq), status);
}

// The piece is as the request wants it now, or not.
void Ranges::piece_done(Walk &walk, Status status)
{
	walk.waiting = false;
	leave(walk);
	if (status.no_space())
		return park(walk);
	if (!status.ok())
		return finish(walk, status);
	clear_mark(walk.rq, kMarkSettled); // the next cluster is a want of its own
	walk.cursor += piece_of(walk).nr_sectors;
}

void Ranges::leave(Walk &walk)
{
	if (walk.epoch != kNoEpoch)
		ph_epoch_exit(host_, std::exchange(walk.epoch, kNoEpoch));
}

void Ranges::park(Walk &walk)
{
	ploop_rq *const rq = std::exchange(walk.rq, nullptr);

	state(rq).file_offset = walk.cursor;
	parking_.park(rq);
}

void Ranges::finish(Walk &walk, Status status)
{
	endings_.finish(std::exchange(walk.rq, nullptr), status);
}

} // namespace ploop
