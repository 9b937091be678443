// SPDX-License-Identifier: GPL-2.0
/*
 * Device-mapper's hooks. Each translates and calls the core; all that decides
 * is there.
 *
 * The hooks that may allocate run with memalloc_noio: device-mapper sets it for
 * the copying of ioctl parameters only, and the device that a reclaim would write
 * to may be our own, suspended.
 */
#include <linux/bio.h>
#include <linux/cgroup.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "internal.h"

/* ---- Construction ------------------------------------------------------------ */

/*
 * Device-mapper prints ti->error after the constructor has returned, when all
 * that it allocated is gone. So the text is in one of a few static buffers, taken
 * in turn; for one to be overwritten before it is printed, as many constructors of
 * other devices must fail at that moment. The text is mixed up then, but ends: the
 * last byte of a buffer is never anything but NUL.
 */
#define PLOOP_ERROR_SLOTS 16u

static char ploop_errors[PLOOP_ERROR_SLOTS][PLOOP_ERROR_BYTES];
static atomic_t ploop_next_error = ATOMIC_INIT(0);

static char *ploop_error_slot(void)
{
	unsigned int slot = atomic_inc_return(&ploop_next_error);
	char *text = ploop_errors[slot % PLOOP_ERROR_SLOTS];

	text[0] = '\0';
	return text;
}

static struct ploop_host *ploop_host_new(struct dm_target *ti)
{
	struct ploop_host *host;

	host = kzalloc(sizeof(*host), GFP_KERNEL);
	if (!host)
		return NULL;

	host->ti = ti;
	strscpy(host->name, dm_disk(dm_table_get_md(ti->table))->disk_name, sizeof(host->name));
	if (ploop_work_init(host))
		goto free;
	if (ploop_epoch_init(host))
		goto exit_work;
	if (ploop_bounce_init(host))
		goto exit_epoch;
	host->cred = get_current_cred();
	return host;

exit_epoch:
	ploop_epoch_exit(host);
exit_work:
	ploop_work_exit(host);
free:
	kfree(host);
	return NULL;
}

/* The core is gone, or was never made. */
static void ploop_host_free(struct ploop_host *host)
{
	ploop_work_exit(host);
	ploop_epoch_exit(host);
	ploop_bounce_exit(host);
	put_cred(host->cred);
	kfree(host);
}

static void ploop_dtr(struct dm_target *ti)
{
	struct ploop_host *host = ti->private;
	unsigned int noio = memalloc_noio_save();

	ploop_work_stop(host);
	pc_destroy(host->core);
	ploop_host_free(host);
	memalloc_noio_restore(noio);
}

static int ploop_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	const struct ploop_table table = {
		.nr_sectors = ti->len,
		.read_only = !compat_table_is_writable(ti->table),
	};
	char *text = ploop_error_slot();
	struct ploop_host *host;
	unsigned int noio;
	int error;

	noio = memalloc_noio_save();
	host = ploop_host_new(ti);
	if (!host) {
		memalloc_noio_restore(noio);
		ti->error = "Out of memory";
		return -ENOMEM;
	}
	error = pc_construct(host, &table, argc, argv, &host->limits, &host->core, text);
	memalloc_noio_restore(noio);
	if (error) {
		ti->error = text[0] ? text : "Cannot construct the target";
		ploop_host_free(host);
		return error;
	}

	ti->private = host;
	error = dm_set_target_max_io_len(ti, host->limits.cluster_sectors);
	if (error) {
		ti->error = "Cannot split requests at clusters";
		ploop_dtr(ti);
		return error;
	}

	ti->num_flush_bios = 1;
	ti->flush_supported = true;
	ti->num_discard_bios = 1;
	ti->discards_supported = true;
	ti->num_write_zeroes_bios = 1;
	ti->num_secure_erase_bios = 0;
	ti->per_io_data_size = sizeof(struct ploop_bio);
	return 0;
}

/* ---- Requests ---------------------------------------------------------------- */

/* What PLOOP_RQ_INLINE excludes, see below. */
#define PLOOP_NEVER_INLINE (REQ_NOWAIT | REQ_META | REQ_PRIO | REQ_SWAP)

/*
 * Is what is read for the page cache of a block device? Then it is metadata, whatever
 * the flags say: ext4 reads the blocks of its extent trees without REQ_META, under a
 * lock of the class that the same file system takes below. One page tells for all: the
 * pages of a bio are of one owner.
 */
static bool ploop_reads_bdev_page(const struct bio *bio)
{
	struct address_space *mapping;
	bool is;

	if (bio_op(bio) != REQ_OP_READ)
		return false;
	/*
	 * Pages of the cache are locked while they are read. Those that a process has
	 * mapped may leave their file meanwhile, and that go; inodes wait for RCU.
	 */
	rcu_read_lock();
	mapping = folio_mapping(page_folio(bio_page(bio)));
	/* The swap cache has no inode. */
	is = mapping && mapping->host && sb_is_blkdev_sb(mapping->host->i_sb);
	rcu_read_unlock();
	return is;
}

