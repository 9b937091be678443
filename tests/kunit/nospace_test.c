// SPDX-License-Identifier: GPL-2.0
/*
 * What an outage rests on: the lockless list, pushed to from every context; the
 * parking lot and the count of events, as the core ships them.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "double.h"
#include "probe.h"

/* ---- The list ------------------------------------------------------------------ */

enum { SOURCES = 4 };		/* two threads, an interrupt, a softirq */

struct parcel {
	struct ploop_node node;
	u32 source;
	u32 number;
};

struct source {
	struct ploop_irq irq;
	struct ploop_thread thread;
	struct ploop_list *list;
	struct parcel *parcels;
	u32 count;
	u32 pushed;
	u32 found_empty;
};

static struct parcel *parcel_of(struct ploop_node *node)
{
	return container_of(node, struct parcel, node);
}

static void push_next(struct source *source)
{
	struct parcel *parcel = &source->parcels[source->pushed];

	parcel->number = source->pushed++;
	if (ph_list_push(source->list, &parcel->node))
		source->found_empty++;
}

static void push_from_irq(struct ploop_irq *irq)
{
	push_next(container_of(irq, struct source, irq));
}

static void push_all(void *data)
{
	struct source *source = data;

	while (source->pushed < source->count) {
		push_next(source);
		if (!(source->pushed % 64))
			cond_resched();
	}
}

static void list_is_last_in_first_out(struct kunit *test)
{
	struct ploop_list list = {};
	struct parcel parcels[3] = {};

	KUNIT_EXPECT_PTR_EQ(test, ph_list_take(&list), NULL);
	KUNIT_EXPECT_TRUE(test, ph_list_push(&list, &parcels[0].node));
	KUNIT_EXPECT_FALSE(test, ph_list_push(&list, &parcels[1].node));
	KUNIT_EXPECT_FALSE(test, ph_list_push(&list, &parcels[2].node));

	KUNIT_EXPECT_PTR_EQ(test, ph_list_take(&list), &parcels[2].node);
	KUNIT_EXPECT_PTR_EQ(test, parcels[2].node.next, &parcels[1].node);
	KUNIT_EXPECT_PTR_EQ(test, parcels[1].node.next, &parcels[0].node);
	KUNIT_EXPECT_PTR_EQ(test, parcels[0].node.next, NULL);

	KUNIT_EXPECT_PTR_EQ(test, ph_list_take(&list), NULL);
	KUNIT_EXPECT_TRUE(test, ph_list_push(&list, &parcels[0].node));
}

/*
 * Each parcel comes out once, and those of one source in its order; and for each
 * take that found something just one push found the list empty.
 */
static void list_from_every_context(struct kunit *test)
{
	static const u32 counts[SOURCES] = { 30000, 30000, 2000, 2000 };
	struct ploop_list list = {};
	struct source *sources;
	u32 next[SOURCES] = {};
	u32 takes = 0, found_empty = 0, wrong = 0, left = 0;
	unsigned long until;
	u32 i;

	sources = kunit_kcalloc(test, SOURCES, sizeof(*sources), GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, sources);
	for (i = 0; i < SOURCES; i++) {
		u32 n;

		sources[i].list = &list;
		sources[i].count = counts[i];
		sources[i].parcels = kunit_kcalloc(test, counts[i], sizeof(struct parcel),
						   GFP_KERNEL);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, sources[i].parcels);
		for (n = 0; n < counts[i]; n++)
			sources[i].parcels[n].source = i;
		left += counts[i];
	}

	ploop_irq_start(test, &sources[2].irq, ploop_cpu(0), true, counts[2], push_from_irq);
	ploop_irq_start(test, &sources[3].irq, ploop_cpu(1), false, counts[3], push_from_irq);
	ploop_thread_start(test, &sources[0].thread, ploop_cpu(0), push_all, &sources[0]);
	ploop_thread_start(test, &sources[1].thread, ploop_cpu(1), push_all, &sources[1]);

	until = jiffies + PLOOP_PATIENCE;
	while (left && time_before(jiffies, until)) {
		struct ploop_node *node = ph_list_take(&list);
		struct ploop_node *in_order = NULL;

		if (!node) {
			cond_resched();
			continue;
		}
		takes++;
		while (node) {
			struct ploop_node *older = node->next;

			node->next = in_order;
			in_order = node;
			node = older;
		}
		for (; in_order; in_order = in_order->next) {
			struct parcel *parcel = parcel_of(in_order);

			if (parcel->number != next[parcel->source]++)
				wrong++;
			left--;
		}
	}

	ploop_irq_join(test, &sources[2].irq);
	ploop_irq_join(test, &sources[3].irq);
	ploop_thread_join(test, &sources[0].thread);
	ploop_thread_join(test, &sources[1].thread);

	for (i = 0; i < SOURCES; i++)
		found_empty += sources[i].found_empty;
	KUNIT_EXPECT_EQ(test, left, 0u);
	KUNIT_EXPECT_EQ(test, wrong, 0u);
	KUNIT_EXPECT_EQ(test, found_empty, takes);
	KUNIT_EXPECT_PTR_EQ(test, ph_list_take(&list), NULL);
	kunit_info(test, "%u takes", takes);
}

