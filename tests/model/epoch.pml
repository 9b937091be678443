/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The two epochs of src/linux/epoch.c: whoever read the map before a cluster
 * was unmapped has ended its I/O when the flip that began after that has drained.
 *
 * A percpu_ref is a flag and a count: a dead one cannot be entered, and it is
 * drained when its count is zero. Memory is sequentially consistent here: the
 * barriers in the C file are not what this model is about.
 *
 * NO_RECHECK takes away the second look at the current epoch: the model must fail.
 */

#define READERS 2
#define ENTRIES 2 /* by each reader */
#define FLIPS   3
#define NOTHING 255

bit current;
bool live[2] = true;
byte count[2];

byte mapped;             /* the cluster that the map names; each is named once */
byte used[READERS] = NOTHING; /* the cluster that the reader's I/O is on */

proctype Reader(byte me)
{
	bit which;
	byte entries;

	do
	:: entries < ENTRIES ->
		entries++;
again:
		which = current;
		if
		:: atomic { live[which] -> count[which]++ }
		:: atomic { !live[which] -> goto again }
		fi;
#ifndef NO_RECHECK
		if
		:: current == which
		:: else -> count[which]--; goto again
		fi;
#endif
		used[me] = mapped;
		used[me] = NOTHING;
		count[which]--
	:: else -> break
	od
}

active proctype Worker()
{
	bit old;
	byte unmapped;
	byte i;

	for (unmapped : 0 .. FLIPS - 1) {
		mapped = unmapped + 1;
		old = current;
		current = !old;
		live[old] = false;
		count[old] == 0;
		live[old] = true;
		/* It is reused from here on. */
		for (i : 0 .. READERS - 1) {
			assert(used[i] != unmapped)
		}
	}
}

init {
	byte i;

	atomic {
		for (i : 0 .. READERS - 1) {
			run Reader(i)
		}
	}
}