static u8 ploop_rq_flags(const struct bio *bio)
{
	u8 flags = 0;

	if (bio->bi_opf & REQ_FUA)
		flags |= PLOOP_RQ_FUA;
	if (bio_op(bio) == REQ_OP_WRITE_ZEROES && (bio->bi_opf & REQ_NOUNMAP))
		flags |= PLOOP_RQ_NOUNMAP;
	/*
	 * Metadata is read under locks of the file system above that have the
	 * same class as those below; swapping has no memory to spare; and who may
	 * not wait would, for the lock of a block map, even though the file system
	 * below is asked not to. REQ_POLLED needs nothing: the bio goes no
	 * further, so whoever polls for it polls device-mapper's own count.
	 */
	if (!(bio->bi_opf & PLOOP_NEVER_INLINE) && !ploop_reads_bdev_page(bio))
		flags |= PLOOP_RQ_INLINE;
	return flags;
}

/*
 * What workers do for a request is on the account of its submitter. The clone that
 * device-mapper gives us is on nobody's, so it is put on that of who runs here; of the
 * original, which may be on another's (data that is written back), a target sees nothing.
 * For the root group there is nothing to do, and nothing is done.
 */
static void ploop_charge(const struct ploop_host *host, struct bio *bio)
{
#ifdef CONFIG_BLK_CGROUP
	bool root;

	if (host->limits.no_blkcg)
		return;
	rcu_read_lock();
	root = !task_css(current, io_cgrp_id)->parent;
	rcu_read_unlock();
	/* A thread of the kernel may work for a group that it is not in. */
	if (!root || (current->flags & PF_KTHREAD))
		bio_associate_blkg(bio);
#endif
}

static int ploop_map(struct dm_target *ti, struct bio *bio)
{
	struct ploop_host *host = ti->private;
	struct ploop_bio *pb = dm_per_bio_data(bio, sizeof(*pb));
	sector_t sector = dm_target_offset(ti, bio->bi_iter.bi_sector);
	enum ploop_rq_op op;

	switch (bio_op(bio)) {
	case REQ_OP_READ:
		op = PLOOP_RQ_READ;
		break;
	case REQ_OP_WRITE:
		op = bio->bi_opf & REQ_PREFLUSH ? PLOOP_RQ_FLUSH : PLOOP_RQ_WRITE;
		break;
	case REQ_OP_FLUSH:
		op = PLOOP_RQ_FLUSH;
		break;
	case REQ_OP_DISCARD:
		op = PLOOP_RQ_DISCARD;
		break;
	case REQ_OP_WRITE_ZEROES:
		op = PLOOP_RQ_WRITE_ZEROES;
		break;
	default:
		return DM_MAPIO_KILL;
	}

	/* Device-mapper takes data and flush apart, and sends nothing else without data. */
	if ((op == PLOOP_RQ_FLUSH) != !bio_sectors(bio))
		return DM_MAPIO_KILL;

	if (op == PLOOP_RQ_READ || op == PLOOP_RQ_WRITE) {
		u32 limit = pc_map_limit(host->core, sector);

		/* Device-mapper would come back with the same request for ever. */
		if (WARN_ON_ONCE(!limit))
			return DM_MAPIO_KILL;
		if (bio_sectors(bio) > limit)
			dm_accept_partial_bio(bio, limit);
	}

	/* All that is not named here begins as zero. */
	pb->rq = (struct ploop_rq) {
		.core = host->core,
		.sector = sector,
		.nr_sectors = bio_sectors(bio),
		.op = op,
		.flags = ploop_rq_flags(bio),
	};
	pb->blocking = PLOOP_BLOCKING_MAYBE;
	ploop_charge(host, bio);
	pc_map(host->core, &pb->rq);
	/* The bio may have ended: nothing of it may be touched any more. */
	return DM_MAPIO_SUBMITTED;
}

/* ---- Suspending and resuming --------------------------------------------------- */

static int ploop_preresume(struct dm_target *ti)
{
	struct ploop_host *host = ti->private;
	unsigned int noio = memalloc_noio_save();
	int error;

	error = pc_preresume(host->core);
	memalloc_noio_restore(noio);
	if (!error && host->stable_pages)
		compat_make_pages_stable(dm_disk(dm_table_get_md(ti->table)));
	return error;
}

static void ploop_resume(struct dm_target *ti)
{
	struct ploop_host *host = ti->private;
	unsigned int noio = memalloc_noio_save();

	pc_resume(host->core);
	memalloc_noio_restore(noio);
}

