/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The words of the map, from hole to durable and back (the table in
 * src/core/map/map.h), with what makes that safe: the page's mark and its count
 * (dirty_pages.h), the gate, commit rounds that may fail, flushes on the fast path
 * and in a round, slots, unmapping, the quarantine, clean clusters, and a host
 * that keeps some of what was written in a cache when the power is cut.
 *
 * The host. What was written to a place is durable at any time after that, unless a
 * sync said so before: then it is. So each place (a sector of a cluster, an entry of
 * the page) has the value that is read now, and the set of those that may be found
 * after a cut. A sync that succeeds takes away what was older than its begin. One
 * that fails may have lost what it was to write, of which nobody else is told: that
 * is not written by a later sync either, until it is written anew.
 *
 * What is checked, in every state, as if the power were cut there:
 *  - each sector reads as one of the values that it may have: of what was written or
 *    zeroed, and what a flush that was acknowledged covers rules out all that is
 *    older; a write that a shut gate lets through after a flush has failed
 *    promises what that flush would have;
 *  - nobody reads what a cluster held before, or what belongs to another word;
 *  - no two words, and no two entries that may be on disk, name the same cluster;
 * and the same of what is read without a cut; that no flush fails before the gate is
 * shut; that in the end, if nothing has failed for ever, nothing stays dirty.
 *
 * The failure of a sync, whoever's, is with the gate and with all who ask for it at the
 * instant of its end; LATE_REPORT is what happens if it is not.
 *
 * One page. A word and a cluster have two sectors. Memory is sequentially consistent;
 * where a fence forbids an order, the broken rule is that order. mark_model.cc is for
 * the fences themselves. There are no relocations in the code: they are here as the
 * design has them.
 *
 * A configuration is one of
 *  FIRST		two who write into a hole, whose cluster has yet to be made clean;
 *		with ALONE, the first of them
 *  SLOTS		two writes that cover clusters that are not clean, of two words
 *  RECYCLE	a cluster is discarded and used by another word; zeros are written
 *		into it meanwhile
 *  SYNCS		an overwrite beside a cluster that was just written, and one that is
 *		made clean, and syncs that fail
 *  RELOCATE	a durable word moves to another cluster, beside an overwrite
 * and FAILS says how many failures there are: of pages; of syncs, with want of space,
 * or (LOST) with data lost.
 *
 * One rule can be broken, then the model must fail:
 *  GROWTH_LATE	FIRST: a cluster is handed out before its growth is durable
 *  PUNCH_LATE	RECYCLE: the same, of a cluster that was punched
 *  UNSYNCED_WRITTEN	an unsynced word is copied as its place
 *  SYNCED_LATE	what gets unsynced while the data is synced counts as synced
 *  RELOCATED_AS_ZERO	an unsynced word that was relocated is copied as 0
 *  FREED_EARLY	the place before a relocation is in quarantine from its begin on
 *  MARK_EARLY	who publishes looks at the mark before that (no fence in mark())
 *  MARK_LATE	it marks when its data was written and acknowledged
 *  COPY_EARLY	a round copies the words before it takes the mark (no fence in take())
 *  NO_SECOND_MARK	who writes through a fresh word does not mark
 *  LOWERED_EARLY	the count is lowered when the page is taken, not by success
 *  NOT_PUT_BACK	a round that has failed does not put its page back
 *  JOINS_RUNNING	a flush ends with the round that is under way
 *  GATE_UNSEEN	a flush on the fast path does not look at the gate
 *  OPENED_EARLY	the gate is opened by a round that began before it was shut
 *  NOT_SHUT	a page fails, and flushes with it, and the gate stays open
 *  OTHERS_UNHEARD	a round does not ask whether another's sync has failed
 *  LATE_REPORT	a sync's failure is reported when the worker gets to it
 *  UNCOMMITTED	a cluster leaves the quarantine without a commit
 *  NO_EPOCH	it does so beside I/O that is older than its unmapping
 */

