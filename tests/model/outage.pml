/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The whole life of an outage: src/core/nospace/outage.cc, what it needs of io.cc and
 * target.cc, device-mapper's order of calls at suspend, undone suspend, remove
 * and resume, and a host that runs out of space and may get it back.
 *
 * What is checked, whatever the order of steps:
 *  - each request ends once (invariant 5), and ends, or goes back to
 *    device-mapper, if the host lets it: nobody is stuck;
 *  - while no round of the worker runs or is due, nobody waits whom no timer
 *    and no probe under way will fetch;
 *  - the event is pending from the begin of an outage until it is read;
 *  - after the end of a suspend the target holds nothing, and no timer is armed.
 *
 * EVENTS, MESSAGES, DISCARDS, SUSPENDS and CHANGES say how much of that is in one search:
 * all at once is too much. Memory is sequentially consistent here; the fences are the
 * business of park_model.cc, which runs the shipping code. Of the commit there is only
 * what the quarantine of discarded clusters needs; that it may wait for space itself is
 * left out. Who waits for the quarantine does so while there is anything in it: that the
 * code counts, and gives up when others go on discarding, is left out, too. Discards and suspends in one search are too much for any memory: their
 * meeting is the simulation's.
 *
 * One rule of the code at a time can be broken, then the model must fail:
 *  QUIET_END	an outage that ends leaves the lot quiet
 *  RELEASE_ONCE	a release does not look at the lot again when the outage is over
 *  NO_COLLECT	a round of the worker looks at the lot only in an outage
 *  QUIET_PROBE	a probe does not make the lot attentive
 *  LATE_PUSH	the epoch is left before the request is pushed
 *  NO_TIMER	the lot is quiet, but the timer is not armed
 *  QUIET_WHILE_PROBING	an outage begins quiet while a probe of the one before is under way
 *  TWO_PROBES	a timer starts a probe while another is under way
 *  SILENT_PUNCH	the quarantine empties, and those who wait for it are not told
 *  SILENT_FAILURE	the commit that the quarantine needs fails, and they are not told
 *  NO_COMMIT	they wait for the quarantine, and nobody wants a commit
 *  ONE_DRAIN	I/O that the worker began while the last epoch drained is not waited for
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

/* Where a request is. */
mtype = { fresh, io, lot, taken, parked, ready, inbox, ended, back };
/* What the inbox is told of one: to be started, served, or without space. */
mtype = { start, served, unserved };

mtype where[REQUESTS] = fresh;
mtype told[REQUESTS] = start;
bool is_probe[REQUESTS];
bool in_slot[REQUESTS];     /* writes the first data of a cluster: its end is the worker's */
byte in_epoch[REQUESTS];   /* by its I/O, or by who ends that and has yet to look */
bool parking[REQUESTS];     /* pushed, and has yet to look at attentive */

/* The host. */
bool space;
bool kick;
bool timer;
bool idle = true; /* no round of the worker runs */
bool flipping;

/* Signals to the worker; they come with a kick. */
bool s_suspend, s_undone, s_retry, s_timer, s_expire, s_drained, s_stop;
bool s_committed, s_failed, s_punched;

/* The target. */
mtype = { none, noflush, flush };
mtype suspending = none;
bool may_requeue;
bool blocked;     /* device-mapper keeps new requests back */
bool removed;
bool calling;     /* device-mapper is in a call that has yet to signal */
mtype = { not_stopping, quiet, drain };
bool stopped;

/* The quarantine: is there something to be committed, under commit, on its way from there? */
bool unmapped, committing, freeing;
bool hopeless[REQUESTS]; /* the commit that it waited for has failed */
bool hoping[REQUESTS];  /* no outage was begun for it, because of the quarantine */
bool failed;            /* a commit has: nothing is written any more */

bool attentive = true;
bool pending;     /* the event */
bool untold;      /* an outage began, and the event was not read since */

#define each(i) i : 0 .. REQUESTS - 1

inline end_request(i)
{
	assert(where[i] != ended && where[i] != back);
	where[i] = ended;
	is_probe[i] = false
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
	hopeless[i] = false;
	hoping[i] = false;
	retried[i] = false
}

/* ---- Requests: the submitter, and the end of I/O in any context ------------ */

