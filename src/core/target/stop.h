// SPDX-License-Identifier: GPL-2.0
// The way to stillness, at the end of a suspend:
//
//	quiet    until nothing is under way that the worker knows of
//	drain    until I/O of the submitters' has ended too; the pool is closed before
//	commit   the last commit
//	freeing  the quarantine empties, for a few seconds at most
//	trim     the file loses its free tail
//	mark     the in-use mark is taken back
//	sync
//	settle   instead of the last four, after a commit that failed
//	done     nothing may begin until the next resume
//
// The worker's, but for what says otherwise.
#pragma once

#include "commit/flush.h"
#include "io/ranges.h"
#include "nospace/low_space.h"
#include "nospace/outage.h"

namespace ploop {

class Stop {
public:
	Stop(ploop_host *host, Inbox &inbox, const Policy &policy, Modes &modes, DeltaStack &stack,
	     Space &space, DirtyPages &dirty, Pool &pool, NewPlaces &new_places, Ranges &ranges,
	     Committer &committer, Quarantine &quarantine, Outage &outage, LowSpace &low_space)
		: host_(host), inbox_(inbox), policy_(policy), modes_(modes), stack_(stack),
		  space_(space), dirty_(dirty), pool_(pool), new_places_(new_places),
		  ranges_(ranges), committer_(committer), quarantine_(quarantine), outage_(outage),
		  low_space_(low_space)
	{
	}
	Stop(const Stop &) = delete;
	Stop &operator=(const Stop &) = delete;
	~Stop() { ph_free(mark_buffer_); }

	// ---- Process context, while the worker is quiet ----

	Status create();
	// With a resume: all may begin again.
	void reset();
	// Did this instance set the in-use mark?
	bool marked() const { return marked_; }
	void set_marked(bool marked) { marked_ = marked; }
	// How it has ended.
	Status status() const { return status_; }
	// Waits until it is done; the signal kSignalStop starts it.
	void prepare_wait() { ph_wait_init(&wait_); }
	void wait() { ph_wait(&wait_); }

	// ---- The worker ----

	void begin();
	// Goes on as far as it can be gone now.
	void advance()
	{
		while (step()) {
		}
	}
	bool under_way() const { return state_ != State::none && state_ != State::done; }

private:
	static constexpr uint64_t kFreeingMs = 3000;

	enum class State : uint8_t {
		none,
		quiet,
		drain,
		commit,
		freeing,
		trim,
		mark,
		sync,
		settle,
		done,
	};

	bool step();
	bool move_to(State state);
	State from_quiet();
	State from_drain();
	State from_commit();
	State from_freeing();
	State fail(Status status);
	void enter(State state);
	bool is_quiet() const;
	bool is_closed() const;
	uint64_t end_bytes() const;
	void finish();
	void on_operation(Operation &operation, int64_t result);

	ploop_host *host_;
	Inbox &inbox_;
	const Policy &policy_;
	Modes &modes_;
	DeltaStack &stack_;
	Space &space_;
	DirtyPages &dirty_;
	Pool &pool_;
	NewPlaces &new_places_;
	Ranges &ranges_;
	Committer &committer_;
	Quarantine &quarantine_;
	Outage &outage_;
	LowSpace &low_space_;

	State state_ = State::none;
	Status status_;
	uint64_t freeing_until_ms_ = 0;
	uint64_t sync_errors_since_ = 0;
	bool marked_ = false;
	ploop_wait wait_ = {};
	Operation operation_;
	uint32_t *mark_buffer_ = nullptr;
};

} // namespace ploop