/* States of a word. */
#define HOLE     0
#define FRESH    1
#define SLOT     2
#define UNSYNCED 3
#define SYNCING  4
#define IN_ROUND 5
#define DURABLE  6

/*
 * What a sector reads as: zero, what the writer of that number wrote, what was there in
 * the beginning, or what is nobody's. A set of values has a bit for each; in a set of
 * those that are allowed, the bits of who zeroes say zero, too.
 */
#define ZERO     0
#define WRITER_1 1
#define WRITER_2 2
#define WRITER_3 3
#define ZEROER   4
#define DISCARD  5
#define BASE     6
#define JUNK     7

#define INITIAL (1 << ZERO | 1 << BASE)
#define WRITTEN (1 << WRITER_1 | 1 << WRITER_2 | 1 << WRITER_3 | 1 << BASE)
#define ZEROED  (1 << ZERO | 1 << ZEROER | 1 << DISCARD)

#ifdef FIRST
#define CLUSTERS 1
#ifndef FLUSHERS
#define FLUSHERS 1
#endif
#endif
#ifdef SLOTS
#define TWO_WORDS
#define CLUSTERS 2
#define FLUSHERS 1
#endif
#ifdef RECYCLE
#define TWO_WORDS
#define CLUSTERS 1
#define FLUSHERS 1
#endif
#ifdef SYNCS
#define CLUSTERS 2
#ifndef FLUSHERS
#define FLUSHERS 1
#endif
#endif
#ifdef RELOCATE
#define CLUSTERS 2
#define FLUSHERS 1
#endif
#ifndef FAILS
#define FAILS 1
#endif

/* ---- The host: sectors of the clusters, then the entries ------------------------ */

#define PLACES (2 * CLUSTERS + 2)
#define sector(cluster, i) (2 * (cluster) - 2 + (i))
#define entry(word)        (2 * CLUSTERS + (word))

byte now[PLACES]; /* what is read */
byte may[PLACES]; /* the set of what a cut may leave */
byte lost;        /* a bit for each place: no sync writes it any more */

/* Syncs: the round's, the one behind new clean clusters, that of the flushes' thread. */
#define ROUND   0
#define CLEANER 1
#define FAST    2

#define NONE  0
#define RUNS  1
#define GOOD  2
#define SPACE 3 /* it has failed; of data, nothing is lost */
#define EIO   4

byte sync[3];
byte rules_out[3 * PLACES]; /* what its success takes away */
#define rule(which, at) rules_out[(which) * PLACES + (at)]
byte fails = FAILS;

/* Inside of a d_step. */
inline put(at, value)
{
	now[at] = value;
	may[at] = may[at] | 1 << value;
	rule(ROUND, at) = rule(ROUND, at) & ~(1 << value);
	rule(CLEANER, at) = rule(CLEANER, at) & ~(1 << value);
	rule(FAST, at) = rule(FAST, at) & ~(1 << value);
	lost = lost & ~(1 << at)
}

inline put_cluster(cluster, value)
{
	put(sector(cluster, 0), value);
	put(sector(cluster, 1), value)
}

inline begin_sync(which)
{
	for (p : 0 .. PLACES - 1) {
		rule(which, p) = (lost & 1 << p -> 0 : may[p] & ~(1 << now[p]))
	}
	p = 0;
	sync[which] = RUNS
}

/* Of no consequence any more. */
inline end_sync(which, result)
{
	for (p : 0 .. PLACES - 1) {
		if
		:: result == GOOD -> may[p] = may[p] & ~rule(which, p)
		:: (result == EIO || (result == SPACE && p >= entry(0))) && rule(which, p) != 0 ->
			lost = lost | 1 << p;
			rule(ROUND, p) = 0; rule(CLEANER, p) = 0; rule(FAST, p) = 0
		:: else
		fi;
		rule(which, p) = 0
	}
	p = 0;
	sync[which] = result
}

/* ---- The core ------------------------------------------------------------------------ */

