// SPDX-License-Identifier: GPL-2.0
/*
 * Requests on files: the file system below works on the request's own pages.
 *
 * A transfer is a kiocb in the request's per-bio data, or, where the data has to
 * be copied, a synchronous one on a worker's stack. The bio is never changed, so
 * any part of it can be transferred any number of times.
 */
#include <linux/bio.h>
#include <linux/blk-cgroup.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/uio.h>

#include "internal.h"

/*
 * What must be left of the stack for the submission below, a file system, the
 * start of its journal's transaction for a time stamp, the block layer and a
 * driver, or another device-mapper stack. Half of it leaves each of the two sides
 * as much as the other.
 */
#define PLOOP_INLINE_STACK (THREAD_SIZE / 2)

static bool ploop_io_is_write(const struct ploop_bio *pb)
{
	return pb->rq.op != PLOOP_RQ_READ;
}

/*
 * An iterator over the transfer's part of the bio's data. bi_vcnt is no use: a
 * clone has its parent's vector, whole, and a split one starts in its middle.
 * Returns false if a segment's length is not a multiple of @align, a power of
 * two: then the transfer cannot be direct.
 */
static bool ploop_io_iter(struct ploop_bio *pb, struct iov_iter *iter, u32 align)
{
	struct bio *bio = ploop_bio_bio(pb);
	struct bvec_iter start = bio->bi_iter;
	unsigned long segments = 0;
	struct bvec_iter walk;
	struct bio_vec bvec;
	u32 lengths = 0;

	if (pb->skip)
		bio_advance_iter(bio, &start, pb->skip);
	start.bi_size = pb->bytes;

	__bio_for_each_bvec(bvec, bio, walk, start) {
		segments++;
		lengths |= bvec.bv_len;
	}

	iov_iter_bvec(iter, ploop_io_is_write(pb) ? ITER_SOURCE : ITER_DEST,
		      __bvec_iter_bvec(bio->bi_io_vec, start), segments, pb->bytes);
	iter->iov_offset = start.bi_bvec_done;
	return IS_ALIGNED(lengths, align);
}

/*
 * Freeze protection of an asynchronous write is taken by the submitter and
 * given back by the completion, in another context: lockdep is told that we do
 * not hold it meanwhile.
 */
static void ploop_freeze_hand_over(struct file *filp)
{
	if (S_ISREG(file_inode(filp)->i_mode))
		__sb_writers_release(file_inode(filp)->i_sb, SB_FREEZE_WRITE);
}

static void ploop_freeze_end(struct file *filp)
{
	if (S_ISREG(file_inode(filp)->i_mode))
		__sb_writers_acquired(file_inode(filp)->i_sb, SB_FREEZE_WRITE);
	file_end_write(filp);
}

/*
 * A write that is to be queued. It has no order with what others see of it: a hint. One
 * that is copied takes long, but not for want of the inode's lock.
 */
static void ploop_blocking_begins(struct ploop_bio *pb)
{
	if (!ploop_io_is_write(pb) || pb->blocking == PLOOP_BLOCKING_NOT ||
	    (pb->flags & PLOOP_IO_COPIED))
		return;
	pb->blocking = PLOOP_BLOCKING_COUNTED;
	atomic_inc(&pb->file->blocking_writes);
}

/* It may go on in pieces, and is counted again then. */
static void ploop_blocking_ends(struct ploop_bio *pb)
{
	if (!ploop_io_is_write(pb) || pb->blocking != PLOOP_BLOCKING_COUNTED)
		return;
	pb->blocking = PLOOP_BLOCKING_MAYBE;
	atomic_dec(&pb->file->blocking_writes);
}

/* Any context. @pb may be gone on return. */
static void ploop_iocb_finish(struct ploop_bio *pb, long result)
{
	if (ploop_io_is_write(pb)) {
		ploop_file_wrote(pb->file);
		ploop_freeze_end(pb->file->file);
		ploop_range_leave(pb->file, &pb->range);
	}

	/*
	 * These ask for the system call to be run again, of which there is none.
	 * A worker has no signals.
	 */
	switch (result) {
	case -ERESTARTSYS:
	case -ERESTARTNOINTR:
	case -ERESTARTNOHAND:
	case -ERESTART_RESTARTBLOCK:
		result = -EAGAIN;
		break;
	}
	pc_rq_done(&pb->rq, ploop_result(result));
}

