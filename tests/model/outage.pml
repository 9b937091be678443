/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The whole life of an outage: src/core/nospace/outage.cc, what it needs of io.cc and
 * target.cc, device-mapper's order of calls at suspend, undone suspend, remove
 * and resume, and a host that runs out of space and may get it back.
 *
 * What is checked, whatever the order of steps:
 *  - each request ends once (invariant 5), and ends, or goes back to
 *    device-mapper, if the host lets it: nobody is stuck;
 *  - a step of a release follows when all of the one before have ended;
 *  - while no round of the worker runs or is due, nobody waits whom no timer
 *    and no probe under way will fetch, and no commit does;
 *  - the event is pending from the begin of an outage until it is read;
 *  - after the end of a suspend the target holds nothing, and no timer is armed.
 *
 * EVENTS, MESSAGES, COMMITS, ERRORS, DISCARDS, SUSPENDS and CHANGES say how much of that
 * is in one search: all at once is too much. REQUESTS is 2, or 4 for the growing steps of
 * a release. Memory is sequentially consistent here; the fences are the business of
 * park_model.cc, which runs the shipping code. Who is the oldest of those who wait is any
 * of them here. Of the commit there is what waits for it and for what it waits: a flush
 * ends with the round that is under way, which word.pml knows better. With
 * BATCHES, a round of the worker may leave some of those that have parked to the next. The
 * policy of errors instead of an outage is left out.
 *
 * One rule of the code at a time can be broken, then the model must fail:
 *  QUIET_END	an outage that ends leaves the lot quiet
 *  REST_ALONE	a round that has something left from before is followed by none
 *  NO_COLLECT	a round of the worker looks at the lot only in an outage
 *  QUIET_PROBE	a probe does not make the lot attentive
 *  LATE_PUSH	the epoch is left before the request is pushed
 *  NO_TIMER	the lot is quiet, but the timer is not armed
 *  OUT_UNCOUNTED	a step ends with the first that comes back
 *  COMMIT_UNTRIED	a probe passes over the commit that waits for space
 *  SILENT_PUNCH	clusters leave the quarantine, and those who wait are not told
 *  ONE_DRAIN	what comes back from space while the last epoch drains is tried once more,
 *		and not waited for
 */

#ifndef REQUESTS
#define REQUESTS 2
#endif
#ifndef SUSPENDS
#define SUSPENDS 2
#endif
#ifndef CHANGES
#define CHANGES 2 /* of the host's space: none, some, none */
#endif
#ifdef DISCARDS
#define COMMITS
#endif

/* Where a request is. */
mtype = { fresh, io, lot, taken, parked, ready, inbox, ended, back };
/* What the inbox is told of one: to be started, served, without space, another error. */
mtype = { start, served, unserved, erred };
/* Of the outage. */
mtype = { clear, settling, waiting, committing, releasing };

mtype where[4] = ended;
mtype told[REQUESTS] = start;
bool is_probe[4];
bool in_slot[REQUESTS];     /* writes the first data of a cluster: its end is the worker's */
byte in_epoch[REQUESTS];   /* by its I/O, or by who ends that and has yet to look */
bool parking[REQUESTS];     /* pushed, and has yet to look at attentive */
bool again[REQUESTS];       /* has parked before */
bool untried[REQUESTS];     /* parked because others wait */
bool retried[REQUESTS];     /* had its one retry of a flushing suspend */
bool tried_settled[4];      /* has waited for what was in quarantine */

/* The host. */
bool space;
bool kick;
bool pausing;
bool timer, commit_timer;
bool idle = true; /* no round of the worker runs */
bool flipping;

/* Signals to the worker; they come with a kick. */
bool s_suspend, s_undone, s_retry, s_timer, s_expire, s_drained, s_stop, s_commit;

/* The target. */
mtype = { none, noflush, flush };
mtype suspending = none;
bool may_requeue;
bool blocked;     /* device-mapper keeps new requests back */
bool removed;
bool calling;     /* device-mapper is in a call that has yet to signal */
mtype = { not_stopping, quiet, drain, last_commit };
bool stopped;

/* The commit: what it does, how the round has ended, and the flush that waits for it. */
#define NO_ROUND     0
#define ROUND_RUNS   1
#define ROUND_PARKED 2
byte round;
#define RUNNING  0
#define WELL     1
#define NO_SPACE 2
#define BADLY    3
byte ended_as;
#define WAITS  1
#define OVER   2
#define HANDED 3
byte flushing;
bool shut, failed; /* the gate; and for ever */

