// SPDX-License-Identifier: GPL-2.0
/*
 * The worker, timers, events and the gate that stops them; waiting and the clock.
 */
#include <linux/slab.h>

#include "double.h"

enum { KICKS = 4000, KICKS_IN_IRQ = 1000 };

struct work_test {
	struct ploop_double *instance;
	struct ploop_thread threads[2];
	struct ploop_irq irq;
	struct completion entered;
	struct completion go_on;
	atomic_t inside;
	atomic_t overlaps;
	atomic_t runs;
	atomic64_t wanted;	/* written before a kick */
	u64 seen;		/* by the worker */
	u32 stalls;
	bool over;
	atomic_t fired[PLOOP_TIMERS];
	u64 fired_at_ms;
	struct ploop_wait wait;
	bool returned;
	bool beside;
	int flushed_on;
	struct ploop_lock locks[2];
	u64 guarded;
};

static struct work_test *the_test;

static struct ploop_host *host_of(struct work_test *t)
{
	return t->instance->host;
}

static void quiesce(void *data)
{
	struct work_test *t = data;

	ph_quiesce(host_of(t));
	WRITE_ONCE(t->returned, true);
}

/* ---- The worker ------------------------------------------------------------------ */

static void count_work(struct ploop_core *core)
{
	struct work_test *t = the_test;

	if (atomic_inc_return(&t->inside) != 1)
		atomic_inc(&t->overlaps);
	smp_store_release(&t->seen, (u64)atomic64_read(&t->wanted));
	atomic_inc(&t->runs);
	atomic_dec(&t->inside);
}

/* Each kick is waited for: what was written before it is seen by a run. */
static void kick_and_wait(void *data)
{
	struct work_test *t = data;
	unsigned long until = jiffies + PLOOP_PATIENCE;
	int i;

	for (i = 0; i < KICKS; i++) {
		u64 mine = atomic64_inc_return(&t->wanted);

		ph_kick(host_of(t));
		/* Half of them come while others are on their way. */
		if (i % 2)
			continue;
		while (smp_load_acquire(&t->seen) < mine) {
			if (time_after(jiffies, until)) {
				t->stalls++;
				return;
			}
			cpu_relax();
			cond_resched();
		}
	}
}

static void kick_in_irq(struct ploop_irq *irq)
{
	struct work_test *t = container_of(irq, struct work_test, irq);

	atomic64_inc(&t->wanted);
	ph_kick(host_of(t));
}

static void kick_is_never_lost(struct kunit *test)
{
	struct work_test *t = test->priv;

	t->instance->core.work = count_work;
	ph_start(host_of(t));
	ploop_irq_start(test, &t->irq, ploop_cpu(0), true, KICKS_IN_IRQ, kick_in_irq);
	ploop_thread_start(test, &t->threads[0], ploop_cpu(0), kick_and_wait, t);
	ploop_thread_start(test, &t->threads[1], ploop_cpu(1), kick_and_wait, t);
	ploop_irq_join(test, &t->irq);
	ploop_thread_join(test, &t->threads[0]);
	ploop_thread_join(test, &t->threads[1]);

	KUNIT_EXPECT_EQ(test, t->stalls, 0u);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(READ_ONCE(t->seen) ==
						 2 * KICKS + KICKS_IN_IRQ));
	KUNIT_EXPECT_EQ(test, atomic_read(&t->overlaps), 0);
	kunit_info(test, "%d runs", atomic_read(&t->runs));
}

static void stay_inside(struct ploop_core *core)
{
	struct work_test *t = the_test;

	if (atomic_inc_return(&t->inside) != 1)
		atomic_inc(&t->overlaps);
	complete(&t->entered);
	wait_for_completion(&t->go_on);
	atomic_inc(&t->runs);
	atomic_dec(&t->inside);
}

static void count_work_beside(struct ploop_core *core)
{
	WRITE_ONCE(the_test->beside, true);
}

static void kick_while_it_runs(struct kunit *test)
{
	struct work_test *t = test->priv;
	int i;

	t->instance->core.work = stay_inside;
	ph_start(host_of(t));
	ph_kick(host_of(t));
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&t->entered, PLOOP_PATIENCE));
	for (i = 0; i < 5; i++)
		ph_kick(host_of(t));
	complete(&t->go_on);
	/* One run more, for all five. */
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&t->entered, PLOOP_PATIENCE));
	complete(&t->go_on);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(atomic_read(&t->runs) == 2));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, atomic_read(&t->runs), 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->overlaps), 0);
}