/*
 * File systems look at the kiocb after they have submitted it: ext4 and others
 * take the file from it to update the time of access. It must not go, with the
 * bio, before both they and the completion are through with it.
 */
static void ploop_iocb_put(struct ploop_bio *pb)
{
	/* A full barrier: whoever is last sees the result and the other's last use. */
	if (atomic_dec_and_test(&pb->iocb_refs))
		ploop_iocb_finish(pb, pb->result);
}

static void ploop_iocb_complete(struct kiocb *iocb, long result)
{
	struct ploop_bio *pb = container_of(iocb, struct ploop_bio, iocb);

	pb->result = result;
	ploop_iocb_put(pb);
}

/*
 * Submits a direct transfer, inside the bracket and, for a write, with freeze
 * protection. True if the completion takes care of the end; otherwise *@result
 * is the end, which the caller has to tell after it has left the bracket. The
 * submitter's reference is the caller's to put in the first case.
 */
static bool ploop_iocb_submit(struct ploop_bio *pb, struct iov_iter *iter, int ki_flags,
			      long *result)
{
	struct file *filp = pb->file->file;
	const bool write = ploop_io_is_write(pb);

	pb->iocb = (struct kiocb) {
		.ki_filp = filp,
		.ki_pos = pb->offset,
		.ki_complete = ploop_iocb_complete,
		.ki_flags = IOCB_DIRECT | ki_flags | (write ? IOCB_WRITE : 0),
		.ki_ioprio = bio_prio(ploop_bio_bio(pb)),
	};
	atomic_set(&pb->iocb_refs, 2);

	if (write) {
		ploop_freeze_hand_over(filp);
		*result = filp->f_op->write_iter(&pb->iocb, iter);
	} else {
		*result = filp->f_op->read_iter(&pb->iocb, iter);
	}
	return *result == -EIOCBQUEUED;
}

/* ---- In the submitter's context --------------------------------------------- */

static bool ploop_stack_suffices(void)
{
#ifdef CONFIG_STACK_GROWSUP
	return false;
#else
	return current_stack_pointer - (unsigned long)end_of_stack(current) >= PLOOP_INLINE_STACK;
#endif
}

/* May the submitter, who knows nothing of our file, go into its file system? */
static bool ploop_may_submit_inline(const struct ploop_bio *pb)
{
	const struct bio_list *lists = current->bio_list;

	if (!pb->file->inline_ok)
		return false;
	/*
	 * device-mapper called us from submit_bio(), which collects what is
	 * submitted meanwhile. A file system that reads metadata and waits would
	 * wait for what is on that list, so it is hidden from it. What is on the
	 * list already would be stuck behind us then, and an allocation below may
	 * wait for just that.
	 */
	if (lists && (!bio_list_empty(&lists[0]) || !bio_list_empty(&lists[1])))
		return false;
	/* A transaction of the file system above, which that below would take for its own. */
	if (current->journal_info)
		return false;
	/* Whoever reclaims memory has often used up its stack, and gets ours emptied. */
	if (current->flags & PF_MEMALLOC)
		return false;
	/* The file's size is not the submitter's concern: it would get SIGXFSZ. */
	if (ploop_io_is_write(pb) && rlimit(RLIMIT_FSIZE) != RLIM_INFINITY)
		return false;
	return ploop_stack_suffices();
}

/*
 * What a write needs, and a read does not. While another one allocates, the file system
 * would refuse: it has the inode's lock.
 */
static bool ploop_inline_write_begins(struct ploop_bio *pb)
{
	if (atomic_read(&pb->file->blocking_writes))
		return false;
	if (!ploop_range_try(pb->file, &pb->range, pb->offset, pb->bytes))
		return false;
	if (file_start_write_trylock(pb->file->file))
		return true;
	ploop_range_leave(pb->file, &pb->range);
	return false;
}

static void ploop_io_inline(struct ploop_bio *pb)
{
	struct ploop_bracket bracket;
	struct bio_list *bio_list;
	struct iov_iter iter;
	bool queued;
	long result;

	pb->blocking = PLOOP_BLOCKING_NOT;
	if (!ploop_may_submit_inline(pb) || !ploop_io_iter(pb, &iter, pb->file->dio_align) ||
	    (ploop_io_is_write(pb) && !ploop_inline_write_begins(pb))) {
		pc_rq_done(&pb->rq, -EAGAIN);
		return;
	}

	/* If the host refuses it now, it will have a reason to take its time. */
	pb->blocking = PLOOP_BLOCKING_MAYBE;
	/*
	 * The submitter's credentials stay: with IOCB_NOWAIT nothing is
	 * allocated, so nobody asks who may; and taking others would write to a
	 * line that all processors share.
	 */
	ploop_bracket_enter_nocred(&bracket);
	bio_list = current->bio_list;
	current->bio_list = NULL;
	queued = ploop_iocb_submit(pb, &iter, IOCB_NOWAIT, &result);
	current->bio_list = bio_list;
	ploop_bracket_leave_nocred(&bracket);

	if (queued)
		ploop_iocb_put(pb);
	else
		ploop_iocb_finish(pb, result);
}