byte state[2];
byte place[2];
byte old[2]; /* the place on disk, of what is relocated */
bool mark;
byte count;

bool shut, failed;   /* the gate; and for ever */
bool shut_since;     /* since the round began */
bool error_since[3]; /* a sync has failed since that one's owner began: the flushes', the round */

byte ring;  /* clean clusters; sets of clusters have bit c for cluster c */
byte dirty; /* free ones that are not clean */

bit epoch;
byte inside[2];

/* The slot: asked for, given, written, published. */
byte slot, slot_word, slot_place;
/* Zeroing and discards: sent, under way, done, ended. */
byte range[2];
byte range_place;

/* Flushes: on the way to the worker, in a round, ended. */
#define SENT     1
#define IN       2
#define SUCCEEDS 3
#define FAILED   4
byte flush[FLUSHERS];
byte covers[FLUSHERS];

/* What was promised. */
byte acked;       /* who was told that it is done */
byte older[6];    /* of each of them: who was, before it began */
byte spans[6];    /* the sectors of words that it is about */
byte allowed[4];  /* of each: what it may read as */

inline begin_request(me)
{
	older[me] = acked;
	for (p : 0 .. 3) {
		if
		:: spans[me] & 1 << p -> allowed[p] = allowed[p] | 1 << me
		:: else
		fi
	}
	p = 0
}

/* What the flush covers is durable: who asks for that has been told so. */
inline promise(which)
{
	for (a : WRITER_1 .. ZEROER) { /* a discard promises nothing */
		if
		:: covers[which] & 1 << a ->
			for (p : 0 .. 3) {
				if
				:: spans[a] & 1 << p ->
					allowed[p] = allowed[p] & ~(older[a] | INITIAL)
				:: else
				fi
			}
		:: else
		fi
	}
	a = 0;
	p = 0
}

inline report(result)
{
	if
	:: result == EIO -> failed = true; shut = true; shut_since = true
	:: else
	fi;
	error_since[ROUND] = true;
	error_since[FAST] = true;
	error_since[CLEANER] = true
}

/* DirtyPages::mark_page() */
inline set_mark()
{
	count++;
	if
	:: atomic { mark -> count-- }
	:: atomic { !mark -> mark = true }
	fi
}

/* ---- Writers ------------------------------------------------------------------------- */

proctype Writer(byte me; byte word; byte first; byte last)
{
	byte p;
	byte seen, where, taken;
	bit mine;
	bool marked;

	d_step { begin_request(me) };
again:
	if
	:: shut -> goto over
	:: !shut
	fi;
	if
	:: shut -> goto over /* while it waits */
	:: d_step { state[word] != HOLE || ring != 0 ->
		seen = state[word];
		where = place[word];
		if
		:: seen == HOLE -> taken = (ring & 2 -> 1 : 2); ring = ring & ~(1 << taken)
		:: else
		fi;
#ifdef MARK_EARLY
		marked = mark;
#endif
		mine = epoch;
		inside[mine]++ }
#ifdef SLOTS
	:: atomic { first != last && slot == 0 && state[word] == HOLE && ring == 0 ->
		slot = 1; slot_word = word }; goto in_slot
#endif
	fi;
	if
	:: seen == HOLE ->
		if
		:: d_step { state[word] == HOLE ->
			state[word] = FRESH; place[word] = taken; old[word] = 0;
			seen = FRESH; where = taken }
		:: d_step { state[word] != HOLE ->
			ring = ring | 1 << taken; seen = state[word]; where = place[word] }
		fi
	:: else
	fi;
	if
	:: d_step { seen == SLOT -> inside[mine]--; taken = 0; seen = 0; where = 0; mine = 0 };
		state[word] != SLOT;
		goto again
	:: else
	fi;

#ifndef MARK_LATE
	if
#ifdef NO_SECOND_MARK
	:: seen == FRESH && me != WRITER_2 ->
#else
	:: seen == FRESH ->
#endif
#ifndef MARK_EARLY
		marked = mark;
#endif
		if
		:: marked
		:: else -> set_mark()
		fi
	:: else
	fi;
#endif
	d_step {
		put(sector(where, first), me);
		put(sector(where, last), me);
		inside[mine]--;
		acked = acked | 1 << me;
		taken = 0; where = 0; mine = 0; marked = false;
#ifndef MARK_LATE
		seen = 0
#endif
	};
#ifdef MARK_LATE
	if
	:: seen == FRESH && !mark -> set_mark()
	:: else
	fi;
#endif
	goto over;

#ifdef SLOTS
in_slot:
	if
	:: slot == 2 ->
		d_step { put_cluster(slot_place, me) };
		slot = 3;
		slot == 4;
		slot = 0;
		acked = acked | 1 << me
	:: atomic { slot == 5 -> slot = 0 }; goto again /* it is no hole any more */
	fi;
#endif
over:	skip
}