/* The quarantine: clusters that ever came, and have left; that no commit has seen yet. */
byte added, gone, unmapped;
byte freeing;
bool punched;

bool lasts;       /* an outage does */
bool attentive = true;
bool pending;     /* the event */
bool untold;      /* an outage began, and the event was not read since */

#define each(i) i : 0 .. REQUESTS - 1

/* What is of no consequence any more. */
inline forget(i)
{
	again[i] = false;
	untried[i] = false;
	retried[i] = false;
	tried_settled[i] = false;
	told[i] = start;
	in_slot[i] = false
}

inline end_request(i)
{
	assert(where[i] != ended && where[i] != back);
	where[i] = ended;
	is_probe[i] = false;
	forget(i)
}

/*
 * May the target hand back, and does device-mapper still want it, is one look
 * here. In truth a suspend may be interrupted in between: then device-mapper
 * itself turns the request into an error, as it does for all its targets.
 */
inline hand_back(i)
{
	assert(where[i] != ended && where[i] != back);
	where[i] = back;
	is_probe[i] = false;
	forget(i)
}

/* ---- Requests: the submitter, and the end of I/O in any context ------------ */

proctype Request(byte me)
{
	do
	:: atomic { where[me] == fresh && !blocked && !removed ->
		if /* Is the cluster mapped? */
		:: shut -> end_request(me)
		:: !shut -> where[me] = io; in_slot[me] = false; in_epoch[me]++
		:: !shut && !lasts -> where[me] = inbox; told[me] = start; kick = true
		:: !shut && lasts ->
			where[me] = lot; untried[me] = true; parking[me] = true; in_epoch[me]++;
			goto look
		fi }
	:: atomic { where[me] == io && !in_slot[me] ->
		in_epoch[me]--;
		if
		:: is_probe[me] -> where[me] = inbox; told[me] = served; kick = true
#ifdef ERRORS
		:: is_probe[me] -> where[me] = inbox; told[me] = erred; kick = true
#endif
		:: !is_probe[me] -> end_request(me)
		fi }
	:: atomic { where[me] == io && in_slot[me] ->
		in_slot[me] = false;
		where[me] = inbox; kick = true; in_epoch[me]--;
		if
		:: told[me] = served
#ifdef ERRORS
		:: told[me] = erred
#endif
		:: !space -> told[me] = unserved
		fi }
	:: atomic { where[me] == io && !in_slot[me] && !space ->
#ifdef LATE_PUSH
		in_epoch[me]--;
		where[me] = taken }; /* in nobody's hands */
		atomic {
#endif
		where[me] = lot; parking[me] = true };
look:		atomic {
			if
			:: attentive || again[me] -> kick = true
			:: else
			fi;
			again[me] = true;
#ifndef LATE_PUSH
			in_epoch[me]--;
#endif
			parking[me] = false
		}
	:: where[me] == ended -> break
	:: removed && (where[me] == back || where[me] == fresh) -> break
	od
}

/* ---- The worker ------------------------------------------------------------- */

#define in_state(s) \
	((where[0] == s) + (where[1] == s) + (where[2] == s) + (where[3] == s))
#define nr_parked in_state(parked)

/*
 * What the worker does is one step for others, but for such pauses: where somebody parks,
 * or a timer fires, or device-mapper calls, in between.
 */
inline pause()
{
	pausing = true;
	!pausing
}

/* What is in quarantine, and is what was awaited gone from it? */
#define quarantined (added - gone)
#define is_settled  (added == gone || gone >= settle_until)

inline take_lot()
{
	d_step {
		for (each(k)) {
			if
			:: where[k] == lot -> where[k] = taken
			:: else
			fi
		}
		k = 0
	}
}

inline be_attentive()
{
	attentive = true;
	take_lot()
}

