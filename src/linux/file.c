// SPDX-License-Identifier: GPL-2.0
/*
 * Opening and closing deltas, and what is to be known of them.
 */
#include <linux/dcache.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/stat.h>
#include <linux/uio.h>

#include "internal.h"

/*
 * Page 0 of the BAT is written through the page cache, the clusters are not. A page
 * that has both would be read before, and written after, a direct write to it.
 */
#if PAGE_SHIFT > 15
#error "pages are larger than the smallest cluster, 32 KiB"
#endif

/* The inode that holds the data: of a block device itself, not of its node in /dev. */
static struct inode *ploop_data_inode(struct file *file)
{
	if (S_ISBLK(file_inode(file)->i_mode))
		return file->f_mapping->host;
	/* Through an overlay two files may be one. */
	return d_real_inode(file->f_path.dentry);
}

static struct block_device *ploop_file_bdev(struct file *file)
{
	struct inode *inode = ploop_data_inode(file);

	return S_ISBLK(inode->i_mode) ? I_BDEV(inode) : inode->i_sb->s_bdev;
}

/*
 * How far must offsets and lengths be aligned for direct I/O; 0: there is none.
 * IOCB_DIRECT set by hand bypasses the checks of the VFS and would call a method
 * that is not there, so FMODE_CAN_ODIRECT is the first question.
 */
static u32 ploop_dio_align(struct file *file)
{
	struct block_device *bdev = ploop_file_bdev(file);
	u32 align = SECTOR_SIZE;
	struct kstat stat;

	if (!(file->f_mode & FMODE_CAN_ODIRECT))
		return 0;
	if (bdev)
		align = bdev_logical_block_size(bdev);
	if (S_ISBLK(file_inode(file)->i_mode))
		return align;

	if (!vfs_getattr(&file->f_path, &stat, STATX_DIOALIGN, AT_STATX_SYNC_AS_STAT) &&
	    (stat.result_mask & STATX_DIOALIGN)) {
		if (!stat.dio_offset_align)
			return 0;
		align = max(align, stat.dio_offset_align);
	} else {
		/*
		 * A file system that does not tell wants its blocks whole. Those
		 * with blocks larger than a page are of the network and want
		 * nothing.
		 */
		align = max_t(u32, align, min_t(u32, file_inode(file)->i_sb->s_blocksize,
						PAGE_SIZE));
	}
	return is_power_of_2(align) ? align : 0;
}

/* Does @file lie on the device that the table is for, or is it that device? */
static bool ploop_is_own_device(struct ploop_host *host, struct file *file)
{
	struct gendisk *disk = dm_disk(dm_table_get_md(host->ti->table));
	struct block_device *bdev = ploop_file_bdev(file);

	return bdev && bdev->bd_disk == disk;
}

/*
 * An error of writeback from before our time. The file tells it once, to the next
 * sync; of one that nobody has been told yet, a new sample does not know either.
 */
static int ploop_unsynced_error(struct ploop_file *file)
{
	struct file *filp = file->file;
	int error = filemap_check_wb_err(ploop_data_inode(filp)->i_mapping, file->synced);

	if (!error)
		error = filemap_check_wb_err(filp->f_mapping, READ_ONCE(filp->f_wb_err));
	return ploop_result(error);
}

static void ploop_get_facts(struct ploop_file *file, struct ploop_file_facts *facts)
{
	struct file *filp = file->file;
	struct inode *inode = ploop_data_inode(filp);

	*facts = (struct ploop_file_facts) {
		/* An inode is not freed while it is open, so its address names it. */
		.id = { (uintptr_t)inode->i_sb, (uintptr_t)inode },
		.dio_align_bytes = file->dio_align,
		.unsynced_error = ploop_unsynced_error(file),
		.block_device = S_ISBLK(inode->i_mode),
		.readable = filp->f_mode & FMODE_READ,
		.writable = filp->f_mode & FMODE_WRITE,
		.inline_ok = file->inline_ok,
		.own_device = ploop_is_own_device(file->host, filp),
	};
}

/* Can @filp be a delta at all? */
static int ploop_check_file(struct file *filp, bool write)
{
	struct inode *inode = file_inode(filp);

	if (!S_ISREG(inode->i_mode) && !S_ISBLK(inode->i_mode))
		return -EINVAL;
	if (!filp->f_op->read_iter)
		return -EINVAL;
	if (!write || !(filp->f_mode & FMODE_WRITE))
		return 0;

	if (!filp->f_op->write_iter)
		return -EINVAL;
	if (S_ISBLK(inode->i_mode))
		return bdev_read_only(I_BDEV(filp->f_mapping->host)) ? -EROFS : 0;
	if (IS_SWAPFILE(inode))
		return -ETXTBSY;
	if (IS_IMMUTABLE(inode) || IS_APPEND(inode))
		return -EPERM;
	return 0;
}

