// SPDX-License-Identifier: GPL-2.0
#include "nospace/outage.h"

#include "base/text.h"

namespace ploop {

// ---- Any context -------------------------------------------------------------

void Outage::park(ploop_rq *rq)
{
	const bool again = state(rq).park_order != 0;

	if (!again) {
		state(rq).park_order = arrivals_.add_relaxed(1);
		state(rq).parked_at_ms = ph_now_ms();
	}
	set_stage(rq, Stage::fresh);
	in_lot_.add_relaxed(1);
	// One that has waited before is due before those who wait: the timer of the
	// timeout may be set for later than that. And who let it go waits for its outcome.
	if (lot_.park(&state(rq).node) || again)
		inbox_.kick();
}

bool Outage::holds_back(const ploop_rq *rq) const
{
	return lasts_.load_relaxed() && (rq == nullptr || !has_mark(rq, kMarkProbe));
}

void Outage::space_proved()
{
	if (told_.load_relaxed())
		told_.store_relaxed(false);
}

// ---- The worker: who comes -----------------------------------------------------

void Outage::collect()
{
	// What was left over comes first; who has parked meanwhile is looked at after that.
	const bool left = arriving_ != nullptr;

	if (!left)
		take_lot(lot_.take());
	if (take_in() || left)
		inbox_.kick();
	act();
}

// Those that were parked lie behind those that were taken before.
void Outage::take_lot(ploop_node *newest_first)
{
	ploop_node **end = &arriving_;

	while (*end != nullptr)
		end = &(*end)->next;
	*end = oldest_first(newest_first);
}

// A bounded number of them; true if there are more.
bool Outage::take_in()
{
	uint64_t taken = 0;

	while (arriving_ != nullptr && taken < kAtATime) {
		ploop_rq *const rq = request_of(arriving_);
		arriving_ = arriving_->next;
		taken++;
		accept(rq);
	}
	if (taken == 0)
		return false;
	count_parked();
	in_lot_.add_release(0 - taken); // pairs with the acquire in nr_parked()
	return arriving_ != nullptr;
}

void Outage::take_all()
{
	take_lot(lot_.be_attentive());
	while (take_in()) {
	}
}

void Outage::accept(ploop_rq *rq)
{
	const Suspending suspending = policy_.suspending();
	const bool untried = has_mark(rq, kMarkUntried);

	clear_mark(rq, kMarkUntried);

	if (has_mark(rq, kMarkProbe)) {
		clear_mark(rq, kMarkProbe);
		nr_out_--;
		step_failed_ = true;
	}
	if (suspending == Suspending::noflush && ph_may_requeue(host_))
		return end_request(rq, PLOOP_END_REQUEUE);
	if (suspending == Suspending::flush && (has_mark(rq, kMarkRetried) || stopping_))
		return end_with_enospc(rq);
	if (suspending == Suspending::flush || !gate_.is_open()) {
		set_mark(rq, kMarkRetried);
		return inbox_.again(rq);
	}
	// The outage that it waited in has ended meanwhile: it is no reason for another.
	if (untried && !lasts())
		return inbox_.again(rq);
	if (policy_.expired(state(rq).parked_at_ms, ph_now_ms()) ||
	    (policy_.error_if_no_space.load_relaxed() && !may_settle(rq)))
		return end_with_enospc(rq);
	clear_mark(rq, kMarkRetried); // of a suspend that was undone
	parked_.insert(rq);
}

// Is there space on its way that the request was not tried with yet?
bool Outage::may_settle(const ploop_rq *rq) const
{
	return !lasts() && !has_mark(rq, kMarkSettled) && quarantine_.count() > 0;
}

bool Outage::settled() const
{
	return quarantine_.count() == 0 || quarantine_.gone() >= settle_until_;
}

// ---- The worker: the states ----------------------------------------------------

void Outage::move_to(State state)
{
	state_ = state;
}

// What the state asks for, when something has come or changed.
void Outage::act()
{
	switch (state_) {
	case State::clear:
		if (parked_.empty())
			return;
		if (!may_settle(parked_.first()))
			return begin();
		settle_until_ = quarantine_.added();
		move_to(State::settling);
		[[fallthrough]];
	case State::settling:
		if (parked_.empty())
			return move_to(State::clear);
		if (settled())
			return release(1);
		if (quarantine_.needs_commit())
			committer_.want();
		return;
	case State::releasing:
		if (nr_out_ == 0)
			step_ended();
		return;
	case State::waiting:
	case State::committing:
		return;
	}
}

void Outage::begin()
{
	lasts_.store_relaxed(true);
	delay_ms_ = policy_.retry_ms.load_relaxed();
	wait_for_timer();
	// What the event announces is there already: the requests are counted.
	alarm_.events().enospc.raise();
	modes_.set(Mode::nospace);
}

// From now on those who park do not wake the worker: the timer does. But the first to
// wait must be noticed, because its timeout runs, and so must who comes back late.
void Outage::wait_for_timer()
{
	move_to(State::waiting);
	ph_timer_arm(host_, PLOOP_TIMER_RETRY, delay_ms_);
	if (nr_out_ == 0 && !parked_.empty())
		lot_.be_quiet();
}

void Outage::on_timer()
{
	if (state_ == State::waiting)
		probe();
}

void Outage::probe()
{
	// What is tried may come back parked, from irq: it must be noticed at once.
	take_lot(lot_.be_attentive());
	take_in();
	if (committer_.parked()) {
		move_to(State::committing);
		nr_retries_.add_relaxed(1);
		return committer_.retry();
	}
	if (parked_.empty())
		return end_quietly(); // nobody waits, so nobody knows of space
	nr_retries_.add_relaxed(1);
	release(1);
}

// Lets the oldest go, so many of them.
void Outage::release(uint64_t step)
{
	step_ = step;
	step_failed_ = step_proved_ = false;
	move_to(State::releasing);
	while (step-- > 0 && !parked_.empty()) {
		ploop_rq *const rq = parked_.pop();
		set_mark(rq, kMarkProbe);
		if (!lasts() && settled())
			set_mark(rq, kMarkSettled);
		nr_out_++;
		inbox_.again(rq);
	}
	count_parked();
}

void Outage::tried(Status status)
{
	nr_out_--;
	step_proved_ = step_proved_ || status.ok();
	if (nr_out_ == 0 && state_ == State::releasing)
		step_ended();
}

// All that was let go is back, parked again or ended.
void Outage::step_ended()
{
	if (step_failed_ && !lasts()) {
		move_to(State::clear);
		return act();
	}
	if (step_failed_)
		return probe_failed();
	if (!gate_.is_open())
		return try_all(); // each ends with that error
	// An error of another kind says nothing about space: ask the next ones.
	const uint64_t next = step_proved_ ? step_ * 2 : step_;
	if (parked_.count() <= next && (step_proved_ || parked_.empty()))
		return release_rest();
	release(next);
}

void Outage::release_rest()
{
	if (step_proved_)
		modes_.set(Mode::rw);
	try_all();
}

void Outage::probe_failed()
{
	const bool progress = step_proved_ || step_ > 1;

	if (parked_.empty() && arriving_ == nullptr && !committer_.parked())
		return end_quietly(); // it was the last, and has waited long enough
	if (std::exchange(probe_again_, false))
		return probe();
	delay_ms_ = progress ? policy_.retry_ms.load_relaxed()
			     : min_of(delay_ms_ * 2,
				      max_of(kRetryLongestMs, policy_.retry_ms.load_relaxed()));
	wait_for_timer();
	// Who has read the last event and freed too little learns of it, and so does who
	// watches for events only.
	if (progress || !alarm_.enospc_pending())
		alarm_.raise_enospc();
}

// All who wait are tried, and nobody waits for their outcome.
void Outage::try_all()
{
	while (ploop_rq *rq = parked_.pop())
		inbox_.again(rq);
	end_quietly();
	if (committer_.parked())
		committer_.retry();
}

// Without a word, if nobody has given it yet: that nobody waits any more does not say
// that there is space. The timer goes last but one, and the look at the lot last: a
// quiet lot without a timer forgets whoever parks.
void Outage::end_quietly()
{
	modes_.forget_nospace();
	ph_timer_stop(host_, PLOOP_TIMER_RETRY);
	lasts_.store_relaxed(false);
	move_to(State::clear);
	probe_again_ = false;
	count_parked();
	take_lot(lot_.be_attentive());
	if (arriving_ != nullptr)
		inbox_.kick();
}

// ---- The worker: what happens elsewhere -----------------------------------------

void Outage::commit_ended(Status status)
{
	if (state_ == State::committing) {
		step_ = 1;
		step_failed_ = !status.ok();
		step_proved_ = status.ok();
		if (status.no_space())
			probe_failed();
		else if (!status.ok())
			probe();
		else
			step_ended();
	} else if (committer_.parked() && !lasts()) {
		begin();
	} else if (state_ == State::settling && !status.ok()) {
		// What needs another commit is not on its way any more.
		settle_until_ = min_of(settle_until_, quarantine_.committed());
		act();
	}
	arm_expire();
}

void Outage::flush_waits()
{
	arm_expire();
}

void Outage::commit_proves_space()
{
	space_proved();
}

// By batches: who waits for space is tried with all of one.
void Outage::space_came()
{
	if (lasts())
		retry_now();
	else
		act();
}

void Outage::retry_now()
{
	if (state_ == State::settling)
		return gate_.is_open() ? release(1) : try_all();
	if (!lasts())
		return;
	delay_ms_ = policy_.retry_ms.load_relaxed();
	if (state_ != State::waiting) {
		probe_again_ = true;
		return;
	}
	ph_timer_stop(host_, PLOOP_TIMER_RETRY);
	probe();
}

void Outage::end_with_enospc(ploop_rq *rq)
{
	tell_ended();
	end_request(rq, -kENOSPC);
}

void Outage::tell_ended()
{
	ended_enospc_++;
	nr_ended_.add_relaxed(1);
	// No outage has begun for it, which would have told. Watchers learn of each want of
	// space, and who reads with get_event also that it still lasts.
	if (!lasts() && (!told_.load_relaxed() || !alarm_.enospc_pending())) {
		told_.store_relaxed(true);
		alarm_.raise_enospc();
	}
}

void Outage::count_parked()
{
	const ploop_rq *oldest = parked_.first();

	nr_parked_.store_relaxed(parked_.count());
	oldest_ms_.store_relaxed(oldest != nullptr ? state(oldest).parked_at_ms : 0);
	arm_expire();
}

// For whoever waits longest; anew each time that may have changed.
void Outage::arm_expire()
{
	const uint64_t timeout_ms = uint64_t{policy_.timeout_s.load_relaxed()} * 1000;
	const uint64_t flush_ms = committer_.parked() ? committer_.waiting_since_ms() : 0;
	uint64_t since_ms = parked_.empty() ? 0 : state(parked_.first()).parked_at_ms;

	if (since_ms == 0 || (flush_ms != 0 && flush_ms < since_ms))
		since_ms = flush_ms;
	if (timeout_ms == 0 || since_ms == 0)
		return;
	const uint64_t now_ms = ph_now_ms();
	const uint64_t left_ms =
		since_ms + timeout_ms > now_ms ? since_ms + timeout_ms - now_ms : 0;
	ph_timer_arm(host_, PLOOP_TIMER_EXPIRE,
		     static_cast<uint32_t>(min_of<uint64_t>(left_ms, kTimerLongestMs)));
}

void Outage::on_expire()
{
	uint32_t ended = 0;

	while (!parked_.empty() &&
	       policy_.expired(state(parked_.first()).parked_at_ms, ph_now_ms())) {
		if (ended++ == kAtATime) {
			inbox_.signal(kSignalExpire);
			break;
		}
		end_with_enospc(parked_.pop());
	}
	if (committer_.parked())
		committer_.expire();
	report_ended();
	if (state_ == State::waiting && parked_.empty() && !committer_.parked())
		return end_quietly();
	if (lasts() && parked_.empty())
		take_lot(lot_.be_attentive()); // the timeout of whoever parks next must run
	count_parked();
}

void Outage::policy_changed()
{
	if (policy_.error_if_no_space.load_relaxed()) {
		take_all();
		// Who waits for the quarantine has not been refused space yet.
		while (state_ != State::settling && !parked_.empty())
			end_with_enospc(parked_.pop());
		if (committer_.parked())
			committer_.give_up();
	}
	on_expire();
}

// ---- Suspend -------------------------------------------------------------------

void Outage::suspend_begins()
{
	report_ended();
	take_all();
	if (policy_.suspending() == Suspending::flush) {
		if (!lasts() && parked_.empty())
			return;
		// Each is tried once more; accept() ends those that fail again.
		while (ploop_rq *rq = parked_.pop()) {
			set_mark(rq, kMarkRetried);
			inbox_.again(rq);
		}
		try_all();
	} else if (ph_may_requeue(host_)) {
		hand_back_all();
	}
}

void Outage::hand_back_all()
{
	// Asked anew for each: a suspend that is interrupted meanwhile takes none back.
	while (!parked_.empty() && ph_may_requeue(host_))
		end_request(parked_.pop(), PLOOP_END_REQUEUE);
	if (committer_.parked())
		committer_.hand_back();
	if (parked_.empty() && !committer_.parked())
		end_quietly(); // the outage goes on elsewhere
	else
		count_parked();
}

void Outage::suspend_undone()
{
	take_all();
	report_ended();
	if (!gate_.is_open())
		committer_.want();
	retry_now();
}

void Outage::suspend_ends()
{
	take_all();
	if (committer_.parked())
		committer_.give_up();
	while (ploop_rq *rq = parked_.pop()) {
		if (ph_may_requeue(host_))
			end_request(rq, PLOOP_END_REQUEUE);
		else
			end_with_enospc(rq);
	}
	end_quietly();
}

void Outage::report_ended()
{
	char line[160];
	Text text(line, sizeof(line));

	if (ended_enospc_ == 0)
		return;
	text << ended_enospc_ << " requests ended with ENOSPC";
	if (stopping_)
		text << "; dmsetup suspend --noflush --nolockfs keeps them";
	ph_log(host_, PLOOP_LOG_WARNING, line);
	ended_enospc_ = 0;
}

} // namespace ploop
