// SPDX-License-Identifier: GPL-2.0
/*
 * Epochs: a flip waits for those who had entered before, and for nobody else.
 */
#include <linux/slab.h>

#include "double.h"

enum { CELLS = 4, FLIPS = 100 };

/* What a mapping would lead to. */
struct cell {
	u32 generation;		/* odd: it may be in use */
};

struct epoch_test {
	struct ploop_double *instance;
	struct ploop_irq irq;
	struct completion drained_now;
	atomic_t drained;
	u32 entered;		/* by the test, left in an interrupt */

	/* The stress. */
	struct cell cells[CELLS];
	u32 mapped;		/* which cell is */
	u32 flips_to_go;
	bool over;
	struct epoch_reader {
		struct epoch_test *t;
		struct ploop_thread thread;
		struct ploop_irq irq;
		u64 rounds;
		u64 reused;	/* a cell was, while we were in */
		u32 in_irq_epoch;
		struct cell *in_irq_cell;
		u32 in_irq_generation;
		bool in_irq;	/* the interrupt has an epoch to leave */
	} readers[2];
};

static struct epoch_test *the_test;

static struct ploop_host *host_of(struct epoch_test *t)
{
	return t->instance->host;
}

static void count_drained(struct ploop_core *core)
{
	atomic_inc(&the_test->drained);
}

static int drained(struct epoch_test *t)
{
	return atomic_read(&t->drained);
}

static void flip_with_nobody_in(struct kunit *test)
{
	struct epoch_test *t = test->priv;
	int i;

	for (i = 1; i <= 5; i++) {
		ph_epoch_flip(host_of(t));
		KUNIT_EXPECT_TRUE(test, ploop_eventually(drained(t) == i));
		ploop_epoch_settle(host_of(t));
	}
	ploop_linger();
	KUNIT_EXPECT_EQ(test, drained(t), 5);
}

static void flip_waits_for_a_reader(struct kunit *test)
{
	struct epoch_test *t = test->priv;
	u32 first, second, third;

	first = ph_epoch_enter(host_of(t));
	second = ph_epoch_enter(host_of(t));
	KUNIT_EXPECT_LT(test, first, 2u);
	KUNIT_EXPECT_EQ(test, first, second);
	ph_epoch_flip(host_of(t));

	/* Who comes now is not waited for. */
	third = ph_epoch_enter(host_of(t));
	KUNIT_EXPECT_EQ(test, third, !first);
	ph_epoch_exit(host_of(t), first);
	ploop_linger();
	ploop_linger();
	KUNIT_EXPECT_EQ(test, drained(t), 0);
	ph_epoch_exit(host_of(t), second);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(drained(t) == 1));
	ploop_epoch_settle(host_of(t));

	/* But by the next flip. */
	ph_epoch_flip(host_of(t));
	ploop_linger();
	KUNIT_EXPECT_EQ(test, drained(t), 1);
	ph_epoch_exit(host_of(t), third);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(drained(t) == 2));
}

static void exit_in_irq(struct ploop_irq *irq)
{
	struct epoch_test *t = container_of(irq, struct epoch_test, irq);

	ph_epoch_exit(host_of(t), t->entered);
}

static void last_one_leaves_in_irq(struct kunit *test)
{
	struct epoch_test *t = test->priv;
	int i;

	for (i = 0; i < 4; i++) {
		t->entered = ph_epoch_enter(host_of(t));
		ph_epoch_flip(host_of(t));
		ploop_linger();
		KUNIT_EXPECT_EQ(test, drained(t), i);
		ploop_irq_start(test, &t->irq, ploop_cpu(i % 2), i < 2, 1, exit_in_irq);
		ploop_irq_join(test, &t->irq);
		KUNIT_EXPECT_TRUE(test, ploop_eventually(drained(t) == i + 1));
		ploop_epoch_settle(host_of(t));
	}
}

static void flip_again_when_drained(struct ploop_core *core)
{
	struct epoch_test *t = the_test;

	if (atomic_inc_return(&t->drained) < 10)
		ph_epoch_flip(host_of(t));
}

static void settle_waits_for_all_flips(struct kunit *test)
{
	struct epoch_test *t = test->priv;

	t->instance->core.drained = flip_again_when_drained;
	t->entered = ph_epoch_enter(host_of(t));
	ph_epoch_flip(host_of(t));
	ploop_irq_start(test, &t->irq, ploop_cpu(0), true, 1, exit_in_irq);
	ploop_epoch_settle(host_of(t));
	KUNIT_EXPECT_EQ(test, drained(t), 10);
	ploop_irq_join(test, &t->irq);
}

/* ---- Many flips, under readers on two processors ---------------------------------- */

/*
 * As the core does it: another cell is mapped, then comes a flip, and when that
 * has drained, the cell that was mapped before is reused. A cell that somebody
 * reads meanwhile is not.
 */