/* accept(), for so many of those that were taken. */
inline accept(how_many)
{
	d_step {
		m = how_many;
		for (each(k)) {
			if
			:: where[k] == taken && m > 0 ->
				m--;
				if
				:: is_probe[k] -> is_probe[k] = false; nr_out--; step_failed = true
				:: else
				fi;
				if
				:: suspending == noflush && may_requeue -> hand_back(k)
#ifdef ONE_DRAIN
				:: suspending == flush && retried[k] ->
#else
				:: suspending == flush && (retried[k] || stop != not_stopping) ->
#endif
					end_request(k)
				:: else ->
					if
					:: suspending == flush || shut ->
						retried[k] = true; where[k] = ready
					/* The outage that it waited in is over. */
					:: suspending != flush && !shut && untried[k] && !lasts ->
						where[k] = ready
					:: else -> where[k] = parked; retried[k] = false
					fi
				fi;
				untried[k] = false
			:: else
			fi
		}
		k = 0;
		m = 0
	}
}

/* A bounded number of them: the rest comes with the next round of the worker. */
inline take_in()
{
#ifdef BATCHES
	if
	:: accept(1)
	:: accept(REQUESTS)
	fi
#else
	accept(REQUESTS)
#endif
}

inline take_all()
{
	be_attentive();
	accept(REQUESTS)
}

inline wait_for_timer()
{
	d_step { state = waiting; step = 0; step_failed = false; step_proved = false };
#ifndef NO_TIMER
	timer = true;
	pause();
#endif
	if
	:: nr_out == 0 && nr_parked > 0 -> attentive = false
	:: else
	fi
}

inline begin()
{
	lasts = true;
	wait_for_timer();
#ifdef EVENTS
	d_step { pending = true; untold = true }
#endif
}

/* The outage is over, without a word. */
inline end_quietly()
{
	timer = false;
	pause();
	d_step {
		lasts = false; state = clear; probe_again = false;
		settle_until = 0; step = 0; step_failed = false; step_proved = false
	};
	pause();
#ifndef QUIET_END
	be_attentive();
	if
	:: in_state(taken) > 0 -> kick = true
	:: else
	fi
#endif
}

inline let_go(i)
{
	d_step { where[i] == parked ->
		where[i] = ready;
		is_probe[i] = true;
		nr_out++;
		tried_settled[i] = tried_settled[i] || (!lasts && is_settled)
	}
}

/* The oldest go, whichever they are. */
inline release(how_many)
{
	d_step {
		step = how_many;
		m = how_many;
		step_failed = false;
		step_proved = false;
		state = releasing
	};
	do
	:: m == 0 || nr_parked == 0 -> m = 0; break
	:: m > 0 && nr_parked > 0 ->
		if
		:: let_go(0)
		:: let_go(1)
#if REQUESTS > 2
		:: let_go(2)
		:: let_go(3)
#endif
		fi;
		m--
	od
}

inline retry_commit()
{
	d_step { round = NO_ROUND; begin_round() }
}

/* All who wait are tried, and nobody waits for their outcome. */
inline try_all()
{
	d_step {
		for (each(k)) {
			if
			:: where[k] == parked -> where[k] = ready
			:: else
			fi
		}
		k = 0
	};
	end_quietly();
	if
	:: round == ROUND_PARKED -> retry_commit()
	:: else
	fi
}

inline probe()
{
#ifdef QUIET_PROBE
	take_lot();
#else
	be_attentive();
#endif
	take_in();
	if
#ifndef COMMIT_UNTRIED
	:: round == ROUND_PARKED -> state = committing; retry_commit()
	:: round != ROUND_PARKED && nr_parked == 0 -> end_quietly()
	:: round != ROUND_PARKED && nr_parked > 0 -> release(1)
#else
	:: nr_parked == 0 -> end_quietly()
	:: nr_parked > 0 -> release(1)
#endif
	fi
}

/* In an outage. */
inline probe_failed()
{
	if
	:: nr_parked == 0 && in_state(taken) == 0 && round != ROUND_PARKED -> end_quietly()
	:: else ->
		if
		:: probe_again -> probe_again = false; probe()
		:: else ->
			wait_for_timer();
#ifdef EVENTS
			pending = true
#endif
		fi
	fi
}

/* Somebody waits for clusters in quarantine. */
inline act_settling()
{
	if
	:: nr_parked == 0 -> state = clear
	:: nr_parked > 0 && is_settled -> release(1)
	:: nr_parked > 0 && !is_settled ->
		wanted = wanted || unmapped > 0
	fi
}

#define may_settle(i) (where[i] == parked && !tried_settled[i] && quarantined > 0)
#define may_begin(i)  (where[i] == parked && !(!tried_settled[i] && quarantined > 0))

