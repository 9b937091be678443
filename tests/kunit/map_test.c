// SPDX-License-Identifier: GPL-2.0
/*
 * The core's map on the kernel's memory and processors: its pieces, what it
 * promises to those who read it without a lock, and the atomic words below it.
 */
#include <linux/slab.h>

#include "double.h"
#include "map_probe.h"
#include "probe.h"

enum {
	/* More than one piece of PLOOP_ALLOC_MAX, and the last one not a whole one. */
	MAP_ENTRIES = 100000,
	PIECE_ENTRIES = PLOOP_ALLOC_MAX / 8,
	MAP_ROUNDS = 100000,
	MAP_FRESH = 1000,
	MAP_PLACES = 4,
	MAP_IRQS = 1000,
};

struct map_test {
	struct ploop_map_probe map;
	struct ploop_map_probe other;

	/* The one who publishes and the one who reads. */
	struct ploop_thread threads[2];
	u32 data[MAP_PLACES];
	u32 rounds;
	u64 looks;
	u64 fresh;	/* looks that found a mapping of which the one before knew nothing */
	u64 early;	/* looks that found a mapping without what it announces */
	bool over;

	/* Those who count. */
	struct ploop_atomic_probe count;
	struct counting {
		struct map_test *t;
		struct ploop_irq irq;
	} counting[2];
};

static u32 *page_new(struct kunit *test)
{
	u32 *page = kunit_kzalloc(test, PLOOP_MAP_PAGE_ENTRIES * sizeof(*page), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, page);
	return page;
}

/* ---- Pieces -------------------------------------------------------------------- */

static void map_is_of_whole_pages(struct kunit *test)
{
	static const u32 sizes[][2] = { { 1, 1 }, { 1008, 1 }, { 1009, 2 }, { MAP_ENTRIES, 98 } };
	struct map_test *t = test->priv;
	size_t i;

	KUNIT_EXPECT_EQ(test, ploop_map_probe_pages(&t->map), 0u);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct ploop_map_probe map;

		ploop_map_probe_init(&map);
		KUNIT_EXPECT_EQ(test, ploop_map_probe_allocate(&map, sizes[i][0]), 0);
		KUNIT_EXPECT_EQ(test, ploop_map_probe_pages(&map), sizes[i][1]);
		KUNIT_EXPECT_EQ(test, ploop_map_probe_get(&map, sizes[i][0] - 1), 0u);
		ploop_map_probe_exit(&map);
	}
}

/* No two clusters have the same word, and each page of the copy has its own. */
static void map_holds_across_its_pieces(struct kunit *test)
{
	struct map_test *t = test->priv;
	u32 *page = page_new(test);
	u32 wrong = 0;
	u32 i, slot;

	BUILD_BUG_ON(MAP_ENTRIES < 3 * PIECE_ENTRIES || MAP_ENTRIES % PIECE_ENTRIES == 0);
	KUNIT_ASSERT_EQ(test, ploop_map_probe_allocate(&t->map, MAP_ENTRIES), 0);
	for (i = 0; i < MAP_ENTRIES; i++)
		wrong += ploop_map_probe_get(&t->map, i) != 0;
	KUNIT_EXPECT_EQ(test, wrong, 0u);

	for (i = 0; i < MAP_ENTRIES; i++)
		ploop_map_probe_publish(&t->map, i, 0, i + 1);
	for (i = 0; i < MAP_ENTRIES; i++)
		wrong += ploop_map_probe_get(&t->map, i) != i + 1;
	KUNIT_EXPECT_EQ(test, wrong, 0u);

	for (i = 0, slot = 0; i < ploop_map_probe_pages(&t->map); i++) {
		u32 n;

		ploop_map_probe_copy_page(&t->map, i, 0, page);
		for (n = 0; n < PLOOP_MAP_PAGE_ENTRIES; n++, slot++) {
			bool used = slot >= PLOOP_MAP_HEADER_ENTRIES &&
				    slot < PLOOP_MAP_HEADER_ENTRIES + MAP_ENTRIES;

			wrong += page[n] != (used ? slot - PLOOP_MAP_HEADER_ENTRIES + 1 : 0);
		}
	}
	KUNIT_EXPECT_EQ(test, wrong, 0u);
}

