// SPDX-License-Identifier: GPL-2.0
/*
 * The core's own operations on files: each runs to its end in a worker.
 */
#include <linux/bvec.h>
#include <linux/falloc.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/uio.h>

#include "internal.h"

struct ploop_host_op {
	struct ploop_op op;
	struct ploop_host *host;
	struct work_struct work;
	struct bio_vec bvecs[PLOOP_BUFFER_PIECES];
};

static struct ploop_host_op *ploop_host_op(struct ploop_op *op)
{
	return container_of(op, struct ploop_host_op, op);
}

/* Moves what it can: direct if the file takes it, else copied. */
static ssize_t ploop_op_move(struct ploop_file *file, loff_t *pos, struct iov_iter *iter,
			     bool through)
{
	const size_t count = iov_iter_count(iter);
	struct ploop_range range;
	ssize_t ret = -EINVAL;

	if (ploop_file_can_direct(file, *pos, count) && iov_iter_rw(iter) == WRITE) {
		ploop_range_enter(file, &range, *pos, count);
		ret = ploop_file_rw(file, pos, iter, IOCB_DIRECT);
		ploop_range_leave(file, &range);
	} else if (ploop_file_can_direct(file, *pos, count)) {
		ret = ploop_file_rw(file, pos, iter, IOCB_DIRECT);
	}
	if (ret != -EINVAL && ret != -EOPNOTSUPP)
		return ret;
	iov_iter_revert(iter, count - iov_iter_count(iter));
	return ploop_file_copy(file, pos, iter, through, 0);
}

/* Moves the buffer's bytes, all of them unless an error or the end of the file comes first. */
static s64 ploop_op_rw(struct ploop_host_op *hop)
{
	struct ploop_op *op = &hop->op;
	struct ploop_file *file = op->file;
	const bool write = op->kind != PLOOP_OP_READ;
	struct iov_iter iter;
	loff_t pos = op->offset;
	ssize_t done = 0;
	ssize_t ret;

	if (WARN_ON_ONCE(op->bytes > PLOOP_ALLOC_MAX))
		return -EINVAL;

	iov_iter_bvec(&iter, write ? ITER_SOURCE : ITER_DEST, hop->bvecs,
		      ploop_buffer_map(op->buffer, op->bytes, hop->bvecs), op->bytes);
	do {
		ret = ploop_op_move(file, &pos, &iter, false);
		if (ret > 0)
			done += ret;
	} while (ret > 0 && iov_iter_count(&iter));
	return done ? done : ret;
}

/* Writes zeros, direct where the file can, a buffer's worth at a time. */
static s64 ploop_op_write_zeroes(struct ploop_host_op *hop)
{
	struct ploop_op *op = &hop->op;
	loff_t pos = op->offset;
	u64 left = op->bytes;
	ssize_t ret = 0;
	unsigned int i;

	for (i = 0; i < PLOOP_BUFFER_PIECES; i++) {
		hop->bvecs[i] = (struct bio_vec) {
			.bv_page = ZERO_PAGE(0),
			.bv_len = PAGE_SIZE,
		};
	}

	while (left) {
		size_t bytes = min_t(u64, left, PLOOP_ALLOC_MAX);
		struct iov_iter iter;

		iov_iter_bvec(&iter, ITER_SOURCE, hop->bvecs, PLOOP_BUFFER_PIECES, bytes);
		/* Buffered ones go to the disk: writeback would tell an error to a later sync. */
		ret = ploop_op_move(op->file, &pos, &iter, true);
		if (ret <= 0)
			break;
		left -= ret;
	}
	/* Half of it zero is not zero: whoever asked could take it for done. */
	if (left)
		return ret < 0 ? ret : -EIO;
	return op->bytes;
}

/* Does it change a part of a block, of which a request may write another part? */
static bool ploop_op_is_partial(const struct ploop_op *op)
{
	return op->file->dio_align && !IS_ALIGNED(op->offset | op->bytes, op->file->dio_align);
}