/* ---- Zeros and discards: which are the worker's, but for the host's part ------------- */

#ifdef RECYCLE
proctype Range(byte me; byte which)
{
	byte p;

	d_step { begin_request(me) };
	range[which] = 1;
	if
	:: range[which] == 2 ->
		d_step { put(sector(range_place, 0), ZERO) };
		range[which] = 3;
		range[which] == 4
	:: range[which] == 4
	fi
}
#endif

/* ---- Flushes ------------------------------------------------------------------------- */

proctype Flusher(byte me)
{
	byte p, a;
	bool good;

	if
	:: d_step { count != 0 -> covers[me] = acked }; goto join
	:: d_step { count == 0 -> covers[me] = acked }
	fi;
#ifndef GATE_UNSEEN
	if
	:: shut -> goto join
	:: else
	fi;
#endif
	d_step { sync[FAST] == NONE -> error_since[FAST] = false; begin_sync(FAST) };
	d_step { sync[FAST] != RUNS ->
		good = sync[FAST] == GOOD;
		sync[FAST] = NONE;
		good = good && !error_since[FAST];
#ifndef GATE_UNSEEN
		good = good && !shut;
#endif
		if
		:: good -> promise(me)
		:: else
		fi };
	if
	:: good -> goto over
	:: else
	fi;

join:
	flush[me] = SENT;
end:
	if
	:: flush[me] == SUCCEEDS
	:: flush[me] == FAILED ->
		/* The write that follows is sent all the same. */
end_shut:
		d_step { !shut -> promise(me) }
	fi;
over:	skip
}

/* ---- The worker ---------------------------------------------------------------------- */

#define copied(w) (state[w] == SLOT || state[w] == UNSYNCED -> from_old(w) : \
		   (state[w] == HOLE -> 0 : place[w]))
#define from_old(w) (state[w] == UNSYNCED -> unsynced_entry(w) : old[w])
#ifdef UNSYNCED_WRITTEN
#define unsynced_entry(w) place[w]
#else
#ifdef RELOCATED_AS_ZERO
#define unsynced_entry(w) 0
#else
#define unsynced_entry(w) old[w]
#endif
#endif

inline take_mark()
{
	mark = false;
	page = true;
#ifdef LOWERED_EARLY
	count--
#endif
}

inline copy(w)
{
	d_step {
		copies[w] = copied(w);
		if
		:: state[w] == FRESH || state[w] == SYNCING -> state[w] = IN_ROUND
		:: state[w] == UNSYNCED -> left = true
		:: else
		fi
	}
}

inline copy_words()
{
	copy(0);
#ifdef TWO_WORDS
	copy(1)
#endif
}

/* Of what is unsynced. */
inline cover(w)
{
	if
	:: state[w] == UNSYNCED -> state[w] = SYNCING
	:: else
	fi
}

inline fail_flushes()
{
	for (f : 0 .. FLUSHERS - 1) {
		if
		:: flush[f] == SENT || flush[f] == IN ->
			assert(shut);
			flush[f] = FAILED
		:: else
		fi
	}
	f = 0
}