static void ploop_presuspend(struct dm_target *ti)
{
	struct ploop_host *host = ti->private;
	unsigned int noio = memalloc_noio_save();

	pc_presuspend(host->core, dm_noflush_suspending(ti));
	memalloc_noio_restore(noio);
}

static void ploop_presuspend_undo(struct dm_target *ti)
{
	struct ploop_host *host = ti->private;
	unsigned int noio = memalloc_noio_save();

	pc_presuspend_undo(host->core);
	memalloc_noio_restore(noio);
}

static void ploop_postsuspend(struct dm_target *ti)
{
	struct ploop_host *host = ti->private;
	unsigned int noio = memalloc_noio_save();

	pc_postsuspend(host->core);
	memalloc_noio_restore(noio);
}

/* ---- Telling and being told ------------------------------------------------------ */

static int ploop_message(struct dm_target *ti, unsigned int argc, char **argv, char *result,
			 unsigned int maxlen)
{
	struct ploop_host *host = ti->private;
	unsigned int noio = memalloc_noio_save();
	int ret;

	ret = pc_message(host->core, argc, argv, result, maxlen);
	memalloc_noio_restore(noio);
	return ret;
}

static void ploop_status(struct dm_target *ti, status_type_t type, unsigned int status_flags,
			 char *result, unsigned int maxlen)
{
	struct ploop_host *host = ti->private;
	enum ploop_status kind = PLOOP_STATUS_INFO;

	if (!maxlen)
		return;
	switch (type) {
	case STATUSTYPE_INFO:
		kind = PLOOP_STATUS_INFO;
		break;
	case STATUSTYPE_TABLE:
		kind = PLOOP_STATUS_TABLE;
		break;
	case STATUSTYPE_IMA:
		kind = PLOOP_STATUS_IMA;
		break;
	}
	pc_status(host->core, kind, result, maxlen);
}

uint64_t ph_device_id(struct ploop_host *host)
{
	/* Unlike a device number it is never used again. */
	return dm_disk(dm_table_get_md(host->ti->table))->diskseq;
}

/* ---- Limits ----------------------------------------------------------------------- */

/*
 * More than this at once makes nothing faster, and a fault of a page would read it all: with
 * clusters of 64 MiB, twice that.
 */
#define PLOOP_IO_OPT_MAX SZ_1M

static void ploop_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	const struct ploop_host *host = ti->private;
	const u32 cluster = host->limits.cluster_sectors;
	/* The block layer knows no blocks larger than a page. */
	const u32 block = clamp_t(u32, host->limits.dio_align_bytes, SECTOR_SIZE, PAGE_SIZE);
	/* As many whole clusters as one bio can name. */
	const u32 most = rounddown(UINT_MAX >> SECTOR_SHIFT, cluster);

	/*
	 * The logical block stays 512 bytes: any image works on any host. Files
	 * that take larger blocks only are told of as physical ones.
	 */
	limits->logical_block_size = SECTOR_SIZE;
	limits->physical_block_size = block;
	limits->io_min = block;
	/*
	 * Twice this much is read ahead. A power of two below a cluster divides it, so that
	 * requests of this length, aligned to it, stay within one.
	 */
	limits->io_opt = min_t(u32, cluster << SECTOR_SHIFT, PLOOP_IO_OPT_MAX);

	/* With an offset into the image the device begins in the middle of a cluster. */
	limits->discard_alignment = host->limits.first_cluster_sector << SECTOR_SHIFT;
	limits->discard_granularity = cluster << SECTOR_SHIFT;
	limits->max_discard_sectors = most;
	limits->max_hw_discard_sectors = most;
	limits->max_write_zeroes_sectors = most;

	if (host->stable_pages)
		compat_limit_stable_pages(limits);
}

/*
 * A hook that names no device: without it device-mapper offers neither
 * WRITE_ZEROES nor, on 6.1, NOWAIT. A file has no dm_dev, and a block device that is an
 * image has one only to be claimed: its limits are not ours, and it may be smaller.
 */
static int ploop_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	return 0;
}

struct target_type ploop_target = {
	.name = "ploop",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_SINGLETON | DM_TARGET_NOWAIT,
	.module = THIS_MODULE,
	.ctr = ploop_ctr,
	.dtr = ploop_dtr,
	.map = ploop_map,
	.presuspend = ploop_presuspend,
	.presuspend_undo = ploop_presuspend_undo,
	.postsuspend = ploop_postsuspend,
	.preresume = ploop_preresume,
	.resume = ploop_resume,
	.status = ploop_status,
	.message = ploop_message,
	.iterate_devices = ploop_iterate_devices,
	.io_hints = ploop_io_hints,
};