/* The oldest of those who wait, whichever it is, decides. */
inline act_clear()
{
	if
	:: nr_parked == 0
	:: may_begin(0) || may_begin(1) || may_begin(2) || may_begin(3) -> begin()
	:: may_settle(0) || may_settle(1) || may_settle(2) || may_settle(3) ->
		d_step { settle_until = added; state = settling };
		act_settling()
	fi
}

/* All that was let go is back, parked again or ended. */
inline step_ended()
{
	if
	:: step_failed && !lasts -> state = clear; act_clear()
	:: step_failed && lasts -> probe_failed()
	:: !step_failed && shut -> try_all()
	:: !step_failed && !shut ->
		assert(state != releasing || nr_out == 0);
		n = (step_proved -> step * 2 : step);
		if
		:: nr_parked <= n && (step_proved || nr_parked == 0) -> n = 0; try_all()
		:: else -> release(n); n = 0
		fi
	fi
}

inline act()
{
	if
	:: state == clear -> act_clear()
	:: state == settling -> act_settling()
	:: state == releasing && nr_out == 0 -> step_ended()
	:: else
	fi
}

/* How one that was let go has ended, but for want of space. */
inline tried(i, well)
{
	d_step { is_probe[i] = false; nr_out--; step_proved = step_proved || well };
	if
#ifdef OUT_UNCOUNTED
	:: state == releasing -> step_ended()
#else
	:: nr_out == 0 && state == releasing -> step_ended()
#endif
	:: else
	fi
}

inline collect()
{
	if
	:: in_state(taken) > 0 ->
		take_in();
#ifndef REST_ALONE
		kick = true
#endif
#ifdef NO_COLLECT
	:: else ->
		if
		:: lasts -> take_lot(); take_in()
		:: else
		fi
#else
	:: else -> take_lot(); take_in()
#endif
	fi;
	if
	:: in_state(taken) > 0 -> kick = true
	:: else
	fi;
	act()
}

inline retry_now()
{
	if
	:: state == settling && !shut -> release(1)
	:: state == settling && shut -> try_all()
	:: state == waiting -> timer = false; probe()
	:: lasts && state != waiting -> probe_again = true
	:: else
	fi
}

inline on_timer()
{
	if
	:: state == waiting -> probe()
	:: else
	fi
}

/* The gate is shut before a flush fails. */
inline end_flush()
{
	if
	:: flushing == WAITS -> flushing = OVER; shut = true; commit_timer = true
	:: else
	fi
}

/* Nobody waits for the round any more. */
inline rest()
{
	if
	:: round == ROUND_PARKED -> round = NO_ROUND
	:: else
	fi;
	wanted = false;
	commit_timer = true
}

inline give_up()
{
	d_step { rest(); end_flush() }
}

inline hand_flush_back()
{
	d_step {
		if
		:: flushing == WAITS && may_requeue -> flushing = HANDED
		:: else
		fi;
		if
		:: flushing != WAITS -> rest()
		:: else
		fi
	}
}

/* Whoever waits has waited long enough. */
inline on_expire()
{
	d_step {
		for (each(k)) {
			if
			:: where[k] == parked -> end_request(k)
			:: else
			fi
		}
		k = 0;
		if
		:: round == ROUND_PARKED -> end_flush()
		:: else
		fi
	};
	if
	:: state == waiting && nr_parked == 0 && round != ROUND_PARKED -> end_quietly()
	:: lasts && nr_parked == 0 && !(state == waiting && round != ROUND_PARKED) ->
		be_attentive()
	:: else
	fi
}

inline suspend_begins()
{
	take_all();
	if
	:: suspending == flush && (lasts || nr_parked > 0) ->
		d_step {
			for (each(k)) {
				retried[k] = retried[k] || where[k] == parked
			}
			k = 0
		};
		try_all()
	:: d_step { suspending == noflush && may_requeue ->
			for (each(k)) {
				if
				:: where[k] == parked -> hand_back(k)
				:: else
				fi
			}
			k = 0
		};
		if
		:: round == ROUND_PARKED -> hand_flush_back()
		:: else
		fi;
		if
		:: nr_parked == 0 && round != ROUND_PARKED -> end_quietly()
		:: else
		fi
	:: else
	fi
}

inline suspend_undone()
{
	take_all();
	wanted = wanted || shut;
	retry_now()
}

