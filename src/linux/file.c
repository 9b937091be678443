// SPDX-License-Identifier: GPL-2.0
/*
 * Opening and closing deltas, and what is to be known of them.
 */
#include <linux/buffer_head.h>
#include <linux/dcache.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/stat.h>

#include "internal.h"

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
	int error = filemap_check_wb_err(file->mapping, file->synced);

	if (!error)
		error = filemap_check_wb_err(filp->f_mapping, READ_ONCE(filp->f_wb_err));
	return ploop_result(error);
}

/*
 * Is a write with IOCB_DSYNC that overwrites one write below, with no flush behind it? The
 * VFS flushes behind that of a block device in any case. Without a device of its own a file
 * system has several of them, or makes data durable in other ways.
 */
static bool ploop_has_fua(struct file *filp)
{
	struct block_device *bdev = ploop_file_bdev(filp);

	if (!bdev)
		return false;
	if (!bdev_write_cache(bdev))
		return true;
	return S_ISREG(file_inode(filp)->i_mode) && bdev_fua(bdev);
}

/* Where a file system of ext4's has its super block, and what of it is of interest. */
#define PLOOP_EXT4_SB_OFFSET	1024
#define PLOOP_EXT4_MAGIC	0x38
#define PLOOP_EXT4_COMPAT	0x5c
#define PLOOP_EXT4_JOURNAL	0x4
#define PLOOP_EXT4_INCOMPAT	0x60
#define PLOOP_EXT4_RECOVER	0x4

/*
 * Does this file system of ext4's work with a journal? It tells nobody but its super block,
 * which it has in memory, and which says two things: that there is a journal, and that it is
 * needed to recover. The second is so for as long as the journal is written to, and must not
 * be for a file system to be written without (noload). While it is frozen, it is not so.
 */
static bool ploop_ext4_has_journal(struct super_block *sb)
{
	struct buffer_head *bh = sb_bread(sb, PLOOP_EXT4_SB_OFFSET / sb->s_blocksize);
	const char *raw;
	bool has;

	if (!bh)
		return false;
	raw = bh->b_data + PLOOP_EXT4_SB_OFFSET % sb->s_blocksize;
	has = le16_to_cpup((const __le16 *)(raw + PLOOP_EXT4_MAGIC)) == EXT4_SUPER_MAGIC &&
	      (le32_to_cpup((const __le32 *)(raw + PLOOP_EXT4_COMPAT)) & PLOOP_EXT4_JOURNAL) &&
	      (le32_to_cpup((const __le32 *)(raw + PLOOP_EXT4_INCOMPAT)) & PLOOP_EXT4_RECOVER);
	brelse(bh);
	return has;
}

/*
 * See host.h. Known to be so of file systems that allocate for a direct write what is not
 * written yet, and say that it is when the data is there, in the right order on the disk:
 * ext4 needs extents and its journal for that. What is lost with the power needs nothing.
 * Writeback of the page cache comes when it likes.
 */
static bool ploop_has_honest_zeros(struct ploop_file *file)
{
	struct file *filp = file->file;
	struct super_block *sb = ploop_data_inode(filp)->i_sb;

	if (!file->dio_align)
		return false;
	/* Of a device it is the core that wrote zeros, and made them durable. */
	if (S_ISBLK(file_inode(filp)->i_mode))
		return true;
	switch (sb->s_magic) {
	case EXT4_SUPER_MAGIC:
		return compat_file_has_extents(filp) && ploop_ext4_has_journal(sb);
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return true;
	default:
		return false;
	}
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
		.fua = ploop_has_fua(filp),
		.zeros_honest = ploop_has_honest_zeros(file),
	};
}

/* Can a file of this kind be a delta? */
static int ploop_check_kind(const struct inode *inode)
{
	return S_ISREG(inode->i_mode) || S_ISBLK(inode->i_mode) ? 0 : -EINVAL;
}

