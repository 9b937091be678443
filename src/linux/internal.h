/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the kernel's side share.
 *
 * Ownership: a dm_target owns one struct ploop_host, which owns one struct
 * ploop_core; both live from the constructor to the destructor. The core owns
 * its files and operations and gives them back through the contract. Requests
 * live in device-mapper's per-bio data until ph_rq_end().
 */
#ifndef PLOOP_LINUX_INTERNAL_H
#define PLOOP_LINUX_INTERNAL_H

#include <linux/atomic.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/device-mapper.h>
#include <linux/fs.h>
#include <linux/mutex.h>
#include <linux/percpu-refcount.h>
#include <linux/sched/mm.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "ploop/host.h"
#include "ploop/target.h"

#include "compat.h"

#define DM_MSG_PREFIX "ploop"

/* ---- Gate: do kicks, timers and events pass? ----------------------------- */

enum ploop_gate {
	PLOOP_GATE_QUIET,	/* before ph_start(), after ph_quiesce() */
	PLOOP_GATE_OPEN,
	PLOOP_GATE_CLOSING	/* while it is being stopped: only events pass */
};

struct ploop_timer_slot {
	struct timer_list timer;
	struct ploop_host *host;
	enum ploop_timer which;
};

/* ---- Epochs --------------------------------------------------------------- */

struct ploop_epoch_ref {
	struct percpu_ref ref;
	struct ploop_host *host;
};

struct ploop_epoch {
	u32 current_ref;		/* which of the two is entered now */
	bool flipping;			/* from ph_epoch_flip() until the old one is usable again */
	struct ploop_epoch_ref refs[2];
	struct work_struct drained_work;
	wait_queue_head_t settled;
};

/* ---- Memory between requests and files ------------------------------------- */

/*
 * One for reading and one for writing: a read never waits for a lock that a writer may
 * hold while it waits for a frozen file system. Those who hold that for writing wait
 * for such a thaw inside: nobody takes it who keeps a file system from freezing.
 */
struct ploop_bounce {
	struct mutex lock;
	void *memory;		/* PLOOP_ALLOC_MAX bytes */
};

/* ---- One instance --------------------------------------------------------- */

struct ploop_host {
	/* Read on the path of every request; only the flip of an epoch writes here. */
	struct dm_target *ti;
	struct ploop_core *core;
	struct workqueue_struct *read_wq;	/* reading requests */
	struct workqueue_struct *write_wq;	/* writing requests */
	struct workqueue_struct *flush_wq;	/* pc_flush() */
	struct ploop_epoch epoch;

	/* The rest is not for the path of mapped requests. */
	struct workqueue_struct *control_wq ____cacheline_aligned_in_smp;
	struct workqueue_struct *op_wq;		/* the core's operations */
	struct ploop_bounce bounces[2];		/* by READ and WRITE */
	const struct cred *cred;		/* of whoever loaded the table */
	struct ploop_limits limits;
	bool stable_pages;			/* a delta lies on something that needs them */
	char name[DISK_NAME_LEN];		/* "dm-3": what the kernel calls the device */

	/* Under gate_lock for writing; read without it where a straggler does no harm. */
	enum ploop_gate gate;
	spinlock_t gate_lock;
	bool event_late;			/* an event was raised while the gate was shut */
	struct ploop_timer_slot timers[PLOOP_TIMERS];
	struct work_struct kick_work;
	struct work_struct flush_work;
	struct work_struct event_work;
};

/* work.c. Process context. */
int ploop_work_init(struct ploop_host *host);
/* Stops everything and forbids it for ever; then pc_destroy() may be called. */
void ploop_work_stop(struct ploop_host *host);
/* After pc_destroy(): waits for the ends of works that gave up their objects already. */
void ploop_work_exit(struct ploop_host *host);

/* epoch.c. Process context. */
int ploop_epoch_init(struct ploop_host *host);
/* Waits until no flip is under way and pc_epoch_drained() has returned. */
void ploop_epoch_settle(struct ploop_host *host);
void ploop_epoch_exit(struct ploop_host *host);

/* target.c: for module.c only. */
extern struct target_type ploop_target;

/* ---- Files ---------------------------------------------------------------- */

/* A write of whole blocks under way, see range.c. */
enum ploop_range_how {
	PLOOP_RANGE_NONE,	/* nobody can write a part of a block */
	PLOOP_RANGE_COUNTED,
	PLOOP_RANGE_LISTED
};

