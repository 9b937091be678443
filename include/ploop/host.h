/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The first contract, core -> host: all that the core asks of its surroundings.
 *
 * Implemented twice: by src/linux/ for the kernel, by tests/sim/ for the tests.
 * Every function is called by the core only. Unless a function says otherwise
 * it may be called in process context only, and it may sleep. "Any context"
 * includes hard irq. Nothing here decides anything: it does what it is told and
 * reports what happened.
 */
#ifndef PLOOP_HOST_H
#define PLOOP_HOST_H

#include "ploop/types.h"

PLOOP_BEGIN_C

/* ---- Memory ----------------------------------------------------------- */

/* The largest piece that ph_alloc() gives, in bytes. */
#define PLOOP_ALLOC_MAX 65536u

/*
 * @bytes of zeroed memory, or NULL: aligned for any type; to a cache line of 64
 * bytes, from 4096 bytes on; to a page, if @bytes is a multiple of 4096. Never
 * starts I/O to get it.
 */
void *ph_alloc(size_t bytes);
/* Gives back what ph_alloc() gave; NULL is fine. */
void ph_free(void *memory);

/* ---- Lockless list ---------------------------------------------------- */

/*
 * Pushes @node; true if the list was empty before. Any context, any number of
 * pushers. Release order only: what the pusher wrote before is seen by whoever
 * takes the node, and nothing more is promised.
 */
bool ph_list_push(struct ploop_list *list, struct ploop_node *node);
/* Takes all nodes at once, newest first, or NULL. Acquire order only. Any context. */
struct ploop_node *ph_list_take(struct ploop_list *list);

/* ---- The worker ------------------------------------------------------- */

/*
 * Has pc_work() run soon: in process context, never twice at a time for one
 * instance. A kick while it runs makes it run once more. What was written
 * before the kick is seen by that run. A kick, or the end of a timer, while the
 * instance is quiet is forgotten. Any context.
 */
void ph_kick(struct ploop_host *host);

/*
 * The same for pc_flush(), which may sleep, and runs beside pc_work(): in process
 * context, soon, on the caller's processor if that goes to sleep, never twice at a
 * time for one instance; a kick while it runs makes it run once more. Any context.
 */
void ph_flush_kick(struct ploop_host *host);

enum ploop_timer {
	PLOOP_TIMER_RETRY,  /* the next probe of an outage */
	PLOOP_TIMER_COMMIT, /* the next commit in the background */
	PLOOP_TIMER_EXPIRE, /* the oldest waiting request has waited long enough */
	PLOOP_TIMER_SPACE,  /* the next look at the host's free space */
	PLOOP_TIMER_FREE,   /* the next portion of free space that the host gets back */
	PLOOP_TIMERS
};

/* pc_timer() runs once, @delay_ms from now; an armed timer is moved. Any context. */
void ph_timer_arm(struct ploop_host *host, enum ploop_timer which, uint32_t delay_ms);
/* The timer is not armed afterwards; its callback may still be running. Any context. */
void ph_timer_stop(struct ploop_host *host, enum ploop_timer which);
/*
 * The instance becomes quiet: waits until no timer or work of it runs, and none
 * will until the next ph_start(). An event raised before is still delivered,
 * before this returns.
 */
void ph_quiesce(struct ploop_host *host);
/* Allows kicks, timers and events again. An instance starts out quiet. */
void ph_start(struct ploop_host *host);

/* Milliseconds of a clock that never goes back and is never 0. Any context. */
uint64_t ph_now_ms(void);

/* ---- Waiting ---------------------------------------------------------- */

/* Room for the host's own completion object; under lockdep the kernel's takes this much. */
struct ploop_wait {
	uint64_t room[16];
};

void ph_wait_init(struct ploop_wait *wait);
/* Lets ph_wait() return, now or later. Any context. */
void ph_wait_signal(struct ploop_wait *wait);
/* Waits for one signal, without bound. Not from pc_work(). */
void ph_wait(struct ploop_wait *wait);

/* Room for a lock of the host's own; under lockdep the kernel's takes this much. */
struct ploop_lock {
	uint64_t room[12];
};

/* Of locks that one may hold together, each has a kind of its own, below this. */
#define PLOOP_LOCK_KINDS 8u

