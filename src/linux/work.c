// SPDX-License-Identifier: GPL-2.0
/*
 * What runs on the instance's own account: the worker, timers and events, and
 * the gate that stops them.
 *
 * There are several workqueues, so that the core never queues behind I/O that waits
 * for the file system below, and neither reads nor the core's operations behind writes
 * that wait for it to be thawed. That for flushes runs on the processor of whoever asks
 * for one, who is about to sleep: waking an idle one would take longer. All are
 * WQ_MEM_RECLAIM: pages are cleaned through us, so we must get on when no thread can be
 * made. But what the file system below waits for in our workers is its own affair -
 * ext4 short of space flushes a work of the system's queue, for instance - and would be
 * warned about, with a stack trace, exactly during an outage: __WQ_LEGACY leaves that
 * warning out.
 */
#include <linux/jiffies.h>

#include "internal.h"

/* ---- The workers ----------------------------------------------------------- */

static void ploop_kick(struct ploop_host *host, struct workqueue_struct *wq,
		       struct work_struct *work)
{
	unsigned long flags;

	/*
	 * Under the lock no kick comes after ph_quiesce() has shut the gate. One
	 * that does is a message to a suspended table: it waits for the resume.
	 */
	spin_lock_irqsave(&host->gate_lock, flags);
	if (likely(host->gate == PLOOP_GATE_OPEN))
		queue_work(wq, work);
	spin_unlock_irqrestore(&host->gate_lock, flags);
}

void ph_kick(struct ploop_host *host)
{
	ploop_kick(host, host->control_wq, &host->kick_work);
}

void ph_flush_kick(struct ploop_host *host)
{
	ploop_kick(host, host->flush_wq, &host->flush_work);
}

static void ploop_kick_work(struct work_struct *work)
{
	struct ploop_host *host = container_of(work, struct ploop_host, kick_work);
	unsigned int noio = memalloc_noio_save();

	pc_work(host->core);
	memalloc_noio_restore(noio);
}

static void ploop_flush_work(struct work_struct *work)
{
	struct ploop_host *host = container_of(work, struct ploop_host, flush_work);
	unsigned int noio = memalloc_noio_save();

	pc_flush(host->core);
	memalloc_noio_restore(noio);
}

/* ---- Timers ---------------------------------------------------------------- */

void ph_timer_arm(struct ploop_host *host, enum ploop_timer which, uint32_t delay_ms)
{
	struct ploop_timer_slot *slot = &host->timers[which];
	unsigned long flags;

	/* Under the lock no timer is armed after ph_quiesce() has shut the gate. */
	spin_lock_irqsave(&host->gate_lock, flags);
	if (likely(host->gate == PLOOP_GATE_OPEN))
		mod_timer(&slot->timer, jiffies + msecs_to_jiffies(delay_ms));
	spin_unlock_irqrestore(&host->gate_lock, flags);
}

void ph_timer_stop(struct ploop_host *host, enum ploop_timer which)
{
	compat_timer_delete(&host->timers[which].timer);
}

static void ploop_timer_expired(struct timer_list *timer)
{
	struct ploop_timer_slot *slot = container_of(timer, struct ploop_timer_slot, timer);

	pc_timer(slot->host->core, slot->which);
}

/* ---- Events ---------------------------------------------------------------- */

void ph_event(struct ploop_host *host)
{
	/*
	 * An event raised while the instance is quiet is not lost but late. The
	 * full barrier pairs with the one in ph_start(): either we see the gate
	 * open, or ph_start() sees the flag. One that gets through while the
	 * gate closes does no harm before the destructor, which waits for it.
	 */
	if (unlikely(READ_ONCE(host->gate) == PLOOP_GATE_QUIET)) {
		WRITE_ONCE(host->event_late, true);
		smp_mb();
		if (READ_ONCE(host->gate) == PLOOP_GATE_QUIET)
			return;
	}
	queue_work(host->control_wq, &host->event_work);
}

/* dm_table_event() takes a mutex. The table outlives the destructor of its targets. */
static void ploop_event_work(struct work_struct *work)
{
	struct ploop_host *host = container_of(work, struct ploop_host, event_work);

	dm_table_event(host->ti->table);
}