static s64 ploop_op_fallocate(struct ploop_op *op)
{
	struct file *filp = op->file->file;
	const bool regular = S_ISREG(file_inode(filp)->i_mode);
	struct ploop_range range;
	int mode;
	int ret;

	switch (op->kind) {
	case PLOOP_OP_RESERVE:
		mode = FALLOC_FL_KEEP_SIZE;
		break;
	case PLOOP_OP_PUNCH:
		mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case PLOOP_OP_ZERO:
		mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
		break;
	default:
		return -EINVAL;
	}
	/* A block device has all the space it will ever have. */
	if (!regular && !(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return -EOPNOTSUPP;
	if (ploop_op_is_partial(op)) {
		mutex_lock(&op->file->host->bounces[WRITE].lock);
		ploop_part_begin(op->file, op->offset, op->bytes);
		ret = vfs_fallocate(filp, mode, op->offset, op->bytes);
		ploop_part_end(op->file);
		mutex_unlock(&op->file->host->bounces[WRITE].lock);
	} else {
		ploop_range_enter(op->file, &range, op->offset, op->bytes);
		ret = vfs_fallocate(filp, mode, op->offset, op->bytes);
		ploop_range_leave(op->file, &range);
	}
	ploop_file_wrote(op->file);
	return ret;
}

static s64 ploop_op_free_space(struct ploop_op *op)
{
	struct file *filp = op->file->file;
	struct kstatfs stat;
	int ret;

	/* The file system of a device node has nothing to do with the device. */
	if (!S_ISREG(file_inode(filp)->i_mode))
		return -EOPNOTSUPP;
	ret = vfs_statfs(&filp->f_path, &stat);
	return ret ? ret : (s64)stat.f_bavail * stat.f_frsize;
}

static s64 ploop_op_run(struct ploop_host_op *hop)
{
	switch (hop->op.kind) {
	case PLOOP_OP_READ:
	case PLOOP_OP_WRITE:
	case PLOOP_OP_WRITE_BUFFERED:
		return ploop_op_rw(hop);
	case PLOOP_OP_SYNC:
		return ploop_file_sync(hop->op.file);
	case PLOOP_OP_TRUNCATE:
		return ploop_file_truncate(hop->op.file, hop->op.offset);
	case PLOOP_OP_RESERVE:
	case PLOOP_OP_PUNCH:
	case PLOOP_OP_ZERO:
		return ploop_op_fallocate(&hop->op);
	case PLOOP_OP_WRITE_ZEROES:
		return ploop_op_write_zeroes(hop);
	case PLOOP_OP_FREE_SPACE:
		return ploop_op_free_space(&hop->op);
	}
	return -EINVAL;
}

static void ploop_op_work(struct work_struct *work)
{
	struct ploop_host_op *hop = container_of(work, struct ploop_host_op, work);
	struct ploop_bracket bracket;
	unsigned int noio;
	s64 result;

	ploop_bracket_enter(hop->host, &bracket);
	result = ploop_op_run(hop);
	ploop_bracket_leave(&bracket);

	/* The core may free the operation in here, or start it again. */
	noio = memalloc_noio_save();
	hop->op.done(&hop->op, ploop_result(result));
	memalloc_noio_restore(noio);
}

struct ploop_op *ph_op_new(struct ploop_host *host)
{
	struct ploop_host_op *hop = kzalloc(sizeof(*hop), GFP_NOIO);

	if (!hop)
		return NULL;
	hop->host = host;
	INIT_WORK(&hop->work, ploop_op_work);
	return &hop->op;
}

void ph_op_free(struct ploop_op *op)
{
	if (op)
		kfree(ploop_host_op(op));
}

void ph_op_start(struct ploop_op *op)
{
	struct ploop_host_op *hop = ploop_host_op(op);

	queue_work(hop->host->op_wq, &hop->work);
}
