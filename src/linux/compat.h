/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that we build for, 6.1 and later, and why.
 * No other file looks at the kernel's version.
 */
#ifndef PLOOP_LINUX_COMPAT_H
#define PLOOP_LINUX_COMPAT_H

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/file.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/pagemap.h>
#include <linux/timer.h>
#include <linux/version.h>

#define PLOOP_KERNEL_SINCE(major, minor) (LINUX_VERSION_CODE >= KERNEL_VERSION(major, minor, 0))

/* Since 6.5 block devices are opened with a mode type of their own. */
#if PLOOP_KERNEL_SINCE(6, 5)
#define compat_blk_mode_t blk_mode_t
#define COMPAT_CLAIM_READ BLK_OPEN_READ
#define COMPAT_CLAIM_WRITE (BLK_OPEN_READ | BLK_OPEN_WRITE)
#else
#define compat_blk_mode_t fmode_t
#define COMPAT_CLAIM_READ FMODE_READ
#define COMPAT_CLAIM_WRITE (FMODE_READ | FMODE_WRITE)
#endif

static inline bool compat_table_is_writable(struct dm_table *table)
{
#if PLOOP_KERNEL_SINCE(6, 5)
	return dm_table_get_mode(table) & BLK_OPEN_WRITE;
#else
	return dm_table_get_mode(table) & FMODE_WRITE;
#endif
}

/*
 * Claims the block device of @inode for the mapped device of @ti, in its constructor. All
 * tables of one mapped device share a claim, and so do all mapped devices. By number, for
 * a name may lead elsewhere by now.
 */
static inline int compat_claim_device(struct dm_target *ti, const struct inode *inode, bool write,
				      struct dm_dev **claim)
{
	char name[24];

	snprintf(name, sizeof(name), "%u:%u", MAJOR(inode->i_rdev), MINOR(inode->i_rdev));
	return dm_get_device(ti, name, write ? COMPAT_CLAIM_WRITE : COMPAT_CLAIM_READ, claim);
}

/* The del_ names went away in 6.15; the timer_ names came in 6.2. */
#if PLOOP_KERNEL_SINCE(6, 2)
#define compat_timer_delete(timer) timer_delete(timer)
#define compat_timer_delete_sync(timer) timer_delete_sync(timer)
#else
#define compat_timer_delete(timer) del_timer(timer)
#define compat_timer_delete_sync(timer) del_timer_sync(timer)
#endif

/* Since 6.17 a workqueue says so if its works run where they are queued. */
#if PLOOP_KERNEL_SINCE(6, 17)
#define COMPAT_WQ_PERCPU WQ_PERCPU
#else
#define COMPAT_WQ_PERCPU 0
#endif

/*
 * Must pages not change while they are on their way to the data of @inode, a
 * block device's or a file's? Since 6.10 btrfs says so in the mapping, for inodes
 * with checksums; before, it only handled its own page cache, so every inode of
 * it has to count.
 */
static inline bool compat_inode_needs_stable_pages(const struct inode *inode)
{
	const struct super_block *sb = inode->i_sb;
	struct block_device *bdev =
		S_ISBLK(inode->i_mode) ? I_BDEV((struct inode *)inode) : sb->s_bdev;

	if (sb->s_iflags & SB_I_STABLE_WRITES)
		return true;
	if (bdev && bdev_stable_writes(bdev))
		return true;
#if PLOOP_KERNEL_SINCE(6, 10)
	return mapping_stable_writes(inode->i_mapping);
#else
	return sb->s_magic == BTRFS_SUPER_MAGIC;
#endif
}

/*
 * Makes the pages under writeback to our own device stable, too. Up to 6.10
 * this is a flag of the queue, which device-mapper clears when it binds a table
 * without data devices; so it is set after that. Since 6.11 it is one of the
 * limits and set by the io_hints hook; but device-mapper keeps the old limits if
 * it replaces a table by one without data devices, so look again here.
 * Process context; the device is suspended.
 */
static inline void compat_make_pages_stable(struct gendisk *disk)
{
	struct request_queue *queue = disk->queue;
#if PLOOP_KERNEL_SINCE(6, 11)
	struct queue_limits limits;

	if (queue->limits.features & BLK_FEAT_STABLE_WRITES)
		return;
	limits = queue_limits_start_update(queue);
	/* It cannot fail: one feature bit is not validated against anything. */
	limits.features |= BLK_FEAT_STABLE_WRITES;
	WARN_ON_ONCE(queue_limits_commit_update(queue, &limits));
#else
	blk_queue_flag_set(QUEUE_FLAG_STABLE_WRITES, queue);
#endif
}

static inline void compat_limit_stable_pages(struct queue_limits *limits)
{
#if PLOOP_KERNEL_SINCE(6, 11)
	limits->features |= BLK_FEAT_STABLE_WRITES;
#endif
}

/* Are the file's blocks in extents, not in lists of blocks? For file systems of ext4's. */
static inline bool compat_file_has_extents(struct file *file)
{
	/* Since 6.17 it has another name. */
#if PLOOP_KERNEL_SINCE(6, 17)
	struct file_kattr attributes = {};
#else
	struct fileattr attributes = {};
#endif

	return !vfs_fileattr_get(file->f_path.dentry, &attributes) &&
	       (attributes.flags & FS_EXTENT_FL);
}

/* Since 6.3 a mount maps ids by a type of its own. The inode is locked. */
static inline int compat_notify_change(struct file *file, struct iattr *attributes)
{
#if PLOOP_KERNEL_SINCE(6, 3)
	return notify_change(file_mnt_idmap(file), file->f_path.dentry, attributes, NULL);
#else
	return notify_change(file_mnt_user_ns(file), file->f_path.dentry, attributes, NULL);
#endif
}

/*
 * Closes @file for a kernel thread, for which fput() would be put off. Until
 * 6.5 __fput_sync() is a bug in any other task. A task of user space closes at
 * its return to there, before anything that it does next.
 */
static inline void compat_fput(struct file *file)
{
	if (current->flags & PF_KTHREAD)
		__fput_sync(file);
	else
		fput(file);
}

#endif
