// SPDX-License-Identifier: GPL-2.0
/*
 * Writes of whole blocks, and of parts of them.
 *
 * A part of a block is written by reading the block, changing it, and writing it. A
 * write of the whole block that ends in between is undone by that, but for the part:
 * sectors that were acknowledged are lost. So who writes parts keeps out those who
 * write the same blocks whole, and first waits for those who are under way.
 *
 * Requests are of whole sectors, so only larger blocks can be written in part; where
 * they are no larger, nothing here costs anything. Where they are, but nobody writes
 * parts, whole writes are counted per CPU. The first part ends that: it waits for all
 * that are counted, and from then on whole writes are listed, under a lock, until no
 * part was written for a while.
 *
 * Locks: who writes a part holds the instance's lock for writing, and neither that nor
 * a range is taken by anybody who keeps the file system below from being frozen:
 * whoever has them may wait for a thaw.
 */
#include <linux/jiffies.h>
#include <linux/list.h>

#include "internal.h"

/* So long no part is written, and whole writes are counted again. */
#define PLOOP_RANGE_CALM (10 * HZ)

static bool ploop_range_overlaps(const struct ploop_range *range, u64 start, u64 end)
{
	return range->start < end && start < range->end;
}

/* Lists a whole write, unless a part of what it covers is being written. */
static bool ploop_range_list(struct ploop_ranges *ranges, struct ploop_range *range)
{
	unsigned long flags;
	bool clear;

	spin_lock_irqsave(&ranges->lock, flags);
	clear = !ploop_range_overlaps(&ranges->part, range->start, range->end);
	if (clear) {
		list_add(&range->node, &ranges->listed);
		range->how = PLOOP_RANGE_LISTED;
	}
	spin_unlock_irqrestore(&ranges->lock, flags);
	return clear;
}

bool ploop_range_try(struct ploop_file *file, struct ploop_range *range, u64 start, u64 bytes)
{
	struct ploop_ranges *ranges = &file->ranges;

	range->how = PLOOP_RANGE_NONE;
	if (!ranges->used)
		return true;
	/* Who writes parts kills the count before it reads, and waits for those in it. */
	if (percpu_ref_tryget_live(&ranges->counted)) {
		range->how = PLOOP_RANGE_COUNTED;
		return true;
	}
	range->start = start;
	range->end = start + bytes;
	return ploop_range_list(ranges, range);
}

void ploop_range_enter(struct ploop_file *file, struct ploop_range *range, u64 start, u64 bytes)
{
	wait_event(file->ranges.wait, ploop_range_try(file, range, start, bytes));
}

void ploop_range_leave(struct ploop_file *file, struct ploop_range *range)
{
	struct ploop_ranges *ranges = &file->ranges;
	unsigned long flags;

	switch (range->how) {
	case PLOOP_RANGE_NONE:
		break;
	case PLOOP_RANGE_COUNTED:
		percpu_ref_put(&ranges->counted);
		break;
	case PLOOP_RANGE_LISTED:
		spin_lock_irqsave(&ranges->lock, flags);
		list_del(&range->node);
		spin_unlock_irqrestore(&ranges->lock, flags);
		wake_up_all(&ranges->wait);
		break;
	}
}

static bool ploop_part_is_alone(struct ploop_ranges *ranges)
{
	struct ploop_range *range;
	bool alone = true;

	spin_lock_irq(&ranges->lock);
	list_for_each_entry(range, &ranges->listed, node) {
		if (ploop_range_overlaps(range, ranges->part.start, ranges->part.end)) {
			alone = false;
			break;
		}
	}
	spin_unlock_irq(&ranges->lock);
	return alone;
}

static void ploop_part_set(struct ploop_ranges *ranges, u64 start, u64 end)
{
	spin_lock_irq(&ranges->lock);
	ranges->part.start = start;
	ranges->part.end = end;
	spin_unlock_irq(&ranges->lock);
}

void ploop_part_begin(struct ploop_file *file, u64 start, u64 bytes)
{
	struct ploop_ranges *ranges = &file->ranges;

	lockdep_assert_held(&file->host->bounces[WRITE].lock);
	if (!ranges->used)
		return;
	ploop_part_set(ranges, round_down(start, (u64)file->dio_align),
		       round_up(start + bytes, (u64)file->dio_align));
	if (ranges->counting) {
		ranges->counting = false;
		reinit_completion(&ranges->drained);
		percpu_ref_kill(&ranges->counted);
		wait_for_completion(&ranges->drained);
	}
	wait_event(ranges->wait, ploop_part_is_alone(ranges));
}

void ploop_part_end(struct ploop_file *file)
{
	struct ploop_ranges *ranges = &file->ranges;

	if (!ranges->used)
		return;
	ploop_part_set(ranges, 0, 0);
	wake_up_all(&ranges->wait);
	mod_delayed_work(file->host->op_wq, &ranges->calm_work, PLOOP_RANGE_CALM);
}

/* Those that are listed still stay so, and are seen there by the next part. */
static void ploop_range_calm(struct work_struct *work)
{
	struct ploop_ranges *ranges =
		container_of(to_delayed_work(work), struct ploop_ranges, calm_work);
	struct ploop_file *file = container_of(ranges, struct ploop_file, ranges);
	struct mutex *lock = &file->host->bounces[WRITE].lock;

	/* Whoever holds it writes parts, or may wait long. */
	if (!mutex_trylock(lock)) {
		mod_delayed_work(file->host->op_wq, &ranges->calm_work, PLOOP_RANGE_CALM);
		return;
	}
	if (!ranges->counting) {
		percpu_ref_reinit(&ranges->counted);
		ranges->counting = true;
	}
	mutex_unlock(lock);
}

static void ploop_range_drained(struct percpu_ref *ref)
{
	complete(&container_of(ref, struct ploop_ranges, counted)->drained);
}

int ploop_ranges_init(struct ploop_file *file)
{
	struct ploop_ranges *ranges = &file->ranges;

	if (file->dio_align <= SECTOR_SIZE)
		return 0;
	spin_lock_init(&ranges->lock);
	INIT_LIST_HEAD(&ranges->listed);
	init_waitqueue_head(&ranges->wait);
	init_completion(&ranges->drained);
	INIT_DELAYED_WORK(&ranges->calm_work, ploop_range_calm);
	ranges->counting = true;
	ranges->used = true;
	return percpu_ref_init(&ranges->counted, ploop_range_drained, PERCPU_REF_ALLOW_REINIT,
			       GFP_NOIO);
}

void ploop_ranges_exit(struct ploop_file *file)
{
	struct ploop_ranges *ranges = &file->ranges;

	if (!ranges->used)
		return;
	cancel_delayed_work_sync(&ranges->calm_work);
	percpu_ref_exit(&ranges->counted);
}