inline is_durable(w)
{
	if
	:: state[w] == IN_ROUND ->
		state[w] = DURABLE;
		if
		:: old[w] != 0 -> unnamed = unnamed | 1 << old[w]; old[w] = 0
		:: else
		fi
	:: else
	fi
}

inline succeed()
{
	d_step { is_durable(0) };
#ifdef TWO_WORDS
	d_step { is_durable(1) };
#endif
	d_step {
		if
		:: page ->
#ifndef LOWERED_EARLY
			count--;
#endif
			page = false
		:: else
		fi
	};
	d_step {
		if
#ifdef OPENED_EARLY
		:: shut -> shut = false
#else
		:: shut && !shut_since && !failed -> shut = false
#endif
		:: else
		fi
	};
	d_step {
		unnamed = unnamed | committing;
		committing = 0;
		for (f : 0 .. FLUSHERS - 1) {
			if
			:: flush[f] == IN -> flush[f] = SUCCEEDS; promise(f)
#ifdef JOINS_RUNNING
			:: flush[f] == SENT -> flush[f] = SUCCEEDS; promise(f)
#endif
			:: else
			fi
		}
		f = 0;
		phase = NONE
	}
}

inline is_fresh(w)
{
	if
	:: state[w] == IN_ROUND -> state[w] = FRESH
	:: else
	fi
}

inline put_back()
{
	d_step { is_fresh(0) };
#ifdef TWO_WORDS
	d_step { is_fresh(1) };
#endif
#ifdef NOT_PUT_BACK
	if
	:: page -> count--; page = false
	:: else
	fi;
#else
	if
#ifdef LOWERED_EARLY
	:: page -> mark = true; count++; page = false
#else
	:: atomic { page && mark -> count--; page = false }
	:: atomic { page && !mark -> mark = true; page = false }
#endif
	:: else
	fi;
#endif
	d_step {
		unmapped = unmapped | committing;
		committing = 0;
		for (f : 0 .. FLUSHERS - 1) {
			if
			:: flush[f] == IN -> flush[f] = SENT
			:: else
			fi
		}
		f = 0;
		phase = NONE
	}
}

/* A page's error, or flushes that wait for space no longer: but for those who begin anew. */
inline shut_gate()
{
#ifndef NOT_SHUT
	d_step { shut = true; shut_since = true };
	fail_flushes()
#else
	d_step {
		for (f : 0 .. FLUSHERS - 1) {
			if
			:: flush[f] == SENT -> flush[f] = FAILED
			:: else
			fi
		}
		f = 0
	}
#endif
}

#define WRITES 2 /* phases: those of the round's sync, and the page's write */
#define DATA   1
#define MAP    3