static void map_another(struct epoch_test *t)
{
	u32 next = (t->mapped + 1) % CELLS;

	WRITE_ONCE(t->cells[next].generation, t->cells[next].generation + 1);
	smp_store_release(&t->mapped, next);
	ph_epoch_flip(host_of(t));
}

static void reuse_and_map_another(struct ploop_core *core)
{
	struct epoch_test *t = the_test;
	struct cell *old = &t->cells[(t->mapped + CELLS - 1) % CELLS];

	WRITE_ONCE(old->generation, old->generation + 1);
	atomic_inc(&t->drained);
	if (--t->flips_to_go)
		map_another(t);
}

static struct cell *look_up(struct epoch_test *t, u32 *generation)
{
	struct cell *cell = &t->cells[smp_load_acquire(&t->mapped)];

	*generation = READ_ONCE(cell->generation);
	return cell;
}

static void leave_in_irq(struct ploop_irq *irq)
{
	struct epoch_reader *reader = container_of(irq, struct epoch_reader, irq);

	if (!smp_load_acquire(&reader->in_irq))
		return;
	if (READ_ONCE(reader->in_irq_cell->generation) != reader->in_irq_generation)
		reader->reused++;
	ph_epoch_exit(host_of(reader->t), reader->in_irq_epoch);
	smp_store_release(&reader->in_irq, false);
}

static void read_always(void *data)
{
	struct epoch_reader *reader = data;
	struct epoch_test *t = reader->t;

	while (!READ_ONCE(t->over)) {
		u32 epoch = ph_epoch_enter(host_of(t));
		u32 generation;
		struct cell *cell = look_up(t, &generation);
		u64 i;

		/* It was given back before we came: then it is not mapped any more. */
		if (!(generation % 2))
			reader->reused++;
		if (reader->rounds % 16 == 0 && !smp_load_acquire(&reader->in_irq)) {
			reader->in_irq_epoch = epoch;
			reader->in_irq_cell = cell;
			reader->in_irq_generation = generation;
			smp_store_release(&reader->in_irq, true);
		} else {
			for (i = 0; i < reader->rounds % 200; i++)
				cpu_relax();
			/* Who sleeps in there is waited for as well. */
			if (reader->rounds % 1024 == 0)
				msleep(20);
			if (READ_ONCE(cell->generation) != generation)
				reader->reused++;
			ph_epoch_exit(host_of(t), epoch);
		}
		reader->rounds++;
		cond_resched();
	}
}

static void flips_under_readers(struct kunit *test)
{
	struct epoch_test *t = test->priv;
	int i;

	t->instance->core.drained = reuse_and_map_another;
	t->flips_to_go = FLIPS;
	t->cells[0].generation = 1;
	for (i = 0; i < 2; i++) {
		struct epoch_reader *reader = &t->readers[i];

		reader->t = t;
		ploop_irq_start(test, &reader->irq, ploop_cpu(i), i == 0, UINT_MAX, leave_in_irq);
		ploop_thread_start(test, &reader->thread, ploop_cpu(i), read_always, reader);
	}
	map_another(t);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(drained(t) == FLIPS));

	WRITE_ONCE(t->over, true);
	for (i = 0; i < 2; i++) {
		struct epoch_reader *reader = &t->readers[i];

		ploop_thread_join(test, &reader->thread);
		KUNIT_EXPECT_TRUE(test, ploop_eventually(!smp_load_acquire(&reader->in_irq)));
		hrtimer_cancel(&reader->irq.timer);
		KUNIT_EXPECT_EQ(test, reader->reused, 0ull);
		KUNIT_EXPECT_GT(test, reader->rounds, 0ull);
		kunit_info(test, "reader %d: %llu rounds", i, reader->rounds);
	}
	ploop_epoch_settle(host_of(t));
	KUNIT_EXPECT_EQ(test, drained(t), FLIPS);
}

/* ---- The suite ----------------------------------------------------------------------- */

static int epoch_init(struct kunit *test)
{
	struct epoch_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	t->instance = ploop_double_new(test);
	t->instance->core.drained = count_drained;
	the_test = t;
	test->priv = t;
	return 0;
}

static void epoch_exit(struct kunit *test)
{
	struct epoch_test *t = test->priv;

	if (t)
		ploop_double_free(test, t->instance);
}

static struct kunit_case epoch_cases[] = {
	KUNIT_CASE(flip_with_nobody_in),
	KUNIT_CASE(flip_waits_for_a_reader),
	KUNIT_CASE(last_one_leaves_in_irq),
	KUNIT_CASE(settle_waits_for_all_flips),
	KUNIT_CASE(flips_under_readers),
	{}
};

static struct kunit_suite epoch_suite = {
	.name = "ploop_epoch",
	.init = epoch_init,
	.exit = epoch_exit,
	.test_cases = epoch_cases,
};

kunit_test_suite(epoch_suite);
