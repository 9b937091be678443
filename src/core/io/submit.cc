// SPDX-License-Identifier: GPL-2.0
#include "io/submit.h"

namespace ploop {

void Submitter::map(ploop_rq *rq)
{
	static_assert(static_cast<int>(Stage::fresh) == 0); // as the request begins
	state(rq).epoch = kNoEpoch;
	state(rq).slot = kNoSlot;

	switch (static_cast<ploop_rq_op>(rq->op)) {
	case PLOOP_RQ_READ:
		return read(rq);
	case PLOOP_RQ_WRITE:
		return write(rq);
	case PLOOP_RQ_FLUSH:
		return durability_.flush(rq);
	case PLOOP_RQ_DISCARD:
	case PLOOP_RQ_WRITE_ZEROES:
		return inbox_.send(rq, Stage::fresh);
	}
}

void Submitter::leave(ploop_rq *rq)
{
	ph_epoch_exit(host_, std::exchange(state(rq).epoch, kNoEpoch));
}

void Submitter::read(ploop_rq *rq)
{
	// Before the map is read: the cluster is not reused while we are in.
	state(rq).epoch = ph_epoch_enter(host_);
	const MapWord word = map_.get(stack_.cluster_of(rq));

	if (word.has_place())
		return transfers_.start(rq, word, Stage::overwrite,
					(rq->flags & PLOOP_RQ_INLINE) != 0);
	leave(rq);
	ph_rq_zero_fill(rq);
	end_request(rq, 0);
}

void Submitter::write(ploop_rq *rq)
{
	if (const Status shut = gate_.status(); !shut.ok())
		return end_request(rq, shut.code());
	if (policy_.read_only)
		return end_request(rq, -kEROFS);

	state(rq).epoch = ph_epoch_enter(host_);
	const MapWord word = map_.get(stack_.cluster_of(rq));

	if (word.is_tops())
		return overwrite(rq, word);
	if (word.state == MapState::hole && stack_.top().facts().zeros_honest)
		return write_hole(rq);
	leave(rq);
	inbox_.send(rq, Stage::fresh);
}

void Submitter::overwrite(ploop_rq *rq, MapWord word)
{
	// Whoever published it may not have marked the page yet, and a flush that finds
	// no mark would take our data for durable.
	if (word.state == MapState::fresh) {
		dirty_.mark(stack_.cluster_of(rq));
		set_mark(rq, kMarkFirst);
	}
	if (is_fua(rq) && word.state == MapState::durable && stack_.top().facts().fua)
		set_mark(rq, kMarkDurable);
	// What was never written is a hole of a file's, most likely, which its file system does
	// not fill without waiting; nor what is reserved: ext4 begins a transaction for it in
	// spite of NOWAIT. A device has neither.
	transfers_.start(rq, word, Stage::overwrite,
			 (rq->flags & PLOOP_RQ_INLINE) != 0 && (word.state != MapState::fresh ||
								stack_.top().facts().block_device));
}

// A first write: takes a clean cluster, publishes it, and goes on as an overwrite.
void Submitter::write_hole(ploop_rq *rq)
{
	MapWord word = MapWord::at(MapState::fresh, stack_.top().id(), FileCluster());

	// Zeros into a hole are there already; FUA asks whether durably so.
	if (ph_rq_is_zero(rq)) {
		const bool joins = is_fua(rq) && dirty_.count() != 0;
		leave(rq);
		return joins ? inbox_.send(rq, Stage::commit) : end_request(rq, 0);
	}
	if (parking_.holds_back(rq)) {
		set_mark(rq, kMarkUntried);
		// The push before the epoch is left, as always.
		const uint32_t epoch = std::exchange(state(rq).epoch, kNoEpoch);
		parking_.park(rq);
		return ph_epoch_exit(host_, epoch);
	}
	if (!pool_.take(word.cluster)) {
		leave(rq);
		return inbox_.send(rq, Stage::fresh);
	}
	if (publish(rq, word))
		overwrite(rq, word);
}

// True if @word is what the cluster is now, and may be written; else the worker has
// the request.
bool Submitter::publish(ploop_rq *rq, MapWord &word)
{
	const FileCluster place = word.cluster;

	if (map_.publish(stack_.cluster_of(rq), word))
		return true;
	// Somebody else was first: the cluster is clean still.
	if (!pool_.put_back(place)) {
		const uint32_t epoch = std::exchange(state(rq).epoch, kNoEpoch);
		state(rq).place = place.raw();
		inbox_.send(rq, Stage::lost);
		ph_epoch_exit(host_, epoch);
		return false;
	}
	if (word.is_tops())
		return true;
	leave(rq);
	inbox_.send(rq, Stage::fresh);
	return false;
}

} // namespace ploop
