// SPDX-License-Identifier: GPL-2.0
/*
 * Doubles of the core and of device-mapper: just what the kernel's side calls of
 * either. Device-mapper's functions are found here before the kernel's own,
 * because a module is linked before it is loaded.
 */
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "double.h"

/* ---- The core ---------------------------------------------------------------- */

void pc_work(struct ploop_core *core)
{
	if (core->work)
		core->work(core);
	else
		atomic_inc(&core->surprises);
}

void pc_flush(struct ploop_core *core)
{
	if (core->flush)
		core->flush(core);
	else
		atomic_inc(&core->surprises);
}

void pc_timer(struct ploop_core *core, enum ploop_timer which)
{
	if (core->timer)
		core->timer(core, which);
	else
		atomic_inc(&core->surprises);
}

void pc_epoch_drained(struct ploop_core *core)
{
	if (core->drained)
		core->drained(core);
	else
		atomic_inc(&core->surprises);
}

void pc_rq_done(struct ploop_rq *rq, int64_t result)
{
	struct ploop_double_rq *drq = container_of(ploop_bio_of(rq), struct ploop_double_rq, pb);

	drq->result = result;
	atomic_inc(&drq->calls);
	complete(&drq->done);
}

/* ---- Device-mapper -------------------------------------------------------------- */

struct mapped_device *dm_table_get_md(struct dm_table *table)
{
	return &table->md;
}

struct gendisk *dm_disk(struct mapped_device *md)
{
	return md->disk;
}

/* It has them all, and to itself. */
int dm_get_device(struct dm_target *ti, const char *path, compat_blk_mode_t mode,
		  struct dm_dev **result)
{
	ti->table->claims++;
	ti->table->claimed_to_write = mode == COMPAT_CLAIM_WRITE;
	strscpy(ti->table->claim.name, path, sizeof(ti->table->claim.name));
	*result = &ti->table->claim;
	return 0;
}

void dm_put_device(struct dm_target *ti, struct dm_dev *device)
{
	if (device == &ti->table->claim)
		ti->table->claims--;
}

void dm_table_event(struct dm_table *table)
{
	atomic_inc(&table->events);
}

int dm_noflush_suspending(struct dm_target *ti)
{
	return ti->table->noflush;
}

struct bio *dm_bio_from_per_bio_data(void *data, size_t data_size)
{
	return container_of(data, struct ploop_double_rq, pb)->bio;
}

/* ---- Instances -------------------------------------------------------------------- */

struct ploop_double *ploop_double_new(struct kunit *test)
{
	struct ploop_double *instance;
	struct ploop_host *host;
	int error;

	instance = kunit_kzalloc(test, sizeof(*instance), GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, instance);
	host = kzalloc(sizeof(*host), GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, host);

	instance->ti.table = &instance->table;
	instance->ti.private = host;
	instance->host = host;
	host->ti = &instance->ti;
	host->core = &instance->core;
	strscpy(host->name, "kunit", sizeof(host->name));

	error = ploop_work_init(host);
	if (!error) {
		error = ploop_epoch_init(host);
		if (error)
			ploop_work_exit(host);
	}
	if (!error) {
		error = ploop_bounce_init(host);
		if (error) {
			ploop_epoch_exit(host);
			ploop_work_exit(host);
		}
	}
	if (error)
		kfree(host);
	KUNIT_ASSERT_EQ(test, error, 0);
	host->cred = get_current_cred();
	return instance;
}

void ploop_double_free(struct kunit *test, struct ploop_double *instance)
{
	struct ploop_host *host = instance->host;

	ploop_work_stop(host);
	host->core = NULL;
	ploop_work_exit(host);
	ploop_epoch_exit(host);
	ploop_bounce_exit(host);
	put_cred(host->cred);
	kfree(host);
	KUNIT_EXPECT_EQ(test, atomic_read(&instance->core.surprises), 0);
}

/* ---- Threads and interrupts --------------------------------------------------------- */

int ploop_cpu(unsigned int nth)
{
	int cpu = cpumask_first(cpu_online_mask);
	int next = nth ? cpumask_next(cpu, cpu_online_mask) : cpu;

	return next < nr_cpu_ids ? next : cpu;
}

static int ploop_thread_main(void *data)
{
	struct ploop_thread *thread = data;

	thread->run(thread->data);
	kthread_complete_and_exit(&thread->ended, 0);
}

void ploop_thread_start(struct kunit *test, struct ploop_thread *thread, int cpu,
			void (*run)(void *data), void *data)
{
	struct task_struct *task;

	thread->run = run;
	thread->data = data;
	init_completion(&thread->ended);
	task = kthread_create(ploop_thread_main, thread, "ploop_kunit");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	if (cpu != PLOOP_ANY_CPU)
		kthread_bind(task, cpu);
	wake_up_process(task);
}

void ploop_thread_join(struct kunit *test, struct ploop_thread *thread)
{
	/* What the thread uses is the test's: there is no going on without it. */
	if (!wait_for_completion_timeout(&thread->ended, 3 * PLOOP_PATIENCE)) {
		KUNIT_FAIL(test, "a thread hangs");
		wait_for_completion(&thread->ended);
	}
}

static enum hrtimer_restart ploop_irq_fires(struct hrtimer *timer)
{
	struct ploop_irq *irq = container_of(timer, struct ploop_irq, timer);

	irq->run(irq);
	if (++irq->done == irq->times) {
		complete(&irq->ended);
		return HRTIMER_NORESTART;
	}
	hrtimer_forward_now(timer, ns_to_ktime(100 * NSEC_PER_USEC));
	return HRTIMER_RESTART;
}

static void ploop_irq_begin(void *data)
{
	struct ploop_irq *irq = data;

	hrtimer_start(&irq->timer, ns_to_ktime(100 * NSEC_PER_USEC), irq->mode);
}

void ploop_irq_start(struct kunit *test, struct ploop_irq *irq, int cpu, bool hard,
		     unsigned int times, void (*run)(struct ploop_irq *irq))
{
	struct ploop_thread thread;

	irq->run = run;
	irq->done = 0;
	irq->times = times;
	irq->mode = hard ? HRTIMER_MODE_REL_PINNED_HARD : HRTIMER_MODE_REL_PINNED_SOFT;
	init_completion(&irq->ended);
	hrtimer_init(&irq->timer, CLOCK_MONOTONIC, irq->mode);
	irq->timer.function = ploop_irq_fires;

	/* A pinned timer fires where it was started. */
	ploop_thread_start(test, &thread, cpu, ploop_irq_begin, irq);
	ploop_thread_join(test, &thread);
}

void ploop_irq_join(struct kunit *test, struct ploop_irq *irq)
{
	if (!wait_for_completion_timeout(&irq->ended, 3 * PLOOP_PATIENCE))
		KUNIT_FAIL(test, "an interrupt does not come");
	hrtimer_cancel(&irq->timer);
}

MODULE_DESCRIPTION("KUnit suites of the kernel's side of dm-ploop");
MODULE_AUTHOR("The dm-ploop authors");
MODULE_LICENSE("GPL");