/* ---- The parking lot --------------------------------------------------------------- */

static void park_asks_for_attention(struct kunit *test)
{
	struct ploop_park_probe lot;
	struct parcel parcels[3] = {};

	ploop_park_probe_init(&lot);
	KUNIT_EXPECT_PTR_EQ(test, ploop_park_probe_take(&lot), NULL);
	KUNIT_EXPECT_TRUE(test, ploop_park_probe_park(&lot, &parcels[0].node));
	ploop_park_probe_be_quiet(&lot);
	KUNIT_EXPECT_FALSE(test, ploop_park_probe_park(&lot, &parcels[1].node));
	KUNIT_EXPECT_PTR_EQ(test, ploop_park_probe_be_attentive(&lot), &parcels[1].node);
	KUNIT_EXPECT_PTR_EQ(test, parcels[1].node.next, &parcels[0].node);
	KUNIT_EXPECT_TRUE(test, ploop_park_probe_park(&lot, &parcels[2].node));
	KUNIT_EXPECT_PTR_EQ(test, ploop_park_probe_take(&lot), &parcels[2].node);
}

enum {
	PARKERS = 3,		/* two threads and an interrupt */
	PARKS = 50000,		/* of each thread */
	PARKS_IN_IRQ = 2000
};

struct parked {
	struct parcel parcel;
	u64 due;		/* the round that must take it at the latest; 0: any */
	u64 taken;		/* the one that took it */
};

struct park_stress {
	struct ploop_double *instance;
	struct ploop_park_probe lot;
	u64 rounds;		/* that the worker has ended */
	u32 wrong_order;
	bool stalled;
	struct parker {
		struct park_stress *stress;
		struct ploop_thread thread;
		struct ploop_irq irq;
		struct parked *parked;
		u32 count;
		u32 parked_until_now;
		u32 taken_until_now;
		u32 kicks;
	} parkers[PARKERS];
};

static struct park_stress *the_stress;

/*
 * The worker's round, the end of an outage that has just begun: quiet for a
 * moment, then attentive. What finds it quiet is taken at the end of this round;
 * what finds it attentive kicks, and so there is another round. Nothing else
 * makes one: who is forgotten waits for ever.
 */
static void park_stress_work(struct ploop_core *core)
{
	struct park_stress *stress = the_stress;
	u64 round = stress->rounds + 1;
	struct ploop_node *node, *in_order = NULL;
	u64 i;

	smp_wmb(); /* pairs with the read barrier in park_one() */
	ploop_park_probe_be_quiet(&stress->lot);
	for (i = 0; i < round % 128; i++)
		cpu_relax();
	node = ploop_park_probe_be_attentive(&stress->lot);

	while (node) {
		struct ploop_node *older = node->next;

		node->next = in_order;
		in_order = node;
		node = older;
	}
	while (in_order) {
		struct parked *parked = container_of(parcel_of(in_order), struct parked, parcel);
		struct parker *parker = &stress->parkers[parked->parcel.source];

		in_order = in_order->next;
		if (parked->parcel.number != parker->taken_until_now || parked->taken)
			stress->wrong_order++;
		parked->taken = round;
		smp_store_release(&parker->taken_until_now, parker->taken_until_now + 1);
	}
	smp_store_release(&stress->rounds, round);
}

static void park_one(struct parker *parker)
{
	struct park_stress *stress = parker->stress;
	struct parked *parked = &parker->parked[parker->parked_until_now];

	parked->parcel.number = parker->parked_until_now++;
	if (ploop_park_probe_park(&stress->lot, &parked->parcel.node)) {
		parker->kicks++;
		ph_kick(stress->instance->host);
	} else {
		smp_rmb(); /* pairs with the write barrier in park_stress_work() */
		parked->due = smp_load_acquire(&stress->rounds) + 1;
	}
}

