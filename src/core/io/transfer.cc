// SPDX-License-Identifier: GPL-2.0
#include "io/transfer.h"

namespace ploop {

const Delta &Transfers::delta_of(const ploop_rq *rq) const
{
	return stack_.delta(DeltaId(state(rq).delta));
}

// Of what is left of it.
bool Transfers::is_aligned(const ploop_rq *rq) const
{
	const uint32_t align = delta_of(rq).facts().dio_align_bytes;
	const uint64_t offset = state(rq).file_offset + state(rq).done_bytes;
	const uint32_t left = bytes_of(rq) - state(rq).done_bytes;

	return align != 0 && ((offset | left) & (align - 1)) == 0;
}

void Transfers::start(ploop_rq *rq, MapWord word, Stage stage, bool try_inline)
{
	const Geometry &geometry = stack_.geometry();
	const Delta &delta = stack_.delta(word.delta);
	uint32_t flags = 0;

	set_stage(rq, stage);
	state(rq).delta = word.delta.raw();
	state(rq).file_offset =
		geometry.offset_of(word.cluster) +
		(uint64_t{geometry.sector_in_cluster(stack_.position(rq))} << PLOOP_SECTOR_SHIFT);
	state(rq).done_bytes = 0;
	clear_mark(rq, kMarkInline);
	clear_mark(rq, kMarkCopied);
	if (!is_aligned(rq)) {
		set_mark(rq, kMarkCopied);
		clear_mark(rq, kMarkDurable);
		flags = PLOOP_IO_COPIED;
	} else if (has_mark(rq, kMarkDurable)) {
		flags = PLOOP_IO_DSYNC;
	} else if (try_inline && delta.facts().inline_ok) {
		set_mark(rq, kMarkInline);
		flags = PLOOP_IO_INLINE;
	}
	ph_rq_io(rq, delta.file(), state(rq).file_offset, 0, bytes_of(rq), flags);
}

// Goes on with what is left, in a worker.
void Transfers::resume(ploop_rq *rq)
{
	const uint32_t left = bytes_of(rq) - state(rq).done_bytes;

	clear_mark(rq, kMarkInline);
	// Whatever is done in another way is durable with a commit only.
	clear_mark(rq, kMarkDurable);
	if (!is_aligned(rq))
		set_mark(rq, kMarkCopied);
	ph_rq_io(rq, delta_of(rq).file(), state(rq).file_offset + state(rq).done_bytes,
		 state(rq).done_bytes, left, has_mark(rq, kMarkCopied) ? PLOOP_IO_COPIED : 0);
}

// After this error, is there another way to try?
bool Transfers::begins_anew(ploop_rq *rq, int64_t result)
{
	const bool was_inline = has_mark(rq, kMarkInline);
	const bool was_direct = !has_mark(rq, kMarkCopied);

	// What could not be done without waiting is done by the host's worker. There a
	// read learns, too, whether the error was its own: Linux 6.1 tells it of one of
	// another's writeback, once.
	if (was_inline && !(is_write(rq) && (result == -kENOSPC || result == -kEIO)))
		return true;
	// The error may be its sync's: the commit that it joins tells, to all.
	if (has_mark(rq, kMarkDurable))
		return true;
	if (!was_inline && !is_write(rq) && !has_mark(rq, kMarkReadAgain)) {
		set_mark(rq, kMarkReadAgain);
		return true;
	}
	// Direct I/O has rules of its own for memory and length; a copy meets them.
	if (was_direct && (result == -kEINVAL || result == -kEOPNOTSUPP || result == -kEAGAIN)) {
		set_mark(rq, kMarkCopied);
		return true;
	}
	return false;
}

void Transfers::done(ploop_rq *rq, int64_t result)
{
	if (result > 0) {
		state(rq).done_bytes += static_cast<uint32_t>(result);
		return state(rq).done_bytes < bytes_of(rq) ? resume(rq) : ended(rq, {});
	}
	if (result < 0 && begins_anew(rq, result))
		return resume(rq);
	// No progress and no error: the file was cut short behind our back.
	ended(rq, result == 0 ? Status::error(kEIO) : Status::from(result));
}

// Pushes come before the epoch is left: when an epoch has drained, all that its
// requests had to say lies in the inbox or the parking lot. The request may be
// gone once it is pushed.
void Transfers::ended(ploop_rq *rq, Status status)
{
	ploop_host *const host = host_;
	const uint32_t epoch = state(rq).epoch;

	state(rq).epoch = kNoEpoch;
	state(rq).error = status.code();
	if (status.ok() && has_mark(rq, kMarkFirst))
		parking_.space_proved();
	if (stage_of(rq) == Stage::first_data) {
		inbox_.send(rq, Stage::data_done);
	} else if (status.no_space() && is_write(rq)) {
		parking_.park(rq);
	} else if (has_mark(rq, kMarkProbe)) {
		inbox_.send(rq, Stage::ended);
	} else if (status.ok() && is_write(rq) && is_fua(rq) && !has_mark(rq, kMarkDurable)) {
		inbox_.send(rq, Stage::commit);
	} else {
		ph_epoch_exit(host, epoch);
		return end_request(rq, status.code());
	}
	ph_epoch_exit(host, epoch);
}

} // namespace ploop
