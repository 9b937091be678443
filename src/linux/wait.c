// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting, the module's one lock, the clock, and giving way.
 */
#include <linux/completion.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/sched.h>

#include "internal.h"

/* Lockdep and the debugging of spinlocks make a completion three times as large. */
static_assert(sizeof(struct completion) <= sizeof(struct ploop_wait));
static_assert(__alignof__(struct completion) <= __alignof__(struct ploop_wait));

static DEFINE_MUTEX(ploop_global_mutex);

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