/*
 * A lock for a few lines: whoever holds it neither sleeps nor is interrupted. To
 * take and to release it: any context. It needs no end before its memory is freed.
 */
void ph_lock_init(struct ploop_lock *lock, uint32_t kind);
void ph_lock(struct ploop_lock *lock);
void ph_unlock(struct ploop_lock *lock);

/* One lock for the whole module, for the registry. Process context. */
void ph_global_lock(void);
void ph_global_unlock(void);

/* ---- Epochs: who still uses a mapping that was taken back? ------------- */

/*
 * Enters the current epoch and returns its name, 0 or 1. Whoever enters before
 * reading the map and leaves when its I/O has ended is waited for by a flip
 * that begins after the map was changed. Costs no shared cache line. Any context.
 */
uint32_t ph_epoch_enter(struct ploop_host *host);
/* Leaves the epoch that was entered; hard irq included. */
void ph_epoch_exit(struct ploop_host *host, uint32_t epoch);
/*
 * Begins a new epoch; pc_epoch_drained() is called once, in any context, when
 * all who had entered the old one have left. One flip at a time.
 */
void ph_epoch_flip(struct ploop_host *host);

/* ---- Files ------------------------------------------------------------ */

/* What the host knows of a delta. */
struct ploop_file_facts {
	uint64_t id[2];           /* equal for two files exactly if they are the same inode */
	uint32_t dio_align_bytes; /* of offset and length, for direct I/O; 0: none to be had */
	int32_t unsynced_error;   /* of a write before ours, that a sync would be told of; or 0;
				   * EDQUOT as -ENOSPC */
	bool block_device;        /* its size is not ours to set */
	bool readable;            /* opened with the right to read */
	bool writable;            /* opened with the right to write */
	bool inline_ok;           /* NOWAIT direct I/O may be tried in the submitter's context */
	bool own_device;          /* the file lies on the very device that this table is for */
	bool fua;                 /* an overwrite that is made durable is one write, no flush; as
				   * the device below is now */
	/*
	 * A crash while the file is first written somewhere below its durable size, into a
	 * hole or into what is reserved, leaves zeros or that data there. So a cluster may be
	 * named by the map before its first data is durable.
	 */
	bool zeros_honest;
};

/*
 * Opens a delta: @path if it is not NULL, else the caller's descriptor @fd.
 * @write asks for the right to write (a descriptor has what it has). The file
 * is a regular file or a block device, else -EINVAL; -ENOENT for a descriptor
 * that is not open; else what opening gave.
 */
int ph_file_open(struct ploop_host *host, const char *path, int fd, bool write,
		 struct ploop_file_facts *facts, struct ploop_file **file);
/* Closes it; the last step of an instance, or of a constructor that failed. */
void ph_file_close(struct ploop_file *file);
/* The size of the file now, in bytes. */
uint64_t ph_file_size(struct ploop_file *file);
/*
 * fdatasync, here and now: sleeps. Any number of them, and of PLOOP_OP_SYNC, may run
 * on one file at the same time. An error of writeback is told to each of them that
 * it falls into; one that falls between two, to the next to begin. 0, or a
 * negative errno, EDQUOT as -ENOSPC.
 */
int64_t ph_file_sync(struct ploop_file *file);
/* Writes the absolute path of the file, NUL-terminated; -ERANGE if it does not fit. */
int ph_file_path(struct ploop_file *file, char *text, size_t bytes);

/* ---- Operations of the core's own -------------------------------------- */

enum ploop_op_kind {
	PLOOP_OP_READ,           /* result: bytes read, short only at the end of the file */
	PLOOP_OP_WRITE,          /* direct where the file can; result: bytes written */
	PLOOP_OP_WRITE_BUFFERED, /* any alignment: what shares its blocks is read afresh */
	PLOOP_OP_SYNC,           /* as ph_file_sync() */
	PLOOP_OP_TRUNCATE,       /* sets the file's size to offset */
	PLOOP_OP_RESERVE,        /* fallocate of offset and bytes; the size stays */
	PLOOP_OP_PUNCH,          /* frees the range, which reads as zeros then */
	PLOOP_OP_ZERO,           /* the range reads as zeros, space stays or becomes reserved */
	PLOOP_OP_WRITE_ZEROES,   /* writes zeros, where the two above are -EOPNOTSUPP */
	PLOOP_OP_FREE_SPACE      /* result: bytes that the file's file system can still give */
};