inline suspend_ends()
{
	take_all();
	if
	:: round == ROUND_PARKED -> give_up()
	:: else
	fi;
	d_step {
		for (each(k)) {
			if
			:: where[k] == parked && may_requeue -> hand_back(k)
			:: where[k] == parked && !may_requeue -> end_request(k)
			:: else
			fi
		}
		k = 0
	};
	end_quietly()
}

inline park_here(i)
{
	where[i] = lot;
	if
	:: attentive || again[i] -> kick = true
	:: else
	fi;
	again[i] = true
}

/* One request that is ready. */
inline dispatch(i)
{
	if
	:: told[i] == served || told[i] == erred ->
		if
		:: is_probe[i] -> tried(i, told[i] == served)
		:: else
		fi;
		end_request(i)
	:: told[i] == unserved -> told[i] = start; park_here(i)
	:: told[i] == start && shut ->
		if
		:: is_probe[i] -> tried(i, false)
		:: else
		fi;
		end_request(i)
	:: told[i] == start && !shut && lasts && !is_probe[i] -> /* needs a new cluster */
		untried[i] = true;
		park_here(i)
	:: told[i] == start && !shut && !(lasts && !is_probe[i]) ->
		d_step { where[i] = io; in_slot[i] = true; in_epoch[i]++ }
	:: told[i] == start && !shut -> /* overwrites, which may need space, too */
		d_step { where[i] = io; in_slot[i] = false; in_epoch[i]++; begun = true }
	fi
}

/* ---- The commit, and the quarantine ----------------------------------------- */

/* Inside of a d_step. */
inline begin_round()
{
	wanted = false;
	committing_now = unmapped;
	unmapped = 0;
	round = ROUND_RUNS
}

inline run_committer()
{
	if
	:: round == NO_ROUND && (wanted || flushing == WAITS) && failed ->
		d_step { wanted = false; flushing = (flushing == WAITS -> OVER : flushing) }
	:: d_step { round == NO_ROUND && (wanted || flushing == WAITS) && !failed ->
		begin_round() }
	:: else
	fi
}

/* Inside of a d_step. */
inline round_back()
{
	unmapped = unmapped + committing_now;
	committing_now = 0;
	round = NO_ROUND
}

inline commit_failed()
{
	if
	:: state == committing ->
		d_step { step = 1; step_failed = true; step_proved = false };
		if
		:: failed -> probe()
		:: else -> probe_failed()
		fi
	:: state != committing && round == ROUND_PARKED && !lasts -> begin()
	:: state == settling && !(round == ROUND_PARKED && !lasts) ->
		d_step {
			if
			:: settle_until > added - unmapped -> settle_until = added - unmapped
			:: else
			fi
		};
		act_settling()
	:: else
	fi
}

inline round_ended()
{
	if
	:: ended_as == WELL ->
		d_step {
			ended_as = RUNNING;
			round = NO_ROUND;
			freeing = freeing + committing_now;
			committing_now = 0;
			if
			:: !failed -> shut = false
			:: else
			fi;
			if
			:: flushing == WAITS -> flushing = OVER
			:: else
			fi;
			commit_timer = commit_timer || unmapped > 0
		};
		if
		:: state == committing ->
			d_step { step = 1; step_failed = false; step_proved = true };
			step_ended()
		:: else
		fi
	:: ended_as == BADLY ->
		d_step {
			ended_as = RUNNING;
			round_back();
			failed = true;
			shut = true;
			flushing = (flushing == WAITS -> OVER : flushing);
			s_retry = true;
			kick = true
		};
		commit_failed()
	:: ended_as == NO_SPACE ->
		d_step { ended_as = RUNNING; round_back() };
		if
		:: stop != not_stopping || suspending == flush -> give_up()
		:: else ->
			d_step { round = ROUND_PARKED; wanted = false };
			if
			:: suspending == noflush -> hand_flush_back()
			:: else
			fi
		fi;
		commit_failed()
	:: else
	fi
}

inline space_came()
{
	if
	:: d_step { punched -> punched = false; gone = gone + freeing; freeing = 0 };
#ifndef SILENT_PUNCH
		if
		:: lasts -> retry_now()
		:: else -> act()
		fi
#endif
	:: else
	fi
}

/* ---- Its rounds --------------------------------------------------------------- */

/* From the inbox to what is ready; the result says whether anything is. */
inline take_inbox(result)
{
	d_step {
		for (each(k)) {
			if
			:: where[k] == inbox -> where[k] = ready
			:: else
			fi
		}
		result = in_state(ready);
		k = 0
	}
}

