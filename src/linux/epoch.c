// SPDX-License-Identifier: GPL-2.0
/*
 * Epochs: two per-CPU reference counts, of which one is entered at a time.
 *
 * A flip makes the other one current and kills the old one; the old one is
 * drained when its count reaches zero, which the kernel finds out after a grace
 * period of RCU. Until then it cannot be used again, and as flips come one at a
 * time, the current one is always live.
 */
#include "internal.h"

uint32_t ph_epoch_enter(struct ploop_host *host)
{
	struct ploop_epoch *epoch = &host->epoch;

	for (;;) {
		u32 which = READ_ONCE(epoch->current_ref);
		struct percpu_ref *ref = &epoch->refs[which].ref;

		if (!percpu_ref_tryget_live(ref)) {
			cpu_relax();
			continue;
		}

		/*
		 * That a reference was had does not say that it is the current
		 * one. Whoever sleeps between the first look and the reference
		 * while two flips begin, the first of which has ended, holds a
		 * live one that the second flip does not wait for; it would use
		 * what that flip waits to reuse. So look again.
		 *
		 * The read barrier orders the second look after the look at the
		 * reference's state: if that was put back to life, the second
		 * look sees the flip that killed it, or a later one. It pairs
		 * with percpu_ref_reinit(), which publishes with a release
		 * after that flip.
		 *
		 * The acquire pairs with the release in ph_epoch_flip(): who
		 * enters the epoch that a flip began sees the map as it was
		 * changed before. A plain load would not do, even with the
		 * barrier: the map could be read before the second look, from
		 * before a flip that this look already sees.
		 */
		smp_rmb();
		if (likely(smp_load_acquire(&epoch->current_ref) == which))
			return which;
		percpu_ref_put(ref);
	}
}

void ph_epoch_exit(struct ploop_host *host, uint32_t which)
{
	percpu_ref_put(&host->epoch.refs[which].ref);
}

void ph_epoch_flip(struct ploop_host *host)
{
	struct ploop_epoch *epoch = &host->epoch;
	u32 old = epoch->current_ref;

	if (WARN_ON_ONCE(epoch->flipping))
		return;
	WRITE_ONCE(epoch->flipping, true);

	/* Pairs with the acquire in ph_epoch_enter(): the map was changed before. */
	smp_store_release(&epoch->current_ref, !old);
	percpu_ref_kill(&epoch->refs[old].ref);
}

/* The last reference is gone. Any context, with interrupts off maybe. */
static void ploop_epoch_released(struct percpu_ref *ref)
{
	struct ploop_epoch_ref *epoch_ref = container_of(ref, struct ploop_epoch_ref, ref);

	queue_work(epoch_ref->host->control_wq, &epoch_ref->host->epoch.drained_work);
}

/* Puts the old count back to life, which may sleep, and tells the core. */
static void ploop_epoch_drained_work(struct work_struct *work)
{
	struct ploop_epoch *epoch = container_of(work, struct ploop_epoch, drained_work);
	struct ploop_host *host = container_of(epoch, struct ploop_host, epoch);
	unsigned int noio = memalloc_noio_save();

	percpu_ref_reinit(&epoch->refs[!epoch->current_ref].ref);
	WRITE_ONCE(epoch->flipping, false);
	/* It may flip again at once. */
	pc_epoch_drained(host->core);

	wake_up_all(&epoch->settled);
	memalloc_noio_restore(noio);
}

void ploop_epoch_settle(struct ploop_host *host)
{
	struct ploop_epoch *epoch = &host->epoch;

	/* The flag falls before the core has been told; flushing waits for that. */
	do {
		wait_event(epoch->settled, !READ_ONCE(epoch->flipping));
		flush_work(&epoch->drained_work);
	} while (READ_ONCE(epoch->flipping));
}

int ploop_epoch_init(struct ploop_host *host)
{
	struct ploop_epoch *epoch = &host->epoch;
	int error;
	int i;

	INIT_WORK(&epoch->drained_work, ploop_epoch_drained_work);
	init_waitqueue_head(&epoch->settled);

	for (i = 0; i < 2; i++) {
		epoch->refs[i].host = host;
		error = percpu_ref_init(&epoch->refs[i].ref, ploop_epoch_released,
					PERCPU_REF_ALLOW_REINIT, GFP_KERNEL);
		if (error) {
			while (i--)
				percpu_ref_exit(&epoch->refs[i].ref);
			return error;
		}
	}
	return 0;
}

void ploop_epoch_exit(struct ploop_host *host)
{
	int i;

	for (i = 0; i < 2; i++)
		percpu_ref_exit(&host->epoch.refs[i].ref);
}