active proctype Worker()
{
	byte p, a, f;
	byte phase, result;
	byte copies[2];
	byte unmapped, committing, unnamed, draining; /* the quarantine */
	byte cleaning;                                /* and the pool */
	bool page;    /* this round has one */
	bool left;
	bool noted;   /* Map::may_have_unsynced() */
	bit zeroer_in;
	bool moved;

end:
	do
	/* A round. */
	:: d_step { phase == NONE && !failed && (mark || shut || unmapped != 0 ||
		    flush[0] == SENT || flush[FLUSHERS - 1] == SENT) ->
			committing = unmapped;
			unmapped = 0;
			for (f : 0 .. FLUSHERS - 1) {
				if
				:: flush[f] == SENT -> flush[f] = IN
				:: else
				fi
			}
			f = 0;
			shut_since = false;
			error_since[ROUND] = false;
			if
			:: noted && mark ->
				cover(0);
				cover(1);
				noted = state[0] == SYNCING || state[1] == SYNCING
			:: else
			fi;
			if
			:: noted -> begin_sync(ROUND); phase = DATA
			:: else -> phase = WRITES
			fi }
	:: atomic { phase == DATA && sync[ROUND] != RUNS ->
		result = sync[ROUND]; sync[ROUND] = NONE };
#ifdef SYNCED_LATE
		cover(0);
		cover(1);
#endif
		goto synced
	:: atomic { phase == MAP && sync[ROUND] != RUNS ->
		result = sync[ROUND]; sync[ROUND] = NONE };
synced:
#ifdef LATE_REPORT
		if
		:: d_step { result != GOOD -> report(result) }
		:: else
		fi;
#endif
		if
#ifdef OTHERS_UNHEARD
		:: result == GOOD ->
#else
		:: result == GOOD && !error_since[ROUND] ->
#endif
			if
			:: phase == DATA -> phase = WRITES
			:: else -> succeed()
			fi
		:: else ->
			put_back();
			if
			:: failed -> fail_flushes()
			:: !failed /* it waits for space */
			:: !failed -> shut_gate()
			fi
		fi;
		result = NONE
	:: phase == WRITES ->
		if
		:: mark ->
#ifdef COPY_EARLY
			copy_words();
			take_mark();
#else
			take_mark();
			copy_words();
#endif
			if
			:: left -> left = false; set_mark()
			:: else
			fi;
			if
			:: d_step { put(entry(0), copies[0]); put(entry(1), copies[1]) };
				result = GOOD
			:: atomic { fails > 0 ->
				fails--;
				if
				:: d_step { put(entry(0), copies[0]) }
				:: skip
				fi;
#ifdef TWO_WORDS
				if
				:: d_step { put(entry(1), copies[1]) }
				:: skip
				fi;
#endif
				result = EIO }
			fi;
			d_step { copies[0] = 0; copies[1] = 0 }
		:: else -> result = GOOD
		fi;
		if
		:: d_step { result == GOOD -> begin_sync(ROUND); phase = MAP }
		:: else -> put_back(); shut_gate()
		fi;
		result = NONE
	:: failed && phase == NONE && (flush[0] == SENT || flush[FLUSHERS - 1] == SENT) ->
		fail_flushes()

#ifdef SLOTS
	/* NewPlaces, for a write that covers a cluster. */
	:: atomic { slot == 1 && state[slot_word] == HOLE && dirty != 0 ->
		slot_place = (dirty & 2 -> 1 : 2);
		dirty = dirty & ~(1 << slot_place);
		state[slot_word] = SLOT; old[slot_word] = 0;
		slot = 2 }
	:: atomic { slot == 1 && (state[slot_word] != HOLE || dirty == 0) -> slot = 5 }
	:: slot == 3 ->
		if
		:: mark
		:: else -> set_mark()
		fi;
		noted = true;
		d_step { state[slot_word] = UNSYNCED; place[slot_word] = slot_place };
		slot = 4
#endif

#ifdef RECYCLE
	/* Ranges: zeros in a part of word 0, and a discard of it. */
	:: range[0] == 1 ->
		if
		:: shut -> range[0] = 4
		:: else ->
			atomic { zeroer_in = epoch; inside[zeroer_in]++ };
			if
			:: state[0] == HOLE ->
				inside[zeroer_in]--;
				acked = acked | 1 << ZEROER;
				range[0] = 4
			:: else ->
				range_place = place[0];
				if
				:: state[0] == FRESH && !mark -> set_mark()
				:: else
				fi;
				range[0] = 2
			fi
		fi
	:: range[0] == 3 -> inside[zeroer_in]--; acked = acked | 1 << ZEROER; range[0] = 4
	:: range[1] == 1 ->
		if
		:: shut -> range[1] = 4
		:: else ->
			if
			:: state[0] == HOLE
			:: else ->
				unmapped = unmapped | 1 << place[0];
				if
				:: mark
				:: else -> set_mark()
				fi;
				d_step { state[0] = HOLE; place[0] = 0 }
			fi;
			acked = acked | 1 << DISCARD;
			range[1] = 4
		fi
#endif

#ifdef RELOCATE
	:: d_step { !moved && state[0] == DURABLE && ring != 0 && unnamed == 0 && draining == 0 ->
		moved = true;
		slot_place = (ring & 2 -> 1 : 2);
		ring = ring & ~(1 << slot_place);
		state[0] = SLOT; old[0] = place[0]; place[0] = 0;
		slot = 2;
		/* I/O on the old place. */
#ifdef FREED_EARLY
		unmapped = unmapped | 1 << old[0];
#endif
		draining = 1;
		epoch = !epoch }
	:: slot == 3 ->
		d_step {
			put(sector(slot_place, 0), now[sector(old[0], 0)]);
			put(sector(slot_place, 1), now[sector(old[0], 1)])
		};
		if
		:: mark
		:: else -> set_mark()
		fi;
		noted = true;
		d_step { state[0] = UNSYNCED; place[0] = slot_place };
		slot = 0
#endif

	/* The quarantine, and the pool. */
#ifdef UNCOMMITTED
	:: d_step { (unnamed | unmapped) != 0 && draining == 0 ->
		draining = unnamed | unmapped; unnamed = 0; unmapped = 0; epoch = !epoch }
#else
	:: d_step { unnamed != 0 && draining == 0 ->
		draining = unnamed; unnamed = 0; epoch = !epoch }
#endif
#ifdef NO_EPOCH
	:: d_step { draining != 0 ->
#else
	:: d_step { draining != 0 && inside[!epoch] == 0 ->
#endif
		if
		:: draining & 1 -> slot = 3; draining = 0
		:: else -> dirty = dirty | draining; draining = 0
		fi }
	:: d_step { dirty != 0 && cleaning == 0 && ring == 0 ->
		cleaning = (dirty & 2 -> 1 : 2);
		dirty = dirty & ~(1 << cleaning);
		put_cluster(cleaning, ZERO);
		error_since[CLEANER] = false;
		begin_sync(CLEANER);
#ifdef GROWTH_LATE
		ring = 1 << cleaning
#endif
#ifdef PUNCH_LATE
		ring = 1 << cleaning
#endif
		}
	:: atomic { cleaning != 0 && sync[CLEANER] != RUNS ->
		result = sync[CLEANER]; sync[CLEANER] = NONE };
#ifdef LATE_REPORT
		if
		:: d_step { result != GOOD -> report(result) }
		:: else
		fi;
#endif
		d_step {
			if
			:: result == GOOD -> ring = ring | 1 << cleaning
			:: else -> dirty = dirty | 1 << cleaning
			fi;
			cleaning = 0;
			result = NONE
		}
	od
}

/* ---- The host's syncs ---------------------------------------------------------------- */

inline end_any(which)
{
	if
	:: d_step { sync[which] == RUNS -> end_sync(which, GOOD) }
	:: d_step { sync[which] == RUNS && fails > 0 ->
		fails--;
		end_sync(which, SPACE);
#ifdef LATE_REPORT
		if
		:: which == FAST -> report(SPACE)
		:: else
		fi
#else
		report(SPACE)
#endif
		}
#ifdef LOST
	:: d_step { sync[which] == RUNS && fails > 0 ->
		fails--;
		end_sync(which, EIO);
#ifdef LATE_REPORT
		if
		:: which == FAST -> report(EIO)
		:: else
		fi
#else
		report(EIO)
#endif
		}
#endif
	fi
}

active proctype Host()
{
	byte p;

end:
	do
	:: sync[ROUND] == RUNS -> end_any(ROUND)
	:: sync[CLEANER] == RUNS -> end_any(CLEANER)
	:: sync[FAST] == RUNS -> end_any(FAST)
	od
}

/* ---- What must hold at any time -------------------------------------------------------- */

#define reads_as(x) (allowed[x] & WRITTEN | (allowed[x] & ZEROED -> 1 << ZERO : 0))

/* After a cut: of each entry that may be there. */
#define found(w, c, i) \
	((may[entry(w)] & 1 << (c)) && (may[sector(c, i)] & ~reads_as(2 * (w) + (i))))
#define no_entry(w, i) ((may[entry(w)] & 1) && !(allowed[2 * (w) + (i)] & ZEROED))
#if CLUSTERS == 2
#define cut(w, i) (no_entry(w, i) || found(w, 1, i) || found(w, 2, i))
#else
#define cut(w, i) (no_entry(w, i) || found(w, 1, i))
#endif

/* Without one. */
#define named(w)   (state[w] == SLOT -> old[w] : (state[w] == HOLE -> 0 : place[w]))
#define read(w, i) (named(w) == 0 -> ZERO : now[sector((named(w) == 0 -> 1 : named(w)), i)])
#define live(w, i) (1 << read(w, i) & ~reads_as(2 * (w) + (i)))

proctype Watch()
{
end:
	if
	:: atomic { cut(0, 0) || cut(0, 1) || cut(1, 0) || cut(1, 1) -> assert(false) }
	:: atomic { live(0, 0) || live(0, 1) || live(1, 0) || live(1, 1) -> assert(false) }
	:: atomic { (may[entry(0)] & may[entry(1)] & ~1) != 0 -> assert(false) }
	:: atomic { named(0) == named(1) && named(0) != 0 -> assert(false) }
	fi
}

inline begins_as(cluster, value)
{
	now[sector(cluster, 0)] = value;
	now[sector(cluster, 1)] = value;
	may[sector(cluster, 0)] = 1 << value;
	may[sector(cluster, 1)] = 1 << value
}

inline begins_durable()
{
	begins_as(1, BASE);
	state[0] = DURABLE;
	place[0] = 1;
	now[entry(0)] = 1;
	may[entry(0)] = 2;
	allowed[0] = 1 << BASE;
	allowed[1] = 1 << BASE
}

/* By another word of the page. */
inline begins_marked()
{
	mark = true;
	count = 1
}

init {
	byte i;

	atomic {
		for (i : 0 .. 3) {
			allowed[i] = 1 << ZERO
		}
		may[entry(0)] = 1;
		may[entry(1)] = 1;
#ifdef FIRST
		begins_as(1, JUNK);
		dirty = 2;
		begins_marked();
		spans[WRITER_1] = 1;
		run Writer(WRITER_1, 0, 0, 0);
#ifndef ALONE
		spans[WRITER_2] = 2;
		run Writer(WRITER_2, 0, 1, 1);
#endif
#endif
#ifdef SLOTS
		begins_as(1, JUNK);
		begins_as(2, JUNK);
		dirty = 6;
		spans[WRITER_1] = 3;
		spans[WRITER_3] = 12;
		run Writer(WRITER_1, 0, 0, 1);
		run Writer(WRITER_3, 1, 0, 1);
#endif
#ifdef RECYCLE
		begins_durable();
		spans[ZEROER] = 1;
		spans[DISCARD] = 3;
		spans[WRITER_3] = 4;
		run Range(ZEROER, 0);
		run Range(DISCARD, 1);
		run Writer(WRITER_3, 1, 0, 0);
#endif
#ifdef SYNCS
		/* The first write, to the first half, was acknowledged a moment ago. */
		begins_as(1, ZERO);
		begins_marked();
		now[0] = WRITER_1;
		may[0] = 1 << ZERO | 1 << WRITER_1;
		state[0] = FRESH;
		place[0] = 1;
		acked = 1 << WRITER_1;
		spans[WRITER_1] = 1;
		allowed[0] = 1 << ZERO | 1 << WRITER_1;
		begins_as(2, JUNK);
		dirty = 4;
		spans[WRITER_2] = 2;
		run Writer(WRITER_2, 0, 1, 1);
#endif
#ifdef RELOCATE
		begins_durable();
		begins_marked();
		begins_as(2, ZERO);
		ring = 4;
		spans[WRITER_2] = 2;
		run Writer(WRITER_2, 0, 1, 1);
#endif
		for (i : 0 .. FLUSHERS - 1) {
			run Flusher(i)
		}
		i = 0;
		run Watch()
	}
}