/* ---- Flushes -------------------------------------------------------------------- */

static void flush_while_it_runs(struct kunit *test)
{
	struct work_test *t = test->priv;
	int i;

	/* Beside the worker. */
	t->instance->core.flush = stay_inside;
	t->instance->core.work = count_work_beside;
	ph_flush_kick(host_of(t));
	ploop_linger();
	ph_start(host_of(t));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, atomic_read(&t->inside), 0);	/* forgotten */

	ph_flush_kick(host_of(t));
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&t->entered, PLOOP_PATIENCE));
	for (i = 0; i < 5; i++)
		ph_flush_kick(host_of(t));
	ph_kick(host_of(t));
	KUNIT_EXPECT_TRUE(test, ploop_eventually(READ_ONCE(t->beside)));
	complete(&t->go_on);
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&t->entered, PLOOP_PATIENCE));

	/* Who quiesces waits for it; what is kicked meanwhile is forgotten. */
	ploop_thread_start(test, &t->threads[0], ploop_cpu(0), quiesce, t);
	ploop_linger();
	KUNIT_EXPECT_FALSE(test, READ_ONCE(t->returned));
	ph_flush_kick(host_of(t));
	complete(&t->go_on);
	ploop_thread_join(test, &t->threads[0]);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->runs), 2);
	ploop_linger();
	KUNIT_EXPECT_EQ(test, atomic_read(&t->runs), 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->overlaps), 0);
}

static void note_cpu(struct ploop_core *core)
{
	WRITE_ONCE(the_test->flushed_on, raw_smp_processor_id());
	atomic_inc(&the_test->runs);
}

static void flush_kick_here(void *data)
{
	ph_flush_kick(host_of(data));
}

/* On the processor of whoever kicks. */
static void flush_wakes_no_other_processor(struct kunit *test)
{
	struct work_test *t = test->priv;
	unsigned int i;

	t->instance->core.flush = note_cpu;
	ph_start(host_of(t));
	for (i = 0; i < 10; i++) {
		int cpu = ploop_cpu(i % 2);

		ploop_thread_start(test, &t->threads[0], cpu, flush_kick_here, t);
		ploop_thread_join(test, &t->threads[0]);
		KUNIT_EXPECT_TRUE(test, ploop_eventually(atomic_read(&t->runs) == i + 1));
		KUNIT_EXPECT_EQ(test, READ_ONCE(t->flushed_on), cpu);
		flush_work(&host_of(t)->flush_work);
	}
}

/* ---- The gate --------------------------------------------------------------------- */

static void kick_while_quiet_is_forgotten(struct kunit *test)
{
	struct work_test *t = test->priv;

	t->instance->core.work = count_work;
	ph_kick(host_of(t));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, atomic_read(&t->runs), 0);
	ph_start(host_of(t));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, atomic_read(&t->runs), 0);
	ph_kick(host_of(t));
	KUNIT_EXPECT_TRUE(test, ploop_eventually(atomic_read(&t->runs) == 1));

	ph_quiesce(host_of(t));
	ph_kick(host_of(t));
	ploop_linger();
	ph_start(host_of(t));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, atomic_read(&t->runs), 1);
}

static void quiesce_waits_for_the_worker(struct kunit *test)
{
	struct work_test *t = test->priv;

	t->instance->core.work = stay_inside;
	ph_start(host_of(t));
	ph_kick(host_of(t));
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&t->entered, PLOOP_PATIENCE));
	ploop_thread_start(test, &t->threads[0], ploop_cpu(0), quiesce, t);
	ploop_linger();
	KUNIT_EXPECT_FALSE(test, READ_ONCE(t->returned));
	complete(&t->go_on);
	ploop_thread_join(test, &t->threads[0]);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->runs), 1);
}

static void kick_and_arm_always(void *data)
{
	struct work_test *t = data;
	u32 i = 0;

	for (; !READ_ONCE(t->over); i++) {
		ph_kick(host_of(t));
		ph_timer_arm(host_of(t), i % PLOOP_TIMERS, i % 3);
		cond_resched();
	}
}