inline look_if_still(result)
{
	d_step {
		result = nr_out == 0 && round != ROUND_RUNS && flushing != WAITS;
		for (each(k)) {
			result = result && where[k] != parked && where[k] != ready &&
				 where[k] != taken && !(where[k] == io && in_slot[k])
		}
		k = 0
	}
}

active proctype Worker()
{
	byte k, n, m;
	bool still;
	bool suspend, undone, retry, fired, expire, was_drained, do_stop, commit_due;
	mtype state = clear;
	byte nr_out, step;
	bool step_failed, step_proved, probe_again;
	byte settle_until;
	bool wanted;
	byte committing_now;
	mtype stop = not_stopping;
	bool drained; /* the flip of the stop has ended */
	bool begun;   /* since that began, the worker has started I/O */

end:
	do
	:: atomic { kick -> kick = false; idle = false;
		d_step {
			suspend = s_suspend; undone = s_undone; retry = s_retry; fired = s_timer;
			expire = s_expire; was_drained = s_drained; do_stop = s_stop;
			commit_due = s_commit;
			s_suspend = false; s_undone = false; s_retry = false; s_timer = false;
			s_expire = false; s_drained = false; s_stop = false; s_commit = false
		};
		if :: was_drained -> was_drained = false; drained = true :: else fi;
		if
		:: commit_due ->
			commit_due = false;
			wanted = wanted || (round != ROUND_PARKED && stop == not_stopping)
		:: else
		fi;
		if :: suspend -> suspend = false; suspend_begins() :: else fi;
		if :: undone -> undone = false; suspend_undone() :: else fi;
		if :: retry -> retry = false; retry_now() :: else fi;
		if :: fired -> fired = false; on_timer() :: else fi;
		if :: expire -> expire = false; on_expire() :: else fi;
		if :: do_stop -> do_stop = false; stop = quiet :: else fi;

		do
		:: where[0] == ready -> dispatch(0)
		:: where[1] == ready -> dispatch(1)
#if REQUESTS > 2
		:: where[2] == ready -> dispatch(2)
		:: where[3] == ready -> dispatch(3)
#endif
		:: else ->
			collect();
			pause();
			wanted = wanted || (lasts && unmapped > 0);
			run_committer();
			round_ended();
			space_came();
			take_inbox(n);
			if
			:: n == 0 -> break
			:: else -> n = 0
			fi
		od;

		if
		:: stop == quiet ->
			suspend_ends();
			look_if_still(still);
			if
			:: still -> stop = drain; drained = false; begun = false; flipping = true
			:: else
			fi
		:: stop == drain ->
			suspend_ends();
			if
			:: drained ->
				look_if_still(still);
				if
#ifdef ONE_DRAIN
				:: still ->
#else
				:: still && !begun ->
#endif
					stop = last_commit;
#ifdef COMMITS
					wanted = true;
					run_committer()
#endif
				:: else -> stop = quiet; kick = true
				fi
			:: else
			fi
		:: else
		fi;
		if
		:: stop == last_commit && round == NO_ROUND && !wanted && flushing != WAITS ->
			assert(!lasts && nr_out == 0 && state == clear);
			d_step {
				drained = false; begun = false; stop = not_stopping;
				stopped = true
			}
		:: else
		fi;
		still = false;
		idle = true }
	od
}

/* Ends a pause of the worker. */
active proctype Pause()
{
end:
	do
	:: pausing -> pausing = false
	od
}

/* ---- The host's other hands ------------------------------------------------- */

active proctype Timer()
{
end:
	do
	:: atomic { timer -> timer = false; s_timer = true; kick = true }
	od
}

active proctype Epoch()
{
	byte k, n;
end:
	do
	:: atomic { flipping ->
		n = 0;
		for (each(k)) {
			n = n + in_epoch[k]
		}
		k = 0;
		if
		:: n == 0 -> flipping = false; s_drained = true; kick = true
		:: else
		fi;
		n = 0 }
	od
}

active proctype Space()
{
	byte changes;
end:
	do
	:: changes < CHANGES -> atomic { space = !space; changes++ }
	od
}

#ifdef DISCARDS
active proctype Discarder()
{
	byte discards;
end:
	do
	:: atomic { discards < DISCARDS && !blocked && !removed ->
		unmapped++; added++; discards++; commit_timer = true; kick = true }
	od
}
#endif