/* With between 1 and 32 on their way. */
static void park_all(void *data)
{
	struct parker *parker = data;
	u32 i;

	for (i = 0; i < parker->count; i++) {
		unsigned long until = jiffies + PLOOP_PATIENCE;

		park_one(parker);
		while (i + 1 - smp_load_acquire(&parker->taken_until_now) > i % 32) {
			if (time_after(jiffies, until)) {
				WRITE_ONCE(parker->stress->stalled, true);
				return;
			}
			cpu_relax();
			cond_resched();
		}
	}
}

static void park_in_irq(struct ploop_irq *irq)
{
	park_one(container_of(irq, struct parker, irq));
}

static void park_stress(struct kunit *test)
{
	static const u32 counts[PARKERS] = { PARKS, PARKS, PARKS_IN_IRQ };
	struct park_stress *stress;
	u32 late = 0, quiet = 0, kicks = 0;
	u32 i, n;

	KUNIT_ASSERT_GE(test, num_online_cpus(), 2u);
	stress = kunit_kzalloc(test, sizeof(*stress), GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, stress);
	for (i = 0; i < PARKERS; i++) {
		struct parker *parker = &stress->parkers[i];

		parker->stress = stress;
		parker->count = counts[i];
		parker->parked = kunit_kcalloc(test, counts[i], sizeof(*parker->parked),
					       GFP_KERNEL);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, parker->parked);
		for (n = 0; n < counts[i]; n++)
			parker->parked[n].parcel.source = i;
	}
	ploop_park_probe_init(&stress->lot);
	the_stress = stress;
	stress->instance = test->priv;
	stress->instance->core.work = park_stress_work;
	ph_start(stress->instance->host);

	ploop_thread_start(test, &stress->parkers[0].thread, ploop_cpu(0), park_all,
			   &stress->parkers[0]);
	ploop_thread_start(test, &stress->parkers[1].thread, ploop_cpu(1), park_all,
			   &stress->parkers[1]);
	ploop_irq_start(test, &stress->parkers[2].irq, ploop_cpu(1), true, PARKS_IN_IRQ,
			park_in_irq);
	ploop_irq_join(test, &stress->parkers[2].irq);
	ploop_thread_join(test, &stress->parkers[0].thread);
	ploop_thread_join(test, &stress->parkers[1].thread);
	for (i = 0; i < PARKERS; i++) {
		struct parker *parker = &stress->parkers[i];

		KUNIT_EXPECT_TRUE(test, ploop_eventually(READ_ONCE(parker->taken_until_now) ==
							 parker->count));
	}
	ph_quiesce(stress->instance->host);

	for (i = 0; i < PARKERS; i++) {
		kicks += stress->parkers[i].kicks;
		for (n = 0; n < counts[i]; n++) {
			struct parked *parked = &stress->parkers[i].parked[n];

			quiet += !!parked->due;
			late += parked->due && parked->taken > parked->due;
		}
	}
	KUNIT_EXPECT_FALSE(test, stress->stalled);
	KUNIT_EXPECT_EQ(test, stress->wrong_order, 0u);
	KUNIT_EXPECT_EQ(test, late, 0u);
	/* Without these it would have been no meeting. */
	KUNIT_EXPECT_GT(test, quiet, 0u);
	KUNIT_EXPECT_GT(test, kicks, 0u);
	kunit_info(test, "%llu rounds, %u kicks, %u parked while quiet", stress->rounds, kicks,
		   quiet);
}

/* ---- The count of events -------------------------------------------------------------- */

static void event_is_told_once(struct kunit *test)
{
	struct ploop_event_probe events;

	ploop_event_probe_init(&events);
	KUNIT_EXPECT_FALSE(test, ploop_event_probe_tell(&events, true));

	ploop_event_probe_raise(&events);
	ploop_event_probe_raise(&events);
	KUNIT_EXPECT_TRUE(test, ploop_event_probe_tell(&events, true));
	KUNIT_EXPECT_FALSE(test, ploop_event_probe_tell(&events, true));
	KUNIT_EXPECT_EQ(test, ploop_event_probe_acknowledged(&events), 2ull);
}

static void event_stays_if_the_reply_does_not_fit(struct kunit *test)
{
	struct ploop_event_probe events;

	ploop_event_probe_init(&events);
	ploop_event_probe_raise(&events);
	KUNIT_EXPECT_TRUE(test, ploop_event_probe_tell(&events, false));
	KUNIT_EXPECT_EQ(test, ploop_event_probe_acknowledged(&events), 0ull);
	KUNIT_EXPECT_TRUE(test, ploop_event_probe_tell(&events, true));
	KUNIT_EXPECT_FALSE(test, ploop_event_probe_tell(&events, true));
}

enum { RAISES = 100000 };

