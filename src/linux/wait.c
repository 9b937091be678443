// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting, locks, the clock, and giving way.
 */
#include <linux/completion.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/lockdep.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "internal.h"

/* Lockdep and the debugging of spinlocks make a completion three times as large. */
static_assert(sizeof(struct completion) <= sizeof(struct ploop_wait));
static_assert(__alignof__(struct completion) <= __alignof__(struct ploop_wait));

struct ploop_host_lock {
	spinlock_t lock;
	unsigned long irq_flags;	/* of whoever holds it */
};

static_assert(sizeof(struct ploop_host_lock) <= sizeof(struct ploop_lock));
static_assert(__alignof__(struct ploop_host_lock) <= __alignof__(struct ploop_lock));

static DEFINE_MUTEX(ploop_global_mutex);
static struct lock_class_key ploop_lock_keys[PLOOP_LOCK_KINDS];

void ph_wait_init(struct ploop_wait *wait)
{
	init_completion((struct completion *)wait);
}

void ph_wait_signal(struct ploop_wait *wait)
{
	/* The waiter may free it as soon as it wakes: complete() allows for that. */
	complete((struct completion *)wait);
}

void ph_wait(struct ploop_wait *wait)
{
	wait_for_completion((struct completion *)wait);
}

static struct ploop_host_lock *ploop_host_lock(struct ploop_lock *lock)
{
	return (struct ploop_host_lock *)lock;
}

void ph_lock_init(struct ploop_lock *lock, uint32_t kind)
{
	struct ploop_host_lock *own = ploop_host_lock(lock);

	if (WARN_ON_ONCE(kind >= PLOOP_LOCK_KINDS))
		kind = 0;
	spin_lock_init(&own->lock);
	/* Not one class for all that are initialised here: some are held together. */
	lockdep_set_class(&own->lock, &ploop_lock_keys[kind]);
}

void ph_lock(struct ploop_lock *lock) __acquires(&ploop_host_lock(lock)->lock)
{
	struct ploop_host_lock *own = ploop_host_lock(lock);
	unsigned long flags;

	/* Not straight into the room, which is the holder's. */
	spin_lock_irqsave(&own->lock, flags);
	own->irq_flags = flags;
}

void ph_unlock(struct ploop_lock *lock) __releases(&ploop_host_lock(lock)->lock)
{
	struct ploop_host_lock *own = ploop_host_lock(lock);

	spin_unlock_irqrestore(&own->lock, own->irq_flags);
}

void ph_global_lock(void)
{
	mutex_lock(&ploop_global_mutex);
}

void ph_global_unlock(void)
{
	mutex_unlock(&ploop_global_mutex);
}

uint64_t ph_now_ms(void)
{
	return ktime_to_ms(ktime_get()) + 1; /* never 0 */
}

void ph_yield(void)
{
	cond_resched();
}