proctype Request(byte me)
{
	do
	:: atomic { where[me] == fresh && !blocked && !removed ->
		is_probe[me] = false;
		if /* Is the cluster mapped? */
		:: where[me] = io; in_slot[me] = false; in_epoch[me]++
		:: where[me] = inbox; told[me] = start; kick = true
		fi }
	:: atomic { where[me] == io && !in_slot[me] ->
		in_epoch[me]--;
		if
		:: is_probe[me] -> where[me] = inbox; told[me] = served; kick = true
		:: else -> end_request(me)
		fi }
	:: atomic { where[me] == io && in_slot[me] ->
		where[me] = inbox; kick = true; in_epoch[me]--;
		if
		:: told[me] = served
		:: !space -> told[me] = unserved
		fi }
	:: atomic { where[me] == io && !in_slot[me] && !space ->
#ifdef LATE_PUSH
		in_epoch[me]--;
		where[me] = taken }; /* in nobody's hands */
		atomic {
#endif
		where[me] = lot; parking[me] = true };
		atomic {
			if
			:: attentive -> kick = true
			:: else
			fi;
			parking[me] = false; in_epoch[me]--
		}
	:: where[me] == ended -> break
	:: removed && (where[me] == back || where[me] == fresh) -> break
	od
}

/* ---- The worker ------------------------------------------------------------- */

inline count_of(state, result)
{
	result = 0;
	for (each(k)) {
		result = result + (where[k] == state -> 1 : 0)
	}
}

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

/* accept(), for all that were taken. */
inline accept()
{
	d_step {
		came_back = false;
		for (each(k)) {
			if
			:: where[k] == taken ->
				if
				:: is_probe[k] -> is_probe[k] = false; came_back = true
				:: else
				fi;
				if
				:: suspending == noflush && may_requeue -> hand_back(k)
				:: suspending == flush && retried[k] -> end_request(k)
				:: suspending == flush && !retried[k] ->
					retried[k] = true;
					where[k] = ready
				:: failed && suspending != flush &&
				   !(suspending == noflush && may_requeue) -> where[k] = ready
				:: else -> where[k] = parked
				fi
			:: else
			fi
		}
		count_of(parked, n);
		k = 0
	}
}

inline wait_for_timer()
{
#ifndef NO_TIMER
	timer = true;
#endif
#ifdef QUIET_WHILE_PROBING
	attentive = false
#else
	if
	:: probing /* of the outage before: it must be noticed when it comes back */
	:: else -> attentive = false
	fi
#endif
}

/* The oldest of those who wait, whichever it is: is there hope for it? */
#ifdef DISCARDS
#define in_quarantine (unmapped || committing || freeing)
#define hopes(i)      (where[i] == parked && in_quarantine && !hopeless[i])
#define despairs(i)   (where[i] == parked && !(in_quarantine && !hopeless[i]))
#else
#define despairs(i)   (where[i] == parked)
#endif

/* After accept(), which has counted. */
inline begin_if_parked()
{
	if
#ifdef DISCARDS
	:: n > 0 && !outage && (hopes(0) || hopes(REQUESTS - 1)) ->
		d_step {
			for (each(k)) {
				hoping[k] = hoping[k] || hopes(k)
			}
			k = 0
		};
#ifndef NO_COMMIT
		wanted = wanted || unmapped
#endif
#endif
	:: n > 0 && !outage && (despairs(0) || despairs(REQUESTS - 1)) ->
#ifdef DISCARDS
		d_step {
			for (each(k)) {
				/* Who hopes is tried again before anybody says that there is no space. */
				assert(!(hoping[k] && despairs(k)));
				hoping[k] = false
			}
			k = 0
		};
#endif
		outage = true;
		wait_for_timer();
#ifdef EVENTS
		d_step { pending = true; untold = true }
#endif
	:: else
	fi;
	n = 0
}

inline be_attentive()
{
	attentive = true;
	take_lot()
}

/* Where no probe can come back. */
inline take_in_others()
{
	accept();
	assert(!came_back);
	begin_if_parked()
}

inline ready_all_parked()
{
	d_step {
		for (each(k)) {
			if
			:: where[k] == parked -> where[k] = ready
			:: else
			fi
		}
		k = 0
	}
}

/* The outage is over: from now on whoever parks wakes the worker. */
inline end_quietly()
{
	timer = false;
	d_step { outage = false; probe_again = false };
#ifndef QUIET_END
	be_attentive();
	accept();
	if
	:: came_back -> d_step { came_back = false; probing = false }
	:: else
	fi;
	begin_if_parked()
#endif
}

inline release_others()
{
	be_attentive();
	take_in_others();
	ready_all_parked();
	end_quietly()
}

