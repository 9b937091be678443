// SPDX-License-Identifier: GPL-2.0
/*
 * How data and a file come together, in process context: direct I/O, copies, syncs.
 */
#include <linux/mm.h>
#include <linux/uio.h>

#include "internal.h"

/*
 * What others change of the header goes through the page cache, and to the disk with
 * the rest of its page, which must not have a part of a cluster.
 */
#if PAGE_SHIFT > 15
#error "pages are larger than the smallest cluster, 32 KiB"
#endif

int ploop_rw_init(struct ploop_file *file)
{
	int error;

	ploop_bounce_probe(file);
	error = ploop_ranges_init(file);
	if (error)
		return error;
	spin_lock_init(&file->synced_lock);
	file->synced = filemap_sample_wb_err(file->mapping);
	return 0;
}

void ploop_rw_exit(struct ploop_file *file)
{
	ploop_ranges_exit(file);
}

ssize_t ploop_file_rw(struct ploop_file *file, loff_t *pos, struct iov_iter *iter, int ki_flags)
{
	struct file *filp = file->file;
	const bool write = iov_iter_rw(iter) == WRITE;
	ssize_t done = 0;
	ssize_t ret = 0;

	if (write)
		file_start_write(filp);
	while (iov_iter_count(iter)) {
		struct kiocb iocb = {
			.ki_filp = filp,
			.ki_pos = *pos,
			.ki_flags = ki_flags | (write ? IOCB_WRITE : 0),
			.ki_ioprio = get_current_ioprio(),
		};

		if (write)
			ret = filp->f_op->write_iter(&iocb, iter);
		else
			ret = filp->f_op->read_iter(&iocb, iter);
		if (ret <= 0)
			break;
		*pos += ret;
		done += ret;
		/* A direct transfer that ends off its alignment cannot go on as one. */
		if ((ki_flags & IOCB_DIRECT) && !IS_ALIGNED(ret, file->dio_align))
			break;
		cond_resched();
	}
	if (write) {
		ploop_file_wrote(file);
		file_end_write(filp);
	}
	return done ? done : ret;
}

/*
 * A write through the page cache that goes to the disk before it ends: an error
 * found later would find us without the data. The open file itself tells each
 * error of writeback once, to whoever syncs first, which may be somebody else;
 * what came after a sample, everybody sees who took one. It may be the error of
 * another's write: with the data still here, a second try tells.
 */
static ssize_t ploop_file_write_through(struct ploop_file *file, loff_t *pos,
					struct iov_iter *iter)
{
	struct address_space *mapping = file->mapping;
	const size_t count = iov_iter_count(iter);
	const loff_t start = *pos;
	ssize_t ret = 0;
	int tries;

	for (tries = 0; tries < 2; tries++) {
		const errseq_t since = filemap_sample_wb_err(mapping);
		int error;

		iov_iter_revert(iter, count - iov_iter_count(iter));
		*pos = start;
		ret = ploop_file_rw(file, pos, iter, IOCB_DSYNC);
		error = filemap_check_wb_err(mapping, since);
		if (ret >= 0 && error)
			ret = error;
		if (ret >= 0 || ret == -ENOSPC || ret == -EDQUOT)
			break;
	}
	return ret;
}

ssize_t ploop_file_copy(struct ploop_file *file, loff_t *pos, struct iov_iter *iter,
			bool through, int ki_flags)
{
	/* Never both: they do not see each other in time. */
	if (file->dio_align)
		return ploop_bounce_rw(file, pos, iter, ki_flags);
	if (iov_iter_rw(iter) == WRITE && through)
		return ploop_file_write_through(file, pos, iter);
	return ploop_file_rw(file, pos, iter, 0);
}

void ploop_file_stamp(struct ploop_file *file)
{
	struct file *filp = file->file;

	if (!(filp->f_mode & FMODE_NOCMTIME) || !READ_ONCE(file->written))
		return;
	/* A frozen file system keeps nobody waiting for the sake of a time stamp. */
	if (!file_start_write_trylock(filp))
		return;
	/* Cleared first: what ends from here on is in the next stamp. */
	smp_store_mb(file->written, false);
	if (file_update_time(filp))
		ploop_file_wrote(file);
	file_end_write(filp);
}

/*
 * The open file tells each error of writeback once: of two syncs that run at the
 * same time, the second would hear nothing of what the first was told. So each
 * looks, when it has ended, for what has come since the last one that had ended
 * before it began.
 */
int ploop_file_sync(struct ploop_file *file)
{
	errseq_t since = READ_ONCE(file->synced);
	int error;
	int ret;

	ploop_file_stamp(file);
	ret = vfs_fsync(file->file, 1);
	/*
	 * Under the lock the file's cursor moves forward only. Who begins a sync now
	 * is told of what comes after this look.
	 */
	spin_lock(&file->synced_lock);
	error = errseq_check_and_advance(&file->mapping->wb_err, &since);
	WRITE_ONCE(file->synced, since);
	spin_unlock(&file->synced_lock);

	/*
	 * Direct I/O leaves no pages of the file, but whoever reads it otherwise does;
	 * with a single one, each direct write walks the cache twice.
	 */
	if (file->dio_align && file->mapping->nrpages)
		invalidate_mapping_pages(file->mapping, 0, -1);
	return ret ? ret : error;
}

int64_t ph_file_sync(struct ploop_file *file)
{
	struct ploop_bracket bracket;
	int ret;

	ploop_bracket_enter(file->host, &bracket);
	ret = ploop_file_sync(file);
	ploop_bracket_leave(&bracket);
	return ploop_result(ret);
}

unsigned int ploop_buffer_map(void *memory, size_t bytes, struct bio_vec *bvecs)
{
	unsigned int pieces = 0;

	if (!is_vmalloc_addr(memory)) {
		bvecs[0] = (struct bio_vec) {
			.bv_page = virt_to_page(memory),
			.bv_offset = offset_in_page(memory),
			.bv_len = bytes,
		};
		return 1;
	}

	while (bytes) {
		const size_t length = min_t(size_t, bytes, PAGE_SIZE - offset_in_page(memory));

		bvecs[pieces++] = (struct bio_vec) {
			.bv_page = vmalloc_to_page(memory),
			.bv_offset = offset_in_page(memory),
			.bv_len = length,
		};
		memory += length;
		bytes -= length;
	}
	return pieces;
}