static void count_timer(struct ploop_core *core, enum ploop_timer which)
{
	struct work_test *t = the_test;

	WRITE_ONCE(t->fired_at_ms, ph_now_ms());
	atomic_inc(&t->fired[which]);
	if (core->work)
		ph_kick(host_of(t));
}

static int fired_in_all(struct work_test *t)
{
	int i, sum = 0;

	for (i = 0; i < PLOOP_TIMERS; i++)
		sum += atomic_read(&t->fired[i]);
	return sum;
}

/* Whatever two processors do meanwhile. */
static void quiesce_holds_against_a_storm(struct kunit *test)
{
	struct work_test *t = test->priv;
	int wrong = 0;
	int i;

	t->instance->core.work = count_work;
	t->instance->core.timer = count_timer;
	ploop_thread_start(test, &t->threads[0], ploop_cpu(0), kick_and_arm_always, t);
	ploop_thread_start(test, &t->threads[1], ploop_cpu(1), kick_and_arm_always, t);
	for (i = 0; i < 100; i++) {
		int runs, fired;

		ph_start(host_of(t));
		usleep_range(500, 8000);
		ph_quiesce(host_of(t));
		runs = atomic_read(&t->runs);
		fired = fired_in_all(t);
		if (i % 10 == 0)
			msleep(20);
		else
			usleep_range(100, 200);
		wrong += runs != atomic_read(&t->runs) || fired != fired_in_all(t);
	}
	WRITE_ONCE(t->over, true);
	ploop_thread_join(test, &t->threads[0]);
	ploop_thread_join(test, &t->threads[1]);

	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->overlaps), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&t->runs), 0);
	KUNIT_EXPECT_GT(test, fired_in_all(t), 0);
	kunit_info(test, "%d runs, %d timers", atomic_read(&t->runs), fired_in_all(t));
}

/* ---- Timers ------------------------------------------------------------------------- */

static void timer_fires_once(struct kunit *test)
{
	struct work_test *t = test->priv;
	u64 armed_at_ms;

	t->instance->core.timer = count_timer;
	ph_start(host_of(t));
	armed_at_ms = ph_now_ms();
	ph_timer_arm(host_of(t), PLOOP_TIMER_RETRY, 100);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(atomic_read(&t->fired[PLOOP_TIMER_RETRY])));
	/* The kernel's own ticks are the measure: one of them has begun already. */
	KUNIT_EXPECT_GE(test, t->fired_at_ms + jiffies_to_msecs(1) + 1, armed_at_ms + 100);
	ploop_linger();
	ploop_linger();
	KUNIT_EXPECT_EQ(test, fired_in_all(t), 1);
}

static void timer_is_moved(struct kunit *test)
{
	struct work_test *t = test->priv;

	t->instance->core.timer = count_timer;
	ph_start(host_of(t));
	/* To an earlier time, and to a later one. */
	ph_timer_arm(host_of(t), PLOOP_TIMER_RETRY, 3600000);
	ph_timer_arm(host_of(t), PLOOP_TIMER_RETRY, 10);
	ph_timer_arm(host_of(t), PLOOP_TIMER_COMMIT, 1000);
	ph_timer_arm(host_of(t), PLOOP_TIMER_COMMIT, 3600000);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(atomic_read(&t->fired[PLOOP_TIMER_RETRY])));
	msleep(1100);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->fired[PLOOP_TIMER_RETRY]), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->fired[PLOOP_TIMER_COMMIT]), 0);
}

static void timers_are_apart(struct kunit *test)
{
	struct work_test *t = test->priv;
	int i;

	t->instance->core.timer = count_timer;
	ph_start(host_of(t));
	for (i = 0; i < PLOOP_TIMERS; i++) {
		ph_timer_arm(host_of(t), i, 1);
		KUNIT_EXPECT_TRUE(test, ploop_eventually(atomic_read(&t->fired[i])));
		KUNIT_EXPECT_EQ(test, fired_in_all(t), i + 1);
	}
}