static void map_is_not_without_end(struct kunit *test)
{
	struct map_test *t = test->priv;

	/* The table of its pieces is a piece itself. */
	KUNIT_EXPECT_EQ(test, ploop_map_probe_allocate(&t->map, PIECE_ENTRIES * PIECE_ENTRIES),
			-EFBIG);
	KUNIT_EXPECT_EQ(test, ploop_map_probe_pages(&t->map), 0u);
}

static void copy_has_published_entries_only(struct kunit *test)
{
	struct map_test *t = test->priv;
	u32 *page = page_new(test);
	u32 *first = page + PLOOP_MAP_HEADER_ENTRIES;

	KUNIT_ASSERT_EQ(test, ploop_map_probe_allocate(&t->map, 100), 0);
	ploop_map_probe_publish(&t->map, 0, 1, 5);
	ploop_map_probe_publish(&t->map, 1, 0, 6);
	ploop_map_probe_prepare(&t->map, 2, 7);
	ploop_map_probe_publish(&t->map, 3, 1, 8);
	ploop_map_probe_unmap(&t->map, 3);
	KUNIT_EXPECT_EQ(test, ploop_map_probe_get(&t->map, 2), 0u);

	memset(page, 0xff, PLOOP_MAP_PAGE_ENTRIES * sizeof(*page));
	ploop_map_probe_copy_page(&t->map, 0, 1, page);
	KUNIT_EXPECT_EQ(test, first[0], 5u);
	/* A lower delta's, one without its data, one that was given back. */
	KUNIT_EXPECT_EQ(test, first[1], 0u);
	KUNIT_EXPECT_EQ(test, first[2], 0u);
	KUNIT_EXPECT_EQ(test, first[3], 0u);
	first[0] = 0;
	KUNIT_EXPECT_PTR_EQ(test, memchr_inv(page, 0, PLOOP_MAP_PAGE_ENTRIES * sizeof(*page)),
			    NULL);

	/* Published at last. */
	ploop_map_probe_publish(&t->map, 2, 1, 9);
	ploop_map_probe_copy_page(&t->map, 0, 1, page);
	KUNIT_EXPECT_EQ(test, first[2], 9u);
}

static void swap_exchanges_all(struct kunit *test)
{
	struct map_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, ploop_map_probe_allocate(&t->map, 10), 0);
	KUNIT_ASSERT_EQ(test, ploop_map_probe_allocate(&t->other, MAP_ENTRIES), 0);
	ploop_map_probe_publish(&t->map, 9, 0, 3);
	ploop_map_probe_publish(&t->other, MAP_ENTRIES - 1, 0, 4);
	ploop_map_probe_swap(&t->map, &t->other);
	KUNIT_EXPECT_EQ(test, ploop_map_probe_pages(&t->map), 98u);
	KUNIT_EXPECT_EQ(test, ploop_map_probe_pages(&t->other), 1u);
	KUNIT_EXPECT_EQ(test, ploop_map_probe_get(&t->map, MAP_ENTRIES - 1), 4u);
	KUNIT_EXPECT_EQ(test, ploop_map_probe_get(&t->map, 9), 0u);
	KUNIT_EXPECT_EQ(test, ploop_map_probe_get(&t->other, 9), 3u);
}

/* ---- Readers without a lock ------------------------------------------------------- */

/* At both ends of the map and on both sides of where two pieces meet. */
static u32 place(u32 round)
{
	static const u32 places[MAP_PLACES] = {
		0, PIECE_ENTRIES - PLOOP_MAP_HEADER_ENTRIES - 1,
		PIECE_ENTRIES - PLOOP_MAP_HEADER_ENTRIES, MAP_ENTRIES - 1
	};

	return places[round % MAP_PLACES];
}

static void publish_always(void *data)
{
	struct map_test *t = data;

	/* Every round takes what the cluster had, prepares it and maps it anew. */
	while (!READ_ONCE(t->over)) {
		u32 round = t->rounds + 1;
		u32 *data = &t->data[round % MAP_PLACES];

		ploop_map_probe_unmap(&t->map, place(round));
		ploop_map_probe_prepare(&t->map, place(round), round);
		ploop_map_probe_announce(&t->map, place(round), round, data);
		WRITE_ONCE(t->rounds, round);
		if (round % 64 == 0)
			cond_resched();
	}
}