struct ploop_range {
	struct list_head node;
	u64 start;
	u64 end;
	enum ploop_range_how how;
};

struct ploop_ranges {
	bool used;			/* blocks are larger than sectors */
	bool counting;			/* no part was written of late; by who has the lock below */
	struct percpu_ref counted;	/* by all whole writes, then */
	struct completion drained;	/* of those */
	spinlock_t lock;
	struct list_head listed;	/* whole writes, else */
	struct ploop_range part;	/* blocks of which a part is being written */
	wait_queue_head_t wait;		/* for the end of either */
	struct delayed_work calm_work;
};

struct ploop_file {
	struct file *file;
	struct address_space *mapping;	/* of the data: of the file itself, below any overlay */
	struct ploop_host *host;
	struct dm_dev *claim;	/* of a block device, else NULL */
	u32 dio_align;		/* bytes; 0: no direct I/O */
	bool inline_ok;		/* direct I/O with IOCB_NOWAIT can be tried */
	bool written;		/* since the last ploop_file_stamp() */
	/*
	 * Writes of workers, queued or being submitted, that may keep inline ones out:
	 * they allocate, under the inode's lock. Only they touch it.
	 */
	atomic_t blocking_writes ____cacheline_aligned_in_smp;
	/* The errors of writeback that a sync of ours has told, or is about to. */
	errseq_t synced;
	spinlock_t synced_lock;	/* for writing it */
	struct ploop_ranges ranges;
};

/* Can a transfer between @offset and @offset + @bytes be direct? */
static inline bool ploop_file_can_direct(const struct ploop_file *file, u64 offset, u64 bytes)
{
	return file->dio_align && IS_ALIGNED(offset | bytes, file->dio_align);
}

/*
 * Something in the file has changed, and has been: who looks at the time stamps from now on
 * may have seen the change. All that write look at this flag, few change it. Any context.
 */
static inline void ploop_file_wrote(struct ploop_file *file)
{
	if (!READ_ONCE(file->written))
		WRITE_ONCE(file->written, true);
}

/*
 * The bracket around every operation on a file. Memory must not be reclaimed
 * through our own, maybe suspended, device. Buffered writers are throttled by
 * the dirty pages of the file's own device only, because whoever waits for us
 * holds dirty pages of ours. Credentials are those of whoever loaded the table:
 * a worker has init's, a submitter anybody's. Process context; may nest.
 */
struct ploop_bracket {
	unsigned int noio;
	unsigned int throttle;
	const struct cred *cred;
};

static inline void ploop_bracket_enter_nocred(struct ploop_bracket *bracket)
{
	bracket->noio = memalloc_noio_save();
	bracket->throttle = current->flags & PF_LOCAL_THROTTLE;
	current->flags |= PF_LOCAL_THROTTLE;
}

static inline void ploop_bracket_leave_nocred(struct ploop_bracket *bracket)
{
	current->flags = (current->flags & ~PF_LOCAL_THROTTLE) | bracket->throttle;
	memalloc_noio_restore(bracket->noio);
}

static inline void ploop_bracket_enter(struct ploop_host *host, struct ploop_bracket *bracket)
{
	ploop_bracket_enter_nocred(bracket);
	bracket->cred = override_creds(host->cred);
}

static inline void ploop_bracket_leave(struct ploop_bracket *bracket)
{
	revert_creds(bracket->cred);
	ploop_bracket_leave_nocred(bracket);
}

/* file.c: PLOOP_OP_TRUNCATE, which the rights of the open file allow. Inside the bracket. */
int ploop_file_truncate(struct ploop_file *file, loff_t size);

/*
 * rw.c: how data and a file come together. ploop_rw_init() wants the file open, its
 * mapping and dio_align; it may lower the latter, see ploop_bounce_probe().
 */
int ploop_rw_init(struct ploop_file *file);
void ploop_rw_exit(struct ploop_file *file);

/*
 * Reads or writes with @iter's data, through its end, from *@pos of @file, and
 * waits for it. Bytes, maybe fewer, or a negative errno if there were none.
 * Inside the bracket; @ki_flags is all the flags there are.
 */
