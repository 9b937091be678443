// SPDX-License-Identifier: GPL-2.0
// Out of space: parking, the probe, the release, the event.
//
// An outage begins with the first request that the host has no space for, and
// ends when a probe succeeds. Where discarded clusters are on their way back to
// the host, it waits for them first: they may be all that is needed. While it
// lasts, requests that need space wait in order of arrival; one at a time, the
// oldest, is tried when the timer fires, or at once when there is reason to hope.
//
// park() is for any context; everything else is the target's worker's.
#pragma once

#include "base/atomics.h"
#include "base/request.h"
#include "nospace/park.h"

namespace ploop {

class Target;

class Outage {
public:
	explicit Outage(Target &target) : target_(target) {}
	Outage(const Outage &) = delete;
	Outage &operator=(const Outage &) = delete;

	// Any context: the request met ENOSPC and waits from now on.
	void park(ploop_rq *rq);

	// Takes what was parked since, and begins an outage if need be.
	void collect();
	// How a probe ended that did not park again. @status ok: there is space.
	void probe_ended(Status status);
	// A round of the committer has ended, or waits for space.
	void commit_ended(Status status);

	void on_timer();
	// Has whoever waits since then waited long enough?
	bool expired(uint64_t since_ms) const;
	// For whoever waits longest; anew each time that may have changed.
	void arm_expire();
	// The oldest request may have waited as long as it should.
	void on_expire();
	// The policy changed: acts on what waits.
	void policy_changed();
	// There is reason to hope: probes at once, or, without an outage, tries all who wait
	// for the quarantine.
	void retry_now();

	// Should a write that needs a new cluster wait without trying?
	bool blocks(const ploop_rq *rq) const { return active_ && !has_mark(rq, kMarkProbe); }

	void suspend_begins();
	void suspend_undone();
	// Ends or hands back all that is left, at the end of a suspend.
	void suspend_ends();
	// A request ends with ENOSPC: counted, and told unless that has been done.
	void tell_ended();
	// Something that needs space has succeeded: the next want of it is a new one.
	void space_proved() { told_ = false; }
	// Logs how many requests have ended with ENOSPC since the last report.
	void report_ended();

	bool active() const { return active_; }
	// Those who came while nobody looks count, too. Acquire: pairs with the release
	// in take_in(); who is no longer in the lot is among the others.
	uint64_t nr_parked() const
	{
		const uint64_t in_lot = in_lot_.load_acquire();
		return in_lot + nr_parked_.load_relaxed();
	}
	// Requests that ended with ENOSPC of ours.
	uint64_t nr_ended() const { return nr_ended_.load_relaxed(); }
	uint64_t oldest_ms() const { return oldest_ms_.load_relaxed(); }
	bool holds_nothing() const { return parked_.empty() && probing_ != Probing::request; }

private:
	static constexpr uint32_t kRetryLongestMs = 5000;
	// A timer that fires early looks again; a host's timers may be signed.
	static constexpr uint64_t kTimerLongestMs = (uint64_t{1} << 31) - 1;

	enum class Probing : uint8_t { nothing, request, commit };

	void take_in(ploop_node *newest_first);
	void accept(ploop_rq *rq);
	bool may_hope(ploop_rq *rq);
	// In clusters that have left the quarantine since the instance began (Freer::gone()).
	uint64_t hope_of(ploop_rq *rq);
	void lower_hopes();
	void try_hoping();
	void begin();
	void wait_for_timer();
	void end();
	void end_quietly();
	void forget_mode();
	void probe();
	void probe_failed();
	void release_all();
	void try_all();
	void hand_back_all();
	void end_with_enospc(ploop_rq *rq);
	void count_parked();

	Target &target_;
	ParkLot<HostAtomics, ploop_node> lot_;
	Atomic<uint64_t> arrivals_{1}; // the next place in the order
	RequestQueue parked_;
	bool active_ = false;
	Probing probing_ = Probing::nothing;
	bool probe_again_ = false;
	uint32_t delay_ms_ = 0;
	uint64_t ended_enospc_ = 0; // since the last report
	bool told_ = false;	    // of a want of space that no success has followed yet
	Atomic<uint64_t> nr_ended_;
	Atomic<uint64_t> nr_parked_;
	Atomic<uint64_t> in_lot_;    // parked, and not taken yet
	Atomic<uint64_t> oldest_ms_; // when the oldest was parked; 0: none
};

} // namespace ploop