static void timer_is_stopped(struct kunit *test)
{
	struct work_test *t = test->priv;

	t->instance->core.timer = count_timer;
	ph_start(host_of(t));
	ph_timer_stop(host_of(t), PLOOP_TIMER_EXPIRE);	/* not armed */
	ph_timer_arm(host_of(t), PLOOP_TIMER_EXPIRE, 500);
	ph_timer_arm(host_of(t), PLOOP_TIMER_SPACE, 500);
	ph_timer_stop(host_of(t), PLOOP_TIMER_EXPIRE);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(atomic_read(&t->fired[PLOOP_TIMER_SPACE])));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, atomic_read(&t->fired[PLOOP_TIMER_EXPIRE]), 0);
}

static void timer_ends_with_quiesce(struct kunit *test)
{
	struct work_test *t = test->priv;

	t->instance->core.timer = count_timer;
	ph_timer_arm(host_of(t), PLOOP_TIMER_RETRY, 1);
	ploop_linger();
	ph_start(host_of(t));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, fired_in_all(t), 0);

	ph_timer_arm(host_of(t), PLOOP_TIMER_RETRY, 200);
	ph_quiesce(host_of(t));
	ph_start(host_of(t));
	msleep(300);
	KUNIT_EXPECT_EQ(test, fired_in_all(t), 0);
}

/* ---- Events ---------------------------------------------------------------------------- */

static int events_of(struct work_test *t)
{
	return atomic_read(&t->instance->table.events);
}

static void raise_in_irq(struct ploop_irq *irq)
{
	ph_event(host_of(container_of(irq, struct work_test, irq)));
}

static void event_is_raised(struct kunit *test)
{
	struct work_test *t = test->priv;

	ph_start(host_of(t));
	ph_event(host_of(t));
	KUNIT_EXPECT_TRUE(test, ploop_eventually(events_of(t) == 1));
	ploop_irq_start(test, &t->irq, ploop_cpu(1), true, 1, raise_in_irq);
	ploop_irq_join(test, &t->irq);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(events_of(t) == 2));
	/* The last one is delivered before this returns. */
	ph_event(host_of(t));
	ph_quiesce(host_of(t));
	KUNIT_EXPECT_EQ(test, events_of(t), 3);
}

static void event_while_quiet_is_late(struct kunit *test)
{
	struct work_test *t = test->priv;

	ph_event(host_of(t));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, events_of(t), 0);
	ph_start(host_of(t));
	KUNIT_EXPECT_TRUE(test, ploop_eventually(events_of(t) == 1));
	ph_quiesce(host_of(t));
	ph_start(host_of(t));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, events_of(t), 1);
}

static void raise_on_command(void *data)
{
	struct work_test *t = data;

	WRITE_ONCE(t->returned, true);
	while (!READ_ONCE(t->over))
		cpu_relax();
	ph_event(host_of(t));
}

/* Raised while the gate opens, or while it shuts. */
static void event_is_never_lost(struct kunit *test)
{
	struct work_test *t = test->priv;
	int lost = 0;
	int i, n;

	for (i = 0; i < 100 && !lost; i++) {
		int events = events_of(t);

		if (i % 2)
			ph_start(host_of(t));
		WRITE_ONCE(t->over, false);
		WRITE_ONCE(t->returned, false);
		ploop_thread_start(test, &t->threads[0], ploop_cpu(i / 2 % 2), raise_on_command, t);
		ploop_eventually(READ_ONCE(t->returned));

		WRITE_ONCE(t->over, true);
		for (n = 0; n < i; n++)
			cpu_relax();
		if (i % 2)
			ph_quiesce(host_of(t));
		else
			ph_start(host_of(t));
		ploop_thread_join(test, &t->threads[0]);

		if (i % 2)
			ph_start(host_of(t));
		lost += !ploop_eventually(events_of(t) > events);
		ph_quiesce(host_of(t));
		flush_work(&host_of(t)->event_work);
	}
	KUNIT_EXPECT_EQ(test, lost, 0);
}

/* ---- Waiting, and the clock -------------------------------------------------------------- */

static void signal_in_irq(struct ploop_irq *irq)
{
	ph_wait_signal(&container_of(irq, struct work_test, irq)->wait);
}

static void wait_is_signalled(struct kunit *test)
{
	struct work_test *t = test->priv;

	ph_wait_init(&t->wait);
	ph_wait_signal(&t->wait);
	ph_wait(&t->wait);
	ploop_irq_start(test, &t->irq, ploop_cpu(1), true, 1, signal_in_irq);
	ph_wait(&t->wait);
	ploop_irq_join(test, &t->irq);
}