ssize_t ploop_file_rw(struct ploop_file *file, loff_t *pos, struct iov_iter *iter, int ki_flags);
/*
 * The same, by memory of our own where the file has direct I/O, else through the
 * page cache: any alignment of offset, length and memory. @through: what the page
 * cache got is on the disk before this returns, and no error of writeback is missed,
 * whoever else syncs the file. @ki_flags is for what is written by direct I/O.
 */
ssize_t ploop_file_copy(struct ploop_file *file, loff_t *pos, struct iov_iter *iter,
			bool through, int ki_flags);
/*
 * Sets the file's time stamps if it was written through us since the last time, so that who
 * goes by them finds what a commit is about to make durable. Inside the bracket.
 */
void ploop_file_stamp(struct ploop_file *file);
/* ph_file_sync(), inside the bracket. */
int ploop_file_sync(struct ploop_file *file);

/*
 * bounce.c: the way of ploop_file_copy() by memory of our own. Process context,
 * inside the bracket; ploop_bounce_rw() takes the bounce's lock.
 *
 * ploop_bounce_probe() tries a direct read, and sets dio_align to 0 if the file
 * refuses: an overlay says yes to what the file system below it has not.
 */
int ploop_bounce_init(struct ploop_host *host);
void ploop_bounce_exit(struct ploop_host *host);
void ploop_bounce_probe(struct ploop_file *file);
ssize_t ploop_bounce_rw(struct ploop_file *file, loff_t *pos, struct iov_iter *iter,
			int ki_flags);

/*
 * range.c: whoever writes whole blocks, by requests of their own or by the core's
 * operations, is in a range meanwhile. ploop_range_try() fails if a part of them is being
 * written, and like ploop_range_leave() is for any context; ploop_range_enter() waits.
 * Nobody keeps the file system from being frozen who enters one.
 */
int ploop_ranges_init(struct ploop_file *file);
void ploop_ranges_exit(struct ploop_file *file);
bool ploop_range_try(struct ploop_file *file, struct ploop_range *range, u64 start, u64 bytes);
void ploop_range_enter(struct ploop_file *file, struct ploop_range *range, u64 start, u64 bytes);
void ploop_range_leave(struct ploop_file *file, struct ploop_range *range);
/* Around a write of parts of blocks; one at a time, under the bounce's lock for writing. */
void ploop_part_begin(struct ploop_file *file, u64 start, u64 bytes);
void ploop_part_end(struct ploop_file *file);

/* Pages that @bytes of ph_alloc(), at most PLOOP_ALLOC_MAX, can touch. */
#define PLOOP_BUFFER_PIECES (PLOOP_ALLOC_MAX / PAGE_SIZE + 1)

/* Describes such memory, contiguous or mapped; returns the number of pieces. */
unsigned int ploop_buffer_map(void *memory, size_t bytes, struct bio_vec *bvecs);

/* What the core hears of an error: a quota is a shortage of space like any other. */
static inline s64 ploop_result(s64 result)
{
	return result == -EDQUOT ? -ENOSPC : result;
}

/* ---- Requests -------------------------------------------------------------- */

/* Does a write in a worker keep inline ones out? */
enum ploop_blocking {
	PLOOP_BLOCKING_MAYBE,	/* it was not tried inline */
	PLOOP_BLOCKING_NOT,	/* it was not tried for a reason of the submitter's, or because
				 * of another one: the host has not refused it */
	PLOOP_BLOCKING_COUNTED	/* in blocking_writes */
};

/* Device-mapper's per-bio data. */
struct ploop_bio {
	struct ploop_rq rq;
	struct kiocb iocb;
	struct work_struct work;
	/* The transfer under way, from ph_rq_io() to pc_rq_done(). */
	struct ploop_file *file;
	u64 offset;
	u32 skip;
	u32 bytes;
	u32 flags;		/* PLOOP_IO_* */
	atomic_t iocb_refs;	/* of the submitter and of the completion */
	struct ploop_range range;	/* of a direct write */
	enum ploop_blocking blocking;	/* of a write */
	long result;
};

static inline struct ploop_bio *ploop_bio_of(struct ploop_rq *rq)
{
	return container_of(rq, struct ploop_bio, rq);
}

static inline struct bio *ploop_bio_bio(struct ploop_bio *pb)
{
	return dm_bio_from_per_bio_data(pb, sizeof(*pb));
}

#endif
