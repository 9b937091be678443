// SPDX-License-Identifier: GPL-2.0
// Out of space: parking, the probe, the release, the event.
//
//	clear ------ a want of space, and clusters in quarantine ------> settling
//	clear ------ a want of space -----------------------------------> waiting
//	settling --- the quarantine has been awaited -------------------> releasing
//	waiting ---- the timer, or reason to hope; a commit waits -------> committing
//	waiting ---- the same; no commit waits --------------------------> releasing
//	committing - it has succeeded -----------------------------------> releasing
//	committing - still no space -------------------------------------> waiting
//	releasing -- one of those that were released met no space -------> waiting
//	releasing -- all of them succeeded, and more wait: twice as many -> releasing
//	any ------- nobody waits any more -------------------------------> clear
//
// An outage lasts from the first `waiting` to the next `clear`. Requests that need
// space wait in order of arrival; the oldest is tried when the timer fires, or at once
// when there is reason to hope, and those behind it in growing steps: one freed block
// sends a few of them to the host, not all. Where discarded clusters are on their way
// back to the host, they are awaited first: they may be all that is needed.
//
// park() and holds_back() are for any context; everything else is the worker's.
#pragma once

#include "base/mode.h"
#include "base/policy.h"
#include "commit/committer.h"
#include "commit/quarantine.h"
#include "commit/upward.h"
#include "io/upward.h"
#include "nospace/alarm.h"
#include "nospace/park.h"
#include "nospace/parked_queue.h"

namespace ploop {

class Outage final : public Parking, public CommitWatcher {
public:
	Outage(ploop_host *host, Inbox &inbox, const Policy &policy, const Gate &gate, Modes &modes,
	       Alarm &alarm, Committer &committer, Quarantine &quarantine)
		: host_(host), inbox_(inbox), policy_(policy), gate_(gate), modes_(modes),
		  alarm_(alarm), committer_(committer), quarantine_(quarantine)
	{
	}
	Outage(const Outage &) = delete;
	Outage &operator=(const Outage &) = delete;

	// ---- Any context ----

	void park(ploop_rq *rq) override;
	bool holds_back(const ploop_rq *rq) const override;
	void space_proved() override;
	// For status. Those who came while nobody looks count, too. Acquire: pairs with the
	// release in take_in(); who is no longer in the lot is among the others.
	uint64_t nr_parked() const
	{
		const uint64_t in_lot = in_lot_.load_acquire();
		return in_lot + nr_parked_.load_relaxed();
	}
	// Requests that ended with ENOSPC of ours.
	uint64_t nr_ended() const { return nr_ended_.load_relaxed(); }
	uint64_t nr_retries() const { return nr_retries_.load_relaxed(); }
	uint64_t oldest_ms() const { return oldest_ms_.load_relaxed(); }

	// ---- The worker ----

	// Takes what was parked since, and acts on it.
	void collect();
	void tried(Status status) override;
	void commit_ended(Status status) override;
	void flush_waits() override;
	void tell_ended() override;
	void commit_proves_space() override;
	void space_came() override;

	void on_timer();
	// The oldest request may have waited as long as it should.
	void on_expire();
	// The policy changed: acts on what waits.
	void policy_changed();
	// There is reason to hope.
	void retry_now();

	void suspend_begins();
	void suspend_undone();
	// Ends or hands back all that is left, at the end of a suspend.
	void suspend_ends();
	// Logs how many requests have ended with ENOSPC since the last report.
	void report_ended();
	// From now on the ends of requests are the stop's doing, or not any more.
	void set_stopping(bool stopping) { stopping_ = stopping; }

	bool lasts() const { return lasts_.load_relaxed(); }
	bool holds_nothing() const
	{
		return parked_.empty() && nr_out_ == 0 && arriving_ == nullptr;
	}

private:
	static constexpr uint32_t kRetryLongestMs = 5000;
	// A timer that fires early looks again; a host's timers may be signed.
	static constexpr uint64_t kTimerLongestMs = (uint64_t{1} << 31) - 1;
	// Of requests that one call handles; then others have their turn.
	static constexpr uint32_t kAtATime = 2048;

	enum class State : uint8_t { clear, settling, waiting, committing, releasing };

	void move_to(State state);
	void take_lot(ploop_node *newest_first);
	bool take_in();
	void take_all();
	void accept(ploop_rq *rq);
	bool may_settle(const ploop_rq *rq) const;
	void act();
	bool settled() const;
	void begin();
	void probe();
	void probe_failed();
	void release(uint64_t step);
	void release_rest();
	void step_ended();
	void wait_for_timer();
	void try_all();
	void hand_back_all();
	void end_quietly();
	void end_with_enospc(ploop_rq *rq);
	void count_parked();
	void arm_expire();

	ploop_host *host_;
	Inbox &inbox_;
	const Policy &policy_;
	const Gate &gate_;
	Modes &modes_;
	Alarm &alarm_;
	Committer &committer_;
	Quarantine &quarantine_;

	ParkLot<HostAtomics, ploop_node> lot_;
	Atomic<uint64_t> arrivals_{1}; // the next place in the order
	Atomic<bool> lasts_;	       // an outage does
	Atomic<bool> told_;	       // of a want of space that no success has followed yet

	State state_ = State::clear;
	ploop_node *arriving_ = nullptr; // taken from the lot, oldest first, not looked at yet
	ParkedQueue parked_;
	uint64_t settle_until_ = 0; // Quarantine::gone() that is waited for
	uint64_t step_ = 0;	    // how many the release under way has let go
	uint64_t nr_out_ = 0;	    // of them, those whose outcome is not known yet
	bool step_failed_ = false;  // one of them met no space
	bool step_proved_ = false;  // one of them found some
	bool probe_again_ = false;  // there was reason to hope while one was out
	bool stopping_ = false;
	uint32_t delay_ms_ = 0;
	uint64_t ended_enospc_ = 0; // since the last report
	Atomic<uint64_t> nr_ended_;
	Atomic<uint64_t> nr_retries_;
	Atomic<uint64_t> nr_parked_;
	Atomic<uint64_t> in_lot_;    // parked, and not taken yet
	Atomic<uint64_t> oldest_ms_; // when the oldest was parked; 0: none
};

} // namespace ploop
