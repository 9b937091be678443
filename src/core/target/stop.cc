// SPDX-License-Identifier: GPL-2.0
#include "target/stop.h"

namespace ploop {

Status Stop::create()
{
	mark_buffer_ = static_cast<uint32_t *>(ph_alloc(sizeof(uint32_t)));
	if (mark_buffer_ == nullptr)
		return Status::error(kENOMEM);
	operation_.report_syncs(modes_);
	return operation_.create<&Stop::on_operation>(*this, host_, inbox_);
}

void Stop::reset()
{
	state_ = State::none;
	status_ = {};
	inbox_.set_still(false);
	outage_.set_stopping(false);
	low_space_.set_stopping(false);
	quarantine_.restart();
	committer_.restart();
}

void Stop::begin()
{
	outage_.set_stopping(true);
	low_space_.set_stopping(true);
	committer_.set_stopping(true);
	pool_.set_ahead(false);
	move_to(State::quiet);
}

// Is nothing under way that the worker knows of? Mapped I/O it does not know: for that
// the epoch is flipped.
bool Stop::is_quiet() const
{
	return !inbox_.has_ready() && new_places_.idle() && ranges_.idle() && pool_.idle() &&
	       !committer_.running() && !committer_.waiting() && outage_.holds_nothing() &&
	       low_space_.idle();
}

// The one place where the state changes; false if it stays.
bool Stop::move_to(State state)
{
	if (state == state_)
		return false;
	state_ = state;
	enter(state);
	return true;
}

// What leads on from the state; false if it has to be waited for.
bool Stop::step()
{
	switch (state_) {
	case State::quiet:
		return move_to(from_quiet());
	case State::drain:
		return move_to(from_drain());
	case State::commit:
		return move_to(from_commit());
	case State::freeing:
		return move_to(from_freeing());
	case State::settle:
		return move_to(quarantine_.settled() ? State::done : State::settle);
	case State::none:
	case State::trim: // these end with their operation
	case State::mark:
	case State::sync:
	case State::done:
		return false;
	}
	return false;
}

Stop::State Stop::from_quiet()
{
	outage_.suspend_ends();
	return is_quiet() ? State::drain : State::quiet;
}

Stop::State Stop::from_drain()
{
	outage_.suspend_ends();
	if (!quarantine_.drained())
		return State::drain;
	// What was begun on mapped clusters meanwhile is in the new epoch.
	if (new_places_.has_begun() || !is_quiet())
		return State::quiet;
	if (policy_.read_only)
		return State::done;
	if (modes_.failed())
		return fail(Status::error(kEIO));
	return State::commit;
}

Stop::State Stop::from_commit()
{
	if (!committer_.idle())
		return State::commit;
	if (!committer_.last_status().ok())
		return fail(committer_.last_status());
	return State::freeing;
}

// What is left after a few seconds is given back after the next resume.
Stop::State Stop::from_freeing()
{
	if (ph_now_ms() >= freeing_until_ms_)
		quarantine_.stop_freeing();
	return quarantine_.settled() ? State::trim : State::freeing;
}

// What an earlier commit has freed is still on its way to the host.
Stop::State Stop::fail(Status status)
{
	status_ = status;
	quarantine_.stop_freeing();
	return State::settle;
}

void Stop::enter(State state)
{
	switch (state) {
	case State::quiet:
		pool_.open();
		pool_.set_ahead(false);
		inbox_.kick();
		return;
	case State::drain:
		pool_.close();
		new_places_.has_begun();
		quarantine_.want_drain();
		return quarantine_.run();
	case State::commit:
		pool_.empty();
		committer_.want();
		return committer_.run();
	case State::freeing:
		freeing_until_ms_ = ph_now_ms() + kFreeingMs;
		return quarantine_.run();
	case State::trim:
		sync_errors_since_ = modes_.nr_sync_errors();
		if (stack_.top().facts().block_device || stack_.top().larger_than(space_.limit()) ||
		    ph_file_size(stack_.top().file()) <= end_bytes())
			return static_cast<void>(move_to(State::mark));
		return operation_.start(PLOOP_OP_TRUNCATE, stack_.top().file(), end_bytes(), 0);
	case State::mark:
		if (!marked_)
			return static_cast<void>(move_to(State::sync));
		*mark_buffer_ = to_le32(kClosed);
		return operation_.start(PLOOP_OP_WRITE_BUFFERED, stack_.top().file(), kInUseOffset,
					sizeof(uint32_t), mark_buffer_);
	case State::sync:
		return operation_.start(PLOOP_OP_SYNC, stack_.top().file(), 0, 0);
	case State::done:
		return finish();
	case State::none:
	case State::settle:
		return;
	}
}

uint64_t Stop::end_bytes() const
{
	return space_.taken_end() * stack_.geometry().cluster_bytes();
}

// A tail that stays, or a mark, harms nobody: the data and the map are durable.
void Stop::on_operation(Operation &, int64_t result)
{
	switch (state_) {
	case State::trim:
		move_to(State::mark);
		return;
	case State::mark:
		if (result == sizeof(uint32_t))
			marked_ = false;
		move_to(State::sync);
		return;
	case State::sync:
		status_ = modes_.sync_result(Status::from(result), sync_errors_since_);
		move_to(State::done);
		return;
	case State::none:
	case State::quiet:
	case State::drain:
	case State::commit:
	case State::freeing:
	case State::settle:
	case State::done:
		return;
	}
}

// Nothing is newer in memory than in the file, which is whole.
bool Stop::is_closed() const
{
	return dirty_.count() == 0 && quarantine_.settled() &&
	       (stack_.top().facts().block_device ||
		ph_file_size(stack_.top().file()) % stack_.geometry().cluster_bytes() == 0);
}

void Stop::finish()
{
	must_hold(!status_.ok() || policy_.read_only || is_closed(),
		  "7: suspended means consistent");
	inbox_.set_still(true);
	outage_.report_ended();
	ph_wait_signal(&wait_);
}

} // namespace ploop