enum { LOCKED = 20000, LOCKED_IN_IRQ = 500 };

static void lock_often(void *data)
{
	struct work_test *t = data;
	int i;

	for (i = 0; i < LOCKED; i++) {
		ph_lock(&t->locks[0]);
		ph_lock(&t->locks[1]);
		t->guarded++;
		ph_unlock(&t->locks[1]);
		ph_unlock(&t->locks[0]);
	}
}

static void lock_in_irq(struct ploop_irq *irq)
{
	struct work_test *t = container_of(irq, struct work_test, irq);

	ph_lock(&t->locks[1]);
	t->guarded++;
	ph_unlock(&t->locks[1]);
}

/* Two kinds, one in the other, also in an interrupt of whoever would hold them. */
static void lock_in_any_context(struct kunit *test)
{
	struct work_test *t = test->priv;
	unsigned long flags;

	ph_lock_init(&t->locks[0], 0);
	ph_lock_init(&t->locks[1], PLOOP_LOCK_KINDS - 1);
	ploop_irq_start(test, &t->irq, ploop_cpu(0), true, LOCKED_IN_IRQ, lock_in_irq);
	ploop_thread_start(test, &t->threads[0], ploop_cpu(0), lock_often, t);
	ploop_thread_start(test, &t->threads[1], ploop_cpu(1), lock_often, t);
	ploop_irq_join(test, &t->irq);
	ploop_thread_join(test, &t->threads[0]);
	ploop_thread_join(test, &t->threads[1]);
	KUNIT_EXPECT_EQ(test, t->guarded, 2ull * LOCKED + LOCKED_IN_IRQ);

	/* Interrupts are as they were. */
	KUNIT_EXPECT_FALSE(test, irqs_disabled());
	local_irq_save(flags);
	ph_lock(&t->locks[0]);
	ph_unlock(&t->locks[0]);
	KUNIT_EXPECT_TRUE(test, irqs_disabled());
	local_irq_restore(flags);
}

static void clock_goes_on(struct kunit *test)
{
	u64 before = ph_now_ms();

	KUNIT_EXPECT_NE(test, before, 0ull);
	msleep(20);
	KUNIT_EXPECT_GE(test, ph_now_ms(), before + 20);
}

/* ---- The suite ---------------------------------------------------------------------------- */

static int work_init(struct kunit *test)
{
	struct work_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	init_completion(&t->entered);
	init_completion(&t->go_on);
	t->instance = ploop_double_new(test);
	the_test = t;
	test->priv = t;
	return 0;
}

static void work_exit(struct kunit *test)
{
	struct work_test *t = test->priv;

	if (!t)
		return;
	/* A test that failed half-way may have left the worker inside. */
	complete_all(&t->go_on);
	ploop_double_free(test, t->instance);
}

static struct kunit_case work_cases[] = {
	KUNIT_CASE(kick_is_never_lost),
	KUNIT_CASE(kick_while_it_runs),
	KUNIT_CASE(kick_while_quiet_is_forgotten),
	KUNIT_CASE(flush_while_it_runs),
	KUNIT_CASE(flush_wakes_no_other_processor),
	KUNIT_CASE(quiesce_waits_for_the_worker),
	KUNIT_CASE(quiesce_holds_against_a_storm),
	KUNIT_CASE(timer_fires_once),
	KUNIT_CASE(timer_is_moved),
	KUNIT_CASE(timers_are_apart),
	KUNIT_CASE(timer_is_stopped),
	KUNIT_CASE(timer_ends_with_quiesce),
	KUNIT_CASE(event_is_raised),
	KUNIT_CASE(event_while_quiet_is_late),
	KUNIT_CASE(event_is_never_lost),
	KUNIT_CASE(wait_is_signalled),
	KUNIT_CASE(lock_in_any_context),
	KUNIT_CASE(clock_goes_on),
	{}
};

static struct kunit_suite work_suite = {
	.name = "ploop_work",
	.init = work_init,
	.exit = work_exit,
	.test_cases = work_cases,
};

kunit_test_suite(work_suite);