inline probe()
{
#ifdef QUIET_PROBE
	take_lot();
#else
	be_attentive();
#endif
	take_in_others();
	if
	:: d_step { where[0] == parked -> is_probe[0] = true; where[0] = ready; probing = true }
	:: d_step { where[REQUESTS - 1] == parked ->
		is_probe[REQUESTS - 1] = true; where[REQUESTS - 1] = ready; probing = true }
	:: else -> release_others()
	fi
}

/* In an outage. */
inline probe_failed()
{
	if
	:: probe_again -> probe_again = false; probe()
	:: else ->
		wait_for_timer();
#ifdef EVENTS
		pending = true
#endif
	fi
}

inline take_in()
{
	accept();
	if
	:: came_back ->
		d_step { came_back = false; probing = false };
		if
		:: outage -> n = 0; probe_failed()
		:: else
		fi
	:: else
	fi;
	begin_if_parked()
}

inline release_all()
{
	be_attentive();
	take_in();
	ready_all_parked();
#ifdef RELEASE_ONCE
	d_step { outage = false; probe_again = false }
#else
	end_quietly()
#endif
}

#ifdef DISCARDS
/* Who waits without an outage does so for the quarantine. */
inline try_hoping()
{
	d_step {
		for (each(k)) {
			hoping[k] = hoping[k] && where[k] != parked
		}
		count_of(parked, n);
		k = 0
	};
	if
	:: n > 0 -> n = 0; ready_all_parked(); end_quietly()
	:: else
	fi
}

/* Without an outage, the commit has failed. */
inline lower_hopes()
{
	d_step {
		for (each(k)) {
			hopeless[k] = hopeless[k] || where[k] == parked
		}
		k = 0
	};
	try_hoping()
}
#endif

inline retry_now()
{
	if
	:: outage && probing -> probe_again = true
	:: outage && !probing -> timer = false; probe()
#ifdef DISCARDS
	:: !outage -> try_hoping()
#endif
	:: else
	fi
}

/* The signals of the commit and of the punch that follows it. */
inline move_quarantine()
{
	if
	:: committed -> d_step { committed = false; committing = false; freeing = true }
	:: else
	fi;
	if
	:: has_failed ->
		d_step { has_failed = false; failed = true; committing = false; unmapped = true };
#ifndef SILENT_FAILURE
		if
		:: !outage -> lower_hopes()
		:: else
		fi
#endif
	:: else
	fi;
	if
	:: punched -> d_step { punched = false; freeing = false };
#ifndef SILENT_PUNCH
		retry_now()
#endif
	:: else
	fi
}

inline on_timer()
{
	if
#ifdef TWO_PROBES
	:: outage -> probe()
#else
	:: outage && !probing -> probe()
#endif
	:: else
	fi
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
		k = 0
	};
	if
	:: outage && !probing -> end_quietly()
	:: else
	fi
}

inline suspend_begins()
{
	be_attentive();
	take_in();
	if
	:: suspending == flush ->
		d_step {
			for (each(k)) {
				retried[k] = retried[k] || where[k] == parked
			}
			k = 0
		};
		if
		:: outage -> release_all()
		:: else
		fi
	:: d_step { suspending == noflush && may_requeue ->
			for (each(k)) {
				if
				:: where[k] == parked -> hand_back(k)
				:: else
				fi
			}
			k = 0
		};
		end_quietly()
	:: else
	fi
}

inline suspend_undone()
{
	be_attentive();
	take_in();
	retry_now()
}

inline suspend_ends()
{
	be_attentive();
	take_in();
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
	:: attentive -> kick = true
	:: else
	fi
}

/* One request that is ready. */
inline dispatch(i)
{
	if
	:: told[i] == served ->
		told[i] = start;
		if
		:: is_probe[i] ->
			is_probe[i] = false;
			probing = false;
			if
			:: outage -> release_all()
			:: else
			fi
		:: else
		fi;
		end_request(i)
	:: told[i] == unserved -> told[i] = start; park_here(i)
	:: told[i] == start && failed ->
		if
		:: is_probe[i] ->
			is_probe[i] = false;
			probing = false;
			if
			:: outage -> probe()
			:: else
			fi
		:: else
		fi;
		end_request(i)
	:: told[i] == start && !failed && outage && !is_probe[i] -> park_here(i) /* needs a new cluster */
	:: told[i] == start && !failed && !(outage && !is_probe[i]) ->
		d_step { where[i] = io; in_slot[i] = true; in_epoch[i]++ }
	:: told[i] == start && !failed -> /* overwrites, on a host that may need space for that, too */
		d_step { where[i] = io; in_slot[i] = false; in_epoch[i]++; begun = true }
	fi
}

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
		count_of(ready, result);
		k = 0
	}
}