int ph_file_open(struct ploop_host *host, const char *path, int fd, bool write,
		 struct ploop_file_facts *facts, struct ploop_file **out)
{
	struct ploop_bracket bracket;
	struct ploop_file *file;
	struct file *filp;
	int error = 0;

	file = kzalloc(sizeof(*file), GFP_NOIO);
	if (!file)
		return -ENOMEM;

	/* The constructor runs with the credentials that the bracket gives later operations. */
	ploop_bracket_enter(host, &bracket);
	if (path) {
		/* A FIFO would make us wait for its other end. */
		filp = filp_open(path, O_NONBLOCK | O_LARGEFILE | (write ? O_RDWR : O_RDONLY), 0);
		if (IS_ERR(filp)) {
			error = PTR_ERR(filp);
			goto out;
		}
		/*
		 * Reading must not write, least of all in the submitter's
		 * context. An open file of the caller's is left as it is.
		 */
		spin_lock(&filp->f_lock);
		filp->f_flags |= O_NOATIME;
		spin_unlock(&filp->f_lock);
	} else {
		filp = fget(fd);
		if (!filp) {
			error = -ENOENT;
			goto out;
		}
	}

	file->file = filp;
	file->host = host;
	error = ploop_check_file(filp, write);
	if (error)
		goto out_put;

	file->dio_align = ploop_dio_align(filp);
	/*
	 * The core writes the map in pages of 4 KiB. Larger blocks would be written
	 * whole, the header in the first of them, too, which is not all ours.
	 */
	if (file->dio_align > SZ_4K)
		file->dio_align = 0;
	error = ploop_bounce_init(file);
	if (error)
		goto out_put;
	file->synced = filemap_sample_wb_err(ploop_data_inode(filp)->i_mapping);
	file->inline_ok = file->dio_align && (filp->f_mode & FMODE_NOWAIT);
	ploop_get_facts(file, facts);

	if (compat_inode_needs_stable_pages(ploop_data_inode(filp)))
		host->stable_pages = true;
	*out = file;
out_put:
	if (error)
		compat_fput(filp);
out:
	ploop_bracket_leave(&bracket);
	if (error)
		kfree(file);
	return error;
}

void ph_file_close(struct ploop_file *file)
{
	struct ploop_bracket bracket;

	/* The last reference may free the space of a file that has no name any more. */
	ploop_bracket_enter(file->host, &bracket);
	compat_fput(file->file);
	ploop_bracket_leave(&bracket);
	ploop_bounce_exit(file);
	kfree(file);
}

uint64_t ph_file_size(struct ploop_file *file)
{
	/* Not of file_inode(), which for a block device is the node in /dev. */
	return i_size_read(file->file->f_mapping->host);
}

int ph_file_path(struct ploop_file *file, char *text, size_t bytes)
{
	char *path;

	if (!bytes)
		return -ERANGE;
	path = file_path(file->file, text, bytes);
	if (IS_ERR(path))
		return PTR_ERR(path) == -ENAMETOOLONG ? -ERANGE : PTR_ERR(path);
	memmove(text, path, strlen(path) + 1);
	return 0;
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
		/* All of it by hand: the flags of an open file of the caller's are not ours. */
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
	if (write)
		file_end_write(filp);
	return done ? done : ret;
}

static struct address_space *ploop_data_mapping(struct ploop_file *file)
{
	return ploop_data_inode(file->file)->i_mapping;
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
	struct address_space *mapping = ploop_data_mapping(file);
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
			bool through)
{
	/* Never both: they do not see each other in time. */
	if (file->dio_align)
		return ploop_bounce_rw(file, pos, iter);
	if (iov_iter_rw(iter) == WRITE && through)
		return ploop_file_write_through(file, pos, iter);
	return ploop_file_rw(file, pos, iter, 0);
}

int ploop_file_sync(struct ploop_file *file)
{
	int ret = vfs_fsync(file->file, 1);
	int error = errseq_check_and_advance(&ploop_data_mapping(file)->wb_err, &file->synced);

	return ret ? ret : error;
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