/* ---- In a worker --------------------------------------------------------------- */

static int ploop_io_flags(const struct ploop_bio *pb)
{
	return pb->flags & PLOOP_IO_DSYNC ? IOCB_DSYNC : 0;
}

/* What is durable when it ends is a commit, and stamped as one. Inside the bracket. */
static void ploop_io_stamp(struct ploop_bio *pb)
{
	if (pb->flags & PLOOP_IO_DSYNC) {
		ploop_file_wrote(pb->file);
		ploop_file_stamp(pb->file);
	}
}

/* What is done for a request is on the account of its cgroup, whoever does it. */
static void ploop_io_enter(struct ploop_bio *pb, struct ploop_bracket *bracket)
{
	struct ploop_host *host = pb->file->host;

	ploop_bracket_enter(host, bracket);
	if (!host->limits.no_blkcg)
		kthread_associate_blkcg(bio_blkcg_css(ploop_bio_bio(pb)));
}

static void ploop_io_leave(struct ploop_bracket *bracket)
{
	kthread_associate_blkcg(NULL);
	ploop_bracket_leave(bracket);
}

static void ploop_io_direct(struct ploop_bio *pb, struct iov_iter *iter)
{
	struct ploop_bracket bracket;
	bool queued;
	long result;

	ploop_io_enter(pb, &bracket);
	ploop_io_stamp(pb);
	if (ploop_io_is_write(pb)) {
		ploop_range_enter(pb->file, &pb->range, pb->offset, pb->bytes);
		file_start_write(pb->file->file);
	}
	queued = ploop_iocb_submit(pb, iter, ploop_io_flags(pb), &result);
	/* The inode's lock is free again, whether or not the data is there. */
	ploop_blocking_ends(pb);
	ploop_io_leave(&bracket);

	if (queued)
		ploop_iocb_put(pb);
	else
		ploop_iocb_finish(pb, result);
}

static void ploop_io_copied(struct ploop_bio *pb, struct iov_iter *iter)
{
	struct ploop_bracket bracket;
	loff_t pos = pb->offset;
	ssize_t result;

	ploop_io_enter(pb, &bracket);
	ploop_io_stamp(pb);
	result = ploop_file_copy(pb->file, &pos, iter, true, ploop_io_flags(pb));
	ploop_io_leave(&bracket);

	ploop_blocking_ends(pb);
	pc_rq_done(&pb->rq, ploop_result(result));
}

static void ploop_io_work(struct work_struct *work)
{
	struct ploop_bio *pb = container_of(work, struct ploop_bio, work);
	const struct ploop_file *file = pb->file;
	struct iov_iter iter;

	if (!(pb->flags & PLOOP_IO_COPIED) &&
	    ploop_file_can_direct(file, pb->offset, pb->bytes) &&
	    ploop_io_iter(pb, &iter, file->dio_align)) {
		ploop_io_direct(pb, &iter);
	} else {
		ploop_io_iter(pb, &iter, 1);
		ploop_io_copied(pb, &iter);
	}
}

void ph_rq_io(struct ploop_rq *rq, struct ploop_file *file, uint64_t offset, uint32_t skip,
	      uint32_t bytes, uint32_t flags)
{
	struct ploop_bio *pb = ploop_bio_of(rq);

	pb->file = file;
	pb->offset = offset;
	pb->skip = skip;
	pb->bytes = bytes;
	pb->flags = flags;

	if (!(flags & PLOOP_IO_INLINE)) {
		struct ploop_host *host = file->host;

		ploop_blocking_begins(pb);
		INIT_WORK(&pb->work, ploop_io_work);
		queue_work(ploop_io_is_write(pb) ? host->write_wq : host->read_wq, &pb->work);
	} else if (ploop_file_can_direct(file, offset, bytes)) {
		ploop_io_inline(pb);
	} else {
		pc_rq_done(rq, -EAGAIN);
	}
}