/* And can this one, now that it is open? */
static int ploop_check_file(struct file *filp, bool write)
{
	struct inode *inode = file_inode(filp);

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

/*
 * The file that @name leads to, opened if a look says that it can be a delta: to open a
 * FIFO, a terminal or a tape does something already. What is opened is what was looked at,
 * whatever becomes of the name, and by the rules for opening it: permissions, and whether
 * the mount has devices. A lease of somebody else's is not waited for.
 */
static struct file *ploop_open_path(const char *name, bool write)
{
	struct path path;
	struct file *filp;
	int error;

	error = kern_path(name, LOOKUP_FOLLOW, &path);
	if (error)
		return ERR_PTR(error);
	error = ploop_check_kind(d_backing_inode(path.dentry));
	filp = error ? ERR_PTR(error) :
		       file_open_root(&path, "", O_NONBLOCK | O_LARGEFILE |
				      (write ? O_RDWR : O_RDONLY), 0);
	path_put(&path);
	return filp;
}

/*
 * The file that the caller's descriptor names, opened anew with the rights that the
 * descriptor has. Its flags and its record of errors stay the caller's: a file system that
 * works on another, like an overlay, would have heeded them on our behalf, too.
 */
static struct file *ploop_open_descriptor(struct ploop_host *host, int fd, bool write)
{
	struct file *named = fget(fd);
	struct file *filp;
	int access;
	int error;

	if (!named)
		return ERR_PTR(-ENOENT);
	if (!(named->f_mode & FMODE_READ))
		access = O_WRONLY;
	else
		access = write && (named->f_mode & FMODE_WRITE) ? O_RDWR : O_RDONLY;
	error = ploop_check_kind(file_inode(named));
	filp = error ? ERR_PTR(error) :
		       dentry_open(&named->f_path, O_LARGEFILE | access, host->cred);
	compat_fput(named);
	return filp;
}

/*
 * Makes a file that was just opened behave as ours. Reading must not write, least of all in
 * the submitter's context. Nor must a write, besides its data: some file systems begin a
 * transaction of their journal for the time stamps, once in every tick of the clock.
 * ploop_file_stamp() does that instead.
 */
static void ploop_make_ours(struct file *filp)
{
	spin_lock(&filp->f_lock);
	filp->f_flags |= O_NOATIME;
	spin_unlock(&filp->f_lock);
	/* The time stamps of a device node tell nothing of the image. */
	if (S_ISREG(file_inode(filp)->i_mode) && (filp->f_mode & FMODE_WRITE))
		filp->f_mode |= FMODE_NOCMTIME;
}

/*
 * A block device is the mapped device's own for as long as a table names it: whoever wants
 * it alone, like mkfs, is refused, and it shows below us. I/O is by our own open file. Our
 * own device is left to the core to refuse.
 */
static int ploop_claim(struct ploop_file *file)
{
	struct file *filp = file->file;

	if (!S_ISBLK(file_inode(filp)->i_mode) || ploop_is_own_device(file->host, filp))
		return 0;
	return compat_claim_device(file->host->ti, file_inode(filp), filp->f_mode & FMODE_WRITE,
				   &file->claim);
}

static void ploop_unclaim(struct ploop_file *file)
{
	if (file->claim)
		dm_put_device(file->host->ti, file->claim);
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
	filp = path ? ploop_open_path(path, write) : ploop_open_descriptor(host, fd, write);
	if (IS_ERR(filp)) {
		error = PTR_ERR(filp);
		goto out;
	}

	file->file = filp;
	file->host = host;
	error = ploop_check_file(filp, write);
	if (!error)
		error = ploop_claim(file);
	if (error)
		goto out_put;
	ploop_make_ours(filp);

	file->dio_align = ploop_dio_align(filp);
	/*
	 * The core writes the map in pages of 4 KiB. Larger blocks would be written
	 * whole, the header in the first of them, too, which is not all ours.
	 */
	if (file->dio_align > SZ_4K)
		file->dio_align = 0;
	file->mapping = ploop_data_inode(filp)->i_mapping;
	error = ploop_rw_init(file);
	if (error)
		goto out_put;
	file->inline_ok = file->dio_align && (filp->f_mode & FMODE_NOWAIT);
	ploop_get_facts(file, facts);

	if (compat_inode_needs_stable_pages(ploop_data_inode(filp)))
		host->stable_pages = true;
	*out = file;
out_put:
	if (error) {
		ploop_unclaim(file);
		compat_fput(filp);
	}
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
	ploop_unclaim(file);
	compat_fput(file->file);
	ploop_bracket_leave(&bracket);
	ploop_rw_exit(file);
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

/*
 * Like ftruncate(), not like truncate(): who has the file open for writing may set its size,
 * whatever its mode has become. Nobody can have a lease on a file that is open for writing,
 * a worker has no limit to the size of its files, and the file system's own is EFBIG.
 */
int ploop_file_truncate(struct ploop_file *file, loff_t size)
{
	struct file *filp = file->file;
	struct inode *inode = d_inode(filp->f_path.dentry);
	struct iattr attributes = {
		.ia_valid = ATTR_SIZE | ATTR_MTIME | ATTR_CTIME | ATTR_FILE,
		.ia_size = size,
		.ia_file = filp,
	};
	int ret;

	if (!S_ISREG(inode->i_mode) || !(filp->f_mode & FMODE_WRITE))
		return -EOPNOTSUPP;
	if (size < 0)
		return -EFBIG;
	/* For its owner may have made it so meanwhile. */
	if (IS_APPEND(file_inode(filp)))
		return -EPERM;

	file_start_write(filp);
	inode_lock(inode);
	ret = file_remove_privs(filp);
	/* This asks the security modules, but for those that go by paths: they were at open. */
	if (!ret)
		ret = compat_notify_change(filp, &attributes);
	inode_unlock(inode);
	file_end_write(filp);
	return ret;
}