/*
 * One operation on a file, run in the host's own worker with the constructor's
 * credentials. The core fills it and starts it; it is the host's until done()
 * is called, once, in process context, from any thread. EDQUOT is told as
 * -ENOSPC.
 */
struct ploop_op {
	enum ploop_op_kind kind;
	struct ploop_file *file;
	uint64_t offset;  /* bytes */
	uint64_t bytes;
	void *buffer;     /* of ph_alloc(), for READ and the first two WRITEs */
	void (*done)(struct ploop_op *op, int64_t result);
	void *owner;      /* the core's */
	struct ploop_node node; /* the core's */
	int64_t result;   /* the core's */
};

struct ploop_op *ph_op_new(struct ploop_host *host);
void ph_op_free(struct ploop_op *op);
/* Starts it; done() may be called before this returns. Process context, may sleep not. */
void ph_op_start(struct ploop_op *op);

/* ---- Requests ---------------------------------------------------------- */

struct ploop_rq; /* include/ploop/target.h */

#define PLOOP_IO_INLINE   1u /* try it here, without waiting; -EAGAIN if that cannot be */
#define PLOOP_IO_COPIED   2u /* any alignment, any file: the host copies the data */
#define PLOOP_IO_DSYNC    4u /* a write that is durable when it ends; never with INLINE */

/*
 * Starts reading or writing (as the request's op says) @bytes of the request's
 * data, from @skip bytes into it, at @offset of @file. pc_rq_done() tells the
 * end, once, in any context, maybe before this returns; result: bytes, maybe
 * fewer than asked, or a negative errno, EDQUOT as -ENOSPC. With
 * PLOOP_IO_INLINE it is called from pc_map() only; without, in any context.
 *
 * A write of a part of a block, of this or of an operation, reads the block and writes
 * the whole; who writes that block otherwise is kept out meanwhile.
 */
void ph_rq_io(struct ploop_rq *rq, struct ploop_file *file, uint64_t offset, uint32_t skip,
	      uint32_t bytes, uint32_t flags);
/* Fills the request's data with zeros. Any context. */
void ph_rq_zero_fill(struct ploop_rq *rq);
/* Is all of the request's data zero? Process context, may sleep not. */
bool ph_rq_is_zero(struct ploop_rq *rq);

/* Hand the request back to device-mapper, which keeps it for the next table. */
#define PLOOP_END_REQUEUE 1
/*
 * Ends the request: 0, a negative errno, or PLOOP_END_REQUEUE. It is gone then.
 * Any context.
 */
void ph_rq_end(struct ploop_rq *rq, int error);
/* May a request end with PLOOP_END_REQUEUE now? Any context. */
bool ph_may_requeue(struct ploop_host *host);

/* ---- Telling ----------------------------------------------------------- */

enum ploop_log { PLOOP_LOG_ERROR, PLOOP_LOG_WARNING, PLOOP_LOG_INFO };

/* One line in the kernel's log, after the device's name. Any context. */
void ph_log(struct ploop_host *host, enum ploop_log level, const char *text);
/*
 * An invariant of the core does not hold, which @text names: says so loudly, the
 * first time at least. Any context.
 */
void ph_broken(const char *text);
/*
 * Raises the device's event soon; what was written before is seen by whom it
 * wakes. While the instance is quiet, the event waits for ph_start(). Any context.
 */
void ph_event(struct ploop_host *host);
/* Names the mapped device: equal for all tables of one device, for as long as it lives. */
uint64_t ph_device_id(struct ploop_host *host);
/* Lets others run, in a long loop of process context. */
void ph_yield(void);

PLOOP_END_C

/* Both sides must mean the same memory. */
#if __SIZEOF_POINTER__ == 8
PLOOP_ASSERT(sizeof(struct ploop_wait) == 128, "ploop_wait");
PLOOP_ASSERT(sizeof(struct ploop_lock) == 96, "ploop_lock");
PLOOP_ASSERT(sizeof(struct ploop_file_facts) == 32, "ploop_file_facts");
PLOOP_ASSERT(sizeof(struct ploop_op) == 72, "ploop_op");
PLOOP_ASSERT(offsetof(struct ploop_op, done) == 40, "ploop_op.done");
#endif

#endif