struct storm {
	struct ploop_event_probe events;
	struct ploop_thread raiser;
	u64 ended;		/* raises that have ended */
	bool over;
	struct reader {
		struct storm *storm;
		struct ploop_thread thread;
		u64 reads;
		u64 replies;
		u64 uncovered;
		u64 unfounded;
	} readers[2];
};

static u64 reads_of(struct storm *storm)
{
	return READ_ONCE(storm->readers[0].reads) + READ_ONCE(storm->readers[1].reads);
}

static void raise_all(void *data)
{
	struct storm *storm = data;
	u64 i;

	for (i = 1; i <= RAISES; i++) {
		ploop_event_probe_raise(&storm->events);
		smp_store_release(&storm->ended, i);
		/* Between two bursts there are reads, whatever the scheduler thinks. */
		if (!(i % 64)) {
			u64 before = reads_of(storm);

			ploop_eventually(reads_of(storm) >= before + 4);
		}
	}
	smp_store_release(&storm->over, true);
}

static void read_once(struct reader *reader)
{
	struct ploop_event_probe *events = &reader->storm->events;
	u64 ended = smp_load_acquire(&reader->storm->ended);
	u64 acknowledged = ploop_event_probe_acknowledged(events);

	/* A reply needs a raise that nobody had acknowledged before. */
	if (ploop_event_probe_tell(events, true)) {
		reader->replies++;
		if (ploop_event_probe_raised(events) <= acknowledged)
			reader->unfounded++;
	}
	/* What had ended before is covered now, by this reader or by the other. */
	if (ploop_event_probe_acknowledged(events) < ended)
		reader->uncovered++;
	WRITE_ONCE(reader->reads, reader->reads + 1);
}

static void read_all(void *data)
{
	struct reader *reader = data;

	while (!smp_load_acquire(&reader->storm->over)) {
		read_once(reader);
		cond_resched();
	}
	read_once(reader);
}

static void event_storm(struct kunit *test)
{
	struct storm *storm;
	u64 told;
	int i;

	KUNIT_ASSERT_GE(test, num_online_cpus(), 2u);
	storm = kunit_kzalloc(test, sizeof(*storm), GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, storm);
	ploop_event_probe_init(&storm->events);
	for (i = 0; i < 2; i++) {
		storm->readers[i].storm = storm;
		ploop_thread_start(test, &storm->readers[i].thread, ploop_cpu(i), read_all,
				   &storm->readers[i]);
	}
	ploop_thread_start(test, &storm->raiser, PLOOP_ANY_CPU, raise_all, storm);
	ploop_thread_join(test, &storm->raiser);
	ploop_thread_join(test, &storm->readers[0].thread);
	ploop_thread_join(test, &storm->readers[1].thread);

	for (i = 0; i < 2; i++) {
		struct reader *reader = &storm->readers[i];

		KUNIT_EXPECT_EQ(test, reader->uncovered, 0ull);
		KUNIT_EXPECT_EQ(test, reader->unfounded, 0ull);
		KUNIT_EXPECT_LE(test, reader->replies, (u64)RAISES);
		KUNIT_EXPECT_GT(test, reader->reads, 0ull);
		/* All is told. */
		told = reader->replies;
		read_once(reader);
		KUNIT_EXPECT_EQ(test, reader->replies, told);
		kunit_info(test, "reader %d: %llu reads, %llu replies", i, reader->reads,
			   reader->replies);
	}
	KUNIT_EXPECT_EQ(test, ploop_event_probe_raised(&storm->events), (u64)RAISES);
	KUNIT_EXPECT_EQ(test, ploop_event_probe_acknowledged(&storm->events), (u64)RAISES);
}

/* ---- The suite ------------------------------------------------------------------------- */

static int nospace_init(struct kunit *test)
{
	test->priv = ploop_double_new(test);
	return 0;
}

static void nospace_exit(struct kunit *test)
{
	if (test->priv)
		ploop_double_free(test, test->priv);
}

static struct kunit_case nospace_cases[] = {
	KUNIT_CASE(list_is_last_in_first_out),
	KUNIT_CASE(list_from_every_context),
	KUNIT_CASE(park_asks_for_attention),
	KUNIT_CASE(park_stress),
	KUNIT_CASE(event_is_told_once),
	KUNIT_CASE(event_stays_if_the_reply_does_not_fit),
	KUNIT_CASE(event_storm),
	{}
};

static struct kunit_suite nospace_suite = {
	.name = "ploop_nospace",
	.init = nospace_init,
	.exit = nospace_exit,
	.test_cases = nospace_cases,
};

kunit_test_suite(nospace_suite);
