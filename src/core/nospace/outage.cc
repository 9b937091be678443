// SPDX-License-Identifier: GPL-2.0
#include "nospace/outage.h"

#include "target/target.h"

namespace ploop {

// ---- Any context -------------------------------------------------------------

void Outage::park(ploop_rq *rq)
{
	ploop_host *const host = target_.host_;
	const bool again = rq->park_order != 0;

	if (!again) {
		rq->park_order = arrivals_.add_relaxed(1);
		rq->parked_at_ms = ph_now_ms();
	}
	set_stage(rq, Stage::fresh);
	in_lot_.add_relaxed(1);
	// One that has waited before is due before those who wait: the timer of the
	// timeout may be set for later than that.
	if (lot_.park(&rq->node) || again)
		ph_kick(host);
}

// ---- The worker --------------------------------------------------------------

void Outage::collect()
{
	take_in(lot_.take());
}

void Outage::take_in(ploop_node *newest_first)
{
	ploop_node *node = oldest_first(newest_first);
	uint64_t taken = 0;
	bool probe_came_back = false;

	while (node != nullptr) {
		ploop_rq *const rq = request_of(node);
		node = node->next;
		taken++;
		if (has_mark(rq, kMarkProbe)) {
			clear_mark(rq, kMarkProbe);
			probe_came_back = true;
		}
		accept(rq);
	}
	count_parked();
	in_lot_.add_release(0 - taken); // pairs with the acquire in nr_parked()
	if (probe_came_back)
		probe_failed();
	if (active_ || parked_.empty())
		return;
	ploop_rq *const first = parked_.first();
	if (may_hope(first)) {
		if (target_.freer_.needs_commit())
			target_.committer_.want();
	} else if (has_mark(first, kMarkUntried)) {
		try_hoping(); // what it hoped for has come
	} else {
		begin();
	}
}

void Outage::accept(ploop_rq *rq)
{
	if (target_.suspending() == Suspending::noflush && ph_may_requeue(target_.host_))
		return end_request(rq, PLOOP_END_REQUEUE);
	if (target_.suspending() == Suspending::flush &&
	    (has_mark(rq, kMarkRetried) || target_.stopping()))
		return end_with_enospc(rq);
	if (target_.suspending() == Suspending::flush || !target_.gate().ok()) {
		set_mark(rq, kMarkRetried);
		return target_.again(rq);
	}
	if (expired(rq->parked_at_ms) ||
	    (target_.error_if_no_space_.load_relaxed() && !may_hope(rq)))
		return end_with_enospc(rq);
	clear_mark(rq, kMarkRetried); // of a suspend that was undone
	if (may_hope(rq))
		set_mark(rq, kMarkUntried);
	else
		clear_mark(rq, kMarkUntried);
	parked_.insert_by_arrival(rq);
}

// Is there space on its way that the request was not tried with yet? It waits for what is
// in quarantine when it asks first, and no longer: others may discard for ever.
bool Outage::may_hope(ploop_rq *rq)
{
	return !active_ && hope_of(rq) > target_.freer_.gone();
}

uint64_t Outage::hope_of(ploop_rq *rq)
{
	if (!has_mark(rq, kMarkHopes)) {
		set_mark(rq, kMarkHopes);
		rq->hopes_until = target_.freer_.added();
	}
	return rq->hopes_until;
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
	if (!active_ && (!told_ || !target_.device_->enospc.pending())) {
		told_ = true;
		target_.raise_enospc();
	}
}

void Outage::count_parked()
{
	const ploop_rq *oldest = parked_.first();

	nr_parked_.store_relaxed(parked_.count());
	oldest_ms_.store_relaxed(oldest != nullptr ? oldest->parked_at_ms : 0);
	arm_expire();
}

bool Outage::expired(uint64_t since_ms) const
{
	const uint64_t timeout_ms = uint64_t{target_.timeout_s_.load_relaxed()} * 1000;

	return timeout_ms != 0 && ph_now_ms() >= since_ms + timeout_ms;
}

void Outage::arm_expire()
{
	const uint64_t timeout_ms = uint64_t{target_.timeout_s_.load_relaxed()} * 1000;
	uint64_t since_ms = parked_.first() != nullptr ? parked_.first()->parked_at_ms : 0;
	const uint64_t now_ms = ph_now_ms();
	const uint64_t flush_ms =
		target_.committer_.parked() ? target_.committer_.waiting_since_ms() : 0;

	if (since_ms == 0 || (flush_ms != 0 && flush_ms < since_ms))
		since_ms = flush_ms;
	if (timeout_ms == 0 || since_ms == 0)
		return;
	const uint64_t left_ms =
		since_ms + timeout_ms > now_ms ? since_ms + timeout_ms - now_ms : 0;
	ph_timer_arm(target_.host_, PLOOP_TIMER_EXPIRE,
		     static_cast<uint32_t>(min_of<uint64_t>(left_ms, kTimerLongestMs)));
}

void Outage::on_expire()
{
	while (parked_.first() != nullptr && expired(parked_.first()->parked_at_ms))
		end_with_enospc(parked_.pop());
	if (target_.committer_.parked())
		target_.committer_.expire();
	report_ended();
	if (active_ && parked_.empty() && !target_.committer_.parked() &&
	    probing_ == Probing::nothing)
		end_quietly();
	else if (active_ && parked_.empty())
		take_in(lot_.be_attentive()); // the timeout of whoever parks next must run
	count_parked();
}

void Outage::policy_changed()
{
	if (!target_.error_if_no_space_.load_relaxed())
		return on_expire();
	take_in(lot_.be_attentive());
	while (ploop_rq *rq = parked_.pop())
		end_with_enospc(rq);
	if (target_.committer_.parked())
		target_.committer_.give_up();
	on_expire();
}

void Outage::begin()
{
	active_ = true;
	delay_ms_ = target_.retry_ms_.load_relaxed();
	wait_for_timer();
	// What the event announces is there already: the requests are counted.
	target_.device_->enospc.raise();
	target_.set_mode(Mode::nospace);
}

// From now on those who park do not wake the worker: the timer does. But while
// the probe of an earlier outage is under way its return must be noticed; and the
// first to wait must be, because its timeout runs.
void Outage::wait_for_timer()
{
	ph_timer_arm(target_.host_, PLOOP_TIMER_RETRY, delay_ms_);
	if (probing_ == Probing::nothing && !parked_.empty())
		lot_.be_quiet();
}

void Outage::on_timer()
{
	if (active_ && probing_ == Probing::nothing)
		probe();
}

void Outage::probe()
{
	// The probe may come back parked, from irq: it must be noticed at once.
	take_in(lot_.be_attentive());
	if (target_.committer_.parked()) {
		probing_ = Probing::commit;
		target_.counters_.retries.add_relaxed(1);
		return target_.committer_.retry();
	}
	ploop_rq *const rq = parked_.pop();
	count_parked();
	if (rq == nullptr)
		return end_quietly(); // nobody waits, so nobody knows of space
	probing_ = Probing::request;
	set_mark(rq, kMarkProbe);
	target_.counters_.retries.add_relaxed(1);
	target_.again(rq);
}

void Outage::probe_failed()
{
	probing_ = Probing::nothing;
	if (!active_)
		return;
	if (parked_.empty() && !target_.committer_.parked())
		return end_quietly(); // it was the last, and has waited long enough
	if (probe_again_) {
		probe_again_ = false;
		return probe();
	}
	delay_ms_ =
		min_of(delay_ms_ * 2, max_of(kRetryLongestMs, target_.retry_ms_.load_relaxed()));
	wait_for_timer();
	// Who has read the last event and freed too little learns of it.
	if (!target_.device_->enospc.pending())
		target_.raise_enospc();
}

void Outage::probe_ended(Status status)
{
	probing_ = Probing::nothing;
	if (!active_)
		return;
	// An error of another kind says nothing about space: ask the next one.
	if (status.ok())
		release_all();
	else
		probe();
}

void Outage::commit_ended(Status status)
{
	const bool was_probe = probing_ == Probing::commit;

	if (was_probe)
		probing_ = Probing::nothing;
	if (target_.committer_.parked() && !active_)
		begin();
	arm_expire();
	if (!active_ && !status.ok())
		lower_hopes();
	if (!was_probe || !active_)
		return;
	if (status.no_space())
		probe_failed();
	else
		probe_ended(status);
}

void Outage::release_all()
{
	take_in(lot_.be_attentive());
	target_.set_mode(Mode::rw);
	try_all();
}

void Outage::try_all()
{
	while (ploop_rq *rq = parked_.pop())
		target_.again(rq);
	end();
	if (target_.committer_.parked())
		target_.committer_.retry();
}

// The timer goes last but one, and the look at the lot last: a probe that came
// back meanwhile may have armed the timer and made the lot quiet again, and a
// quiet lot without a timer forgets whoever parks.
void Outage::end()
{
	ph_timer_stop(target_.host_, PLOOP_TIMER_RETRY);
	active_ = false;
	probe_again_ = false;
	count_parked();
	take_in(lot_.be_attentive());
}

void Outage::retry_now()
{
	if (!active_)
		return try_hoping();
	delay_ms_ = target_.retry_ms_.load_relaxed();
	if (probing_ != Probing::nothing) {
		probe_again_ = true;
		return;
	}
	ph_timer_stop(target_.host_, PLOOP_TIMER_RETRY);
	probe();
}

// What needs another commit is not on its way any more.
void Outage::lower_hopes()
{
	for (ploop_rq *rq = parked_.first(); rq != nullptr; rq = parked_.next(rq))
		rq->hopes_until = min_of(hope_of(rq), target_.freer_.committed());
	try_hoping();
}

// Without an outage, those who wait do so for the quarantine.
void Outage::try_hoping()
{
	if (!parked_.empty())
		try_all();
}

// ---- Suspend -----------------------------------------------------------------

void Outage::suspend_begins()
{
	report_ended();
	take_in(lot_.be_attentive());
	if (target_.suspending() == Suspending::flush) {
		// Each is tried once more; accept() ends those that fail again.
		for (ploop_rq *rq = parked_.first(); rq != nullptr; rq = parked_.next(rq))
			set_mark(rq, kMarkRetried);
		if (active_ || !parked_.empty()) {
			forget_mode();
			try_all();
		}
	} else if (ph_may_requeue(target_.host_)) {
		hand_back_all();
	}
}

void Outage::hand_back_all()
{
	// Asked anew for each: a suspend that is interrupted meanwhile takes none back.
	while (!parked_.empty() && ph_may_requeue(target_.host_))
		end_request(parked_.pop(), PLOOP_END_REQUEUE);
	if (target_.committer_.parked())
		target_.committer_.hand_back();
	if (parked_.empty() && !target_.committer_.parked())
		end_quietly();
	else
		count_parked();
}

// The outage goes on elsewhere: in the next table, or after the resume.
void Outage::end_quietly()
{
	forget_mode();
	end();
}

// Without a word: that nobody waits any more does not say that there is space.
void Outage::forget_mode()
{
	if (target_.mode() == Mode::nospace)
		target_.mode_.store_release(static_cast<uint8_t>(Mode::rw));
}

void Outage::suspend_undone()
{
	take_in(lot_.be_attentive());
	report_ended();
	if (!target_.gate().ok())
		target_.committer_.want();
	retry_now();
}

void Outage::suspend_ends()
{
	take_in(lot_.be_attentive());
	if (target_.committer_.parked())
		target_.committer_.give_up();
	while (ploop_rq *rq = parked_.pop()) {
		if (ph_may_requeue(target_.host_))
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
	if (target_.stopping())
		text << "; dmsetup suspend --noflush --nolockfs keeps them";
	ph_log(target_.host_, PLOOP_LOG_WARNING, line);
	ended_enospc_ = 0;
}

} // namespace ploop