inline look_if_still(result)
{
	d_step {
		result = !probing;
		for (each(k)) {
			result = result && where[k] != parked && where[k] != ready &&
				 !(where[k] == io && in_slot[k])
		}
		k = 0
	}
}

active proctype Worker()
{
	byte k, n, m;
	bool came_back, still;
	bool suspend, undone, retry, fired, expire, was_drained, do_stop;
	bool outage, probing, probe_again;
	bool retried[REQUESTS];
#ifdef DISCARDS
	bool committed, has_failed, punched, wanted;
#endif
	mtype stop = not_stopping;
	bool drained; /* the flip of the stop has ended */
	bool begun;   /* since that began, the worker has started I/O */

end:
	do
	:: atomic { kick -> kick = false; idle = false };
		d_step {
			suspend = s_suspend; undone = s_undone; retry = s_retry; fired = s_timer;
			expire = s_expire; was_drained = s_drained; do_stop = s_stop;
			s_suspend = false; s_undone = false; s_retry = false; s_timer = false;
			s_expire = false; s_drained = false; s_stop = false;
#ifdef DISCARDS
			committed = s_committed; has_failed = s_failed; punched = s_punched;
			s_committed = false; s_failed = false; s_punched = false
#endif
		};
#ifdef DISCARDS
		move_quarantine();
#endif
		if :: was_drained -> was_drained = false; drained = true :: else fi;
		if :: suspend -> suspend = false; suspend_begins() :: else fi;
		if :: undone -> undone = false; suspend_undone() :: else fi;
		if :: retry -> retry = false; retry_now() :: else fi;
		if :: fired -> fired = false; on_timer() :: else fi;
		if :: expire -> expire = false; on_expire() :: else fi;
		if :: do_stop -> do_stop = false; stop = quiet; suspend_ends() :: else fi;

		do
		:: where[0] == ready -> dispatch(0)
		:: where[REQUESTS - 1] == ready -> dispatch(REQUESTS - 1)
		:: else ->
#ifdef NO_COLLECT
			if
			:: outage -> take_lot(); take_in()
			:: else
			fi;
#else
			take_lot();
			take_in();
#endif
			take_inbox(n);
			if
			:: n == 0 -> break
			:: else -> n = 0
			fi
		od;
#ifdef DISCARDS
		if /* One commit at a time, and what it frees is freed before the next. */
		:: d_step { (wanted || (outage && unmapped)) && !committing && !freeing &&
		   !failed ->
				wanted = false;
				committing = true;
				unmapped = false
			}
		:: else
		fi;
#endif

		if
		:: stop == quiet ->
			suspend_ends();
			look_if_still(still);
			if
			:: still ->
				stop = drain; drained = false; begun = false;
				flipping = true
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
					assert(!outage && !probing);
					stop = not_stopping;
					stopped = true
				:: else -> stop = quiet; kick = true
				fi
			:: else
			fi
		:: else
		fi;
		still = false;
		idle = true
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

/* Discards, and the host's part in what becomes of them. */
#ifdef DISCARDS
active proctype Discarder()
{
	byte discards;
end:
	do
	:: atomic { discards < DISCARDS && !blocked && !removed ->
		unmapped = true; discards++; kick = true }
	od
}

active proctype Host()
{
end:
	do
	:: atomic { committing && !s_committed && !s_failed ->
		if
		:: s_committed = true
		:: s_failed = true
		fi;
		kick = true }
	:: atomic { freeing && !s_punched -> s_punched = true; kick = true }
	od
}
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
	blocked = false
}

#define under_way(i) (where[i] != ended && where[i] != back && where[i] != fresh)

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
		:: !under_way(0) && !under_way(REQUESTS - 1) -> may_requeue = false
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
		idle && !kick;
		assert(!timer);
		for (each(k)) {
			assert(!under_way(k))
		}
		k = 0;
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

active proctype Watch()
{
end:
	if
	:: atomic { idle && !kick && !timer && !flipping && !calling && !committing && !freeing &&
		    !(attentive && (parking[0] || parking[REQUESTS - 1])) &&
		    (waits(0) || waits(REQUESTS - 1)) &&
		    !probe_under_way(0) && !probe_under_way(REQUESTS - 1) -> assert(false) }
	:: atomic { untold && !pending -> assert(false) }
	fi
}

init {
	byte k;

	atomic {
		for (each(k)) {
			run Request(k)
		}
	}
}