static void look_always(void *data)
{
	struct map_test *t = data;
	u32 last[MAP_PLACES] = {};

	while (!READ_ONCE(t->over)) {
		u32 nth = t->looks % MAP_PLACES;
		u32 seen;
		u32 index = ploop_map_probe_follow(&t->map, place(nth), &t->data[nth], &seen);

		/* What it announces may have been followed by more, but is not to come. */
		if (index && seen < index)
			t->early++;
		if (index && index != last[nth]) {
			last[nth] = index;
			WRITE_ONCE(t->fresh, t->fresh + 1);
		}
		WRITE_ONCE(t->looks, t->looks + 1);
		if (t->looks % 64 == 0)
			cond_resched();
	}
}

static void mapping_comes_after_what_it_announces(struct kunit *test)
{
	struct map_test *t = test->priv;
	bool enough;

	KUNIT_ASSERT_EQ(test, ploop_map_probe_allocate(&t->map, MAP_ENTRIES), 0);
	ploop_thread_start(test, &t->threads[0], ploop_cpu(0), publish_always, t);
	ploop_thread_start(test, &t->threads[1], ploop_cpu(1), look_always, t);
	enough = ploop_eventually(READ_ONCE(t->rounds) >= MAP_ROUNDS &&
				  READ_ONCE(t->looks) >= MAP_ROUNDS &&
				  READ_ONCE(t->fresh) >= MAP_FRESH);
	WRITE_ONCE(t->over, true);
	ploop_thread_join(test, &t->threads[0]);
	ploop_thread_join(test, &t->threads[1]);

	KUNIT_EXPECT_TRUE(test, enough);
	KUNIT_EXPECT_EQ(test, t->early, 0ull);
	kunit_info(test, "publisher: %u rounds", t->rounds);
	kunit_info(test, "reader: %llu looks, %llu of them fresh", t->looks, t->fresh);
}

/* ---- The atomic words -------------------------------------------------------------- */

static void add_in_irq(struct ploop_irq *irq)
{
	ploop_atomic_probe_add(&container_of(irq, struct counting, irq)->t->count, 1);
}

static void add_always(void *data)
{
	struct map_test *t = data;
	u32 i;

	for (i = 0; i < MAP_ROUNDS; i++) {
		ploop_atomic_probe_add(&t->count, 1);
		if (i % 64 == 0)
			cond_resched();
	}
}

/* What two processors and their interrupts add is taken once, all of it. */
static void additions_are_taken_once(struct kunit *test)
{
	const u64 expected = 2 * (MAP_ROUNDS + MAP_IRQS);
	struct map_test *t = test->priv;
	u64 taken = 0;
	int i;

	ploop_atomic_probe_init(&t->count);
	for (i = 0; i < 2; i++) {
		struct counting *counting = &t->counting[i];

		counting->t = t;
		ploop_irq_start(test, &counting->irq, ploop_cpu(i), i == 0, MAP_IRQS, add_in_irq);
		ploop_thread_start(test, &t->threads[i], ploop_cpu(i), add_always, t);
	}
	KUNIT_EXPECT_TRUE(test, ploop_eventually((taken += ploop_atomic_probe_take(&t->count)) >=
						 expected));
	for (i = 0; i < 2; i++) {
		ploop_thread_join(test, &t->threads[i]);
		ploop_irq_join(test, &t->counting[i].irq);
	}
	KUNIT_EXPECT_EQ(test, taken + ploop_atomic_probe_take(&t->count), expected);
}

/* ---- The suite ---------------------------------------------------------------------- */

static int map_init(struct kunit *test)
{
	struct map_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	ploop_map_probe_init(&t->map);
	ploop_map_probe_init(&t->other);
	test->priv = t;
	return 0;
}

/* A leak is kmemleak's to see. */
static void map_exit(struct kunit *test)
{
	struct map_test *t = test->priv;

	if (!t)
		return;
	ploop_map_probe_exit(&t->map);
	ploop_map_probe_exit(&t->other);
}

static struct kunit_case map_cases[] = {
	KUNIT_CASE(map_is_of_whole_pages),
	KUNIT_CASE(map_holds_across_its_pieces),
	KUNIT_CASE(map_is_not_without_end),
	KUNIT_CASE(copy_has_published_entries_only),
	KUNIT_CASE(swap_exchanges_all),
	KUNIT_CASE(mapping_comes_after_what_it_announces),
	KUNIT_CASE(additions_are_taken_once),
	{}
};

static struct kunit_suite map_suite = {
	.name = "ploop_map",
	.init = map_init,
	.exit = map_exit,
	.test_cases = map_cases,
};

kunit_test_suite(map_suite);