/* Commits, their timer, and what they free. */
#ifdef COMMITS
active proctype Host()
{
	bool bad;
end:
	do
	:: atomic { round == ROUND_RUNS && ended_as == RUNNING ->
		if
		:: ended_as = WELL
		:: !space -> ended_as = NO_SPACE
#ifdef ERRORS
		:: !bad -> bad = true; ended_as = BADLY
#endif
		fi;
		kick = true }
	:: atomic { commit_timer -> commit_timer = false; s_commit = true; kick = true }
	:: atomic { freeing > 0 && !punched -> punched = true; kick = true }
	od
}

#ifndef DISCARDS
active proctype Flush()
{
end:
	do
	:: atomic { flushing == 0 && !blocked && !removed -> flushing = WAITS; kick = true }
	od
}
#endif
#endif

/* Messages, and the timer of those who wait too long: once each. */
#ifdef MESSAGES
active proctype Administrator()
{
end:
	if
	:: atomic { !blocked && !removed -> s_retry = true; kick = true }
	fi;
end2:
	if
	:: atomic { !blocked && !removed -> s_expire = true; kick = true }
	fi
}
#endif

#ifdef EVENTS
active proctype EventReader()
{
end:
	do
	:: atomic { pending -> pending = false; untold = false }
	od
}
#endif

/* ---- device-mapper's order of calls ------------------------------------------ */

inline requeued_come_again()
{
	for (each(k)) {
		if
		:: where[k] == back -> where[k] = fresh
		:: else
		fi
	}
	k = 0;
	flushing = (flushing == HANDED -> 0 : flushing);
	blocked = false
}

#define under_way(i) (where[i] != ended && where[i] != back && where[i] != fresh)
#define any_under_way \
	(under_way(0) || under_way(1) || under_way(2) || under_way(3) || flushing == WAITS)

active proctype Suspender()
{
	byte k, suspends;

end:
	do
	:: suspends < SUSPENDS ->
		suspends++;
		if
		:: atomic { blocked = true; may_requeue = true; suspending = noflush; calling = true }
		:: atomic { blocked = true; suspending = flush; calling = true }
		fi;
		atomic { s_suspend = true; kick = true; calling = false };
		if
		:: !any_under_way -> may_requeue = false
		:: /* interrupted: what was held back or requeued goes on before the target knows */
			atomic { may_requeue = false; requeued_come_again(); calling = true };
			suspending = none;
			atomic { s_undone = true; kick = true; calling = false };
			goto next
		:: suspending == flush -> /* remove waits for nobody */
			atomic { removed = true; calling = true }
		fi;
		atomic { s_stop = true; kick = true; calling = false };
		atomic { stopped -> stopped = false };
		/* ph_quiesce() */
		timer = false;
		commit_timer = false;
		idle && !kick;
		assert(!timer);
		assert(!any_under_way);
		if
		:: removed -> break
		:: else
		fi;
		suspending = none;
		atomic { s_undone = true; kick = true };
		atomic { requeued_come_again() };
next:		skip
	:: break
	od
}

/* ---- What must hold at any time ----------------------------------------------- */

#define probe_under_way(i) (is_probe[i] && (where[i] == io || where[i] == inbox))
#define waits(i)           ((where[i] == lot && !parking[i]) || where[i] == parked)

#if REQUESTS == 2
#define in_parking    (parking[0] || parking[1])
#define nobody_probes (!probe_under_way(0) && !probe_under_way(1))
#define more_wait     false
#else
#define in_parking    (parking[0] || parking[1] || parking[2] || parking[3])
#define nobody_probes \
	(!probe_under_way(0) && !probe_under_way(1) && !probe_under_way(2) && !probe_under_way(3))
#define more_wait     (waits(2) || waits(3))
#endif

active proctype Watch()
{
end:
	if
	:: atomic { idle && !kick && !timer && !commit_timer && !flipping && !calling &&
		    round != ROUND_RUNS && freeing == 0 &&
		    !(attentive && in_parking) && nobody_probes &&
		    (waits(0) || waits(1) || more_wait || round == ROUND_PARKED ||
		     flushing == WAITS) -> assert(false) }
	:: atomic { untold && !pending -> assert(false) }
	fi
}

init {
	byte k;

	atomic {
		for (each(k)) {
			where[k] = fresh;
			run Request(k)
		}
	}
}