/* ---- The gate -------------------------------------------------------------- */

static void ploop_set_gate(struct ploop_host *host, enum ploop_gate gate)
{
	unsigned long flags;

	spin_lock_irqsave(&host->gate_lock, flags);
	WRITE_ONCE(host->gate, gate);
	spin_unlock_irqrestore(&host->gate_lock, flags);
}

void ph_start(struct ploop_host *host)
{
	ploop_set_gate(host, PLOOP_GATE_OPEN);
	/* Pairs with the barrier in ph_event(). */
	smp_mb();
	if (READ_ONCE(host->event_late)) {
		WRITE_ONCE(host->event_late, false);
		queue_work(host->control_wq, &host->event_work);
	}
}

static void ploop_delete_timers(struct ploop_host *host)
{
	int i;

	for (i = 0; i < PLOOP_TIMERS; i++)
		compat_timer_delete_sync(&host->timers[i].timer);
}

void ph_quiesce(struct ploop_host *host)
{
	ploop_set_gate(host, PLOOP_GATE_CLOSING);

	/*
	 * From here no timer is armed and no kick passes, so each is waited for
	 * once.
	 */
	ploop_delete_timers(host);
	flush_work(&host->kick_work);
	flush_work(&host->flush_work);
	ploop_epoch_settle(host);
	/* An event is not dropped: who waits for it has nothing else. */
	flush_work(&host->event_work);

	ploop_set_gate(host, PLOOP_GATE_QUIET);
}

/* ---- Beginning and end ------------------------------------------------------- */

int ploop_work_init(struct ploop_host *host)
{
	const unsigned int flags = WQ_UNBOUND | WQ_MEM_RECLAIM | __WQ_LEGACY;
	int i;

	spin_lock_init(&host->gate_lock);
	host->gate = PLOOP_GATE_QUIET;
	INIT_WORK(&host->kick_work, ploop_kick_work);
	INIT_WORK(&host->flush_work, ploop_flush_work);
	INIT_WORK(&host->event_work, ploop_event_work);
	for (i = 0; i < PLOOP_TIMERS; i++) {
		host->timers[i].host = host;
		host->timers[i].which = i;
		timer_setup(&host->timers[i].timer, ploop_timer_expired, 0);
	}

	host->control_wq = alloc_workqueue("ploop_ctl-%s", flags, 0, host->name);
	if (!host->control_wq)
		return -ENOMEM;
	host->op_wq = alloc_workqueue("ploop_op-%s", flags, 0, host->name);
	if (!host->op_wq)
		goto no_op_wq;
	host->read_wq = alloc_workqueue("ploop_rd-%s", flags, 0, host->name);
	if (!host->read_wq)
		goto no_read_wq;
	host->write_wq = alloc_workqueue("ploop_wr-%s", flags, 0, host->name);
	if (!host->write_wq)
		goto no_write_wq;
	host->flush_wq = alloc_workqueue("ploop_fl-%s", COMPAT_WQ_PERCPU | WQ_HIGHPRI |
					 WQ_MEM_RECLAIM | __WQ_LEGACY, 0, host->name);
	if (!host->flush_wq)
		goto no_flush_wq;
	return 0;

no_flush_wq:
	destroy_workqueue(host->write_wq);
no_write_wq:
	destroy_workqueue(host->read_wq);
no_read_wq:
	destroy_workqueue(host->op_wq);
no_op_wq:
	destroy_workqueue(host->control_wq);
	return -ENOMEM;
}

void ploop_work_stop(struct ploop_host *host)
{
	ploop_set_gate(host, PLOOP_GATE_CLOSING);
	ploop_delete_timers(host);
	ploop_epoch_settle(host);
	cancel_work_sync(&host->kick_work);
	cancel_work_sync(&host->flush_work);
	cancel_work_sync(&host->event_work);
	ploop_set_gate(host, PLOOP_GATE_QUIET);
}

void ploop_work_exit(struct ploop_host *host)
{
	destroy_workqueue(host->flush_wq);
	destroy_workqueue(host->write_wq);
	destroy_workqueue(host->read_wq);
	destroy_workqueue(host->op_wq);
	destroy_workqueue(host->control_wq);
}
