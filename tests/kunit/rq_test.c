// SPDX-License-Identifier: GPL-2.0
/*
 * A request's data and its way to a file, for bios as they come: of segments of
 * any size, of several pages, cloned and split.
 */
#include <linux/bio.h>
#include <linux/highmem.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "double.h"

#define FILE_BYTES (1u << 20)

enum { ORDER = 2, MAX_SEGMENTS = 5 };

/* A segment lies in pages of its own; @bytes 0 ends the list. */
struct segment {
	u32 offset;
	u32 bytes;
};

/* 20 KiB, direct I/O can take all of it; one segment has three pages. */
static const struct segment aligned[] = {
	{ 512, 3584 }, { 0, 4096 }, { 1024, 11264 }, { 2048, 1536 }, {}
};

/* The same length in other pieces. */
static const struct segment other[] = { { 0, 16384 }, { 3584, 4096 }, {} };

/* Of whole pages, which ext4 wants for a write that does not wait. */
static const struct segment paged[] = { { 0, 16384 }, { 4096, 4096 }, {} };

/* The same again, but segments end anywhere. */
static const struct segment odd[] = {
	{ 100, 1000 }, { 3, 4097 }, { 0, 15303 }, { 4000, 80 }, {}
};

#define DATA_BYTES 20480u

/* Parts of it: begin and length, in sectors; each is one of a split bio. */
static const struct {
	u32 begin, length;
} parts[] = {
	{ 0, 40 }, { 0, 1 }, { 39, 1 }, { 3, 9 }, { 7, 1 }, { 8, 8 }, { 14, 25 }, { 30, 10 },
};

static struct ploop_double *instance_of(struct kunit *test)
{
	return test->priv;
}

/* ---- Bios -------------------------------------------------------------------------- */

static void bio_is_ended(struct bio *bio)
{
	struct ploop_double_rq *drq = bio->bi_private;

	complete(&drq->done);
}

static void rq_init(struct ploop_double_rq *drq, struct bio *bio)
{
	drq->pb.rq = (struct ploop_rq) {
		.op = bio_op(bio) == REQ_OP_READ ? PLOOP_RQ_READ : PLOOP_RQ_WRITE,
		.nr_sectors = bio_sectors(bio),
	};
	drq->bio = bio;
	bio->bi_private = drq;
	bio->bi_end_io = bio_is_ended;
	init_completion(&drq->done);
	atomic_set(&drq->calls, 0);
}

/* Of the pages of the segments, which the bio keeps until rq_free(). */
static struct ploop_double_rq *rq_new(struct kunit *test, blk_opf_t opf,
				      const struct segment *segment)
{
	struct ploop_double_rq *drq = kunit_kzalloc(test, sizeof(*drq), GFP_KERNEL);
	struct bio *bio = bio_alloc(NULL, MAX_SEGMENTS, opf, GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drq);
	for (; segment->bytes; segment++) {
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_COMP | __GFP_ZERO, ORDER);

		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, page);
		/* Not bio_add_page(), which makes one of two that happen to lie side by side. */
		__bio_add_page(bio, page, segment->bytes, segment->offset);
	}
	rq_init(drq, bio);
	return drq;
}

/* A part of @whole, as a split or a clone has it. */
static struct ploop_double_rq *rq_part(struct kunit *test, struct ploop_double_rq *whole,
				       u32 begin, u32 bytes)
{
	struct ploop_double_rq *drq = kunit_kzalloc(test, sizeof(*drq), GFP_KERNEL);
	struct bio *bio = bio_alloc_clone(NULL, whole->bio, GFP_KERNEL, &fs_bio_set);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drq);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, bio);
	bio_advance(bio, begin);
	bio->bi_iter.bi_size = bytes;
	rq_init(drq, bio);
	return drq;
}

static void rq_free(struct ploop_double_rq *drq)
{
	struct bio *bio = drq->bio;
	unsigned int i;

	if (!bio_flagged(bio, BIO_CLONED)) {
		for (i = 0; i < bio->bi_vcnt; i++)
			__free_pages(bio->bi_io_vec[i].bv_page, ORDER);
	}
	bio_put(bio);
}

/* Calls @visit for each byte that the bio names, with its place among them. */
static void each_byte(struct ploop_double_rq *drq, void (*visit)(u8 *byte, u32 place, void *data),
		      void *data)
{
	struct bvec_iter iter;
	struct bio_vec bvec;
	u32 place = 0;
	u32 i;

	bio_for_each_segment(bvec, drq->bio, iter) {
		u8 *bytes = bvec_kmap_local(&bvec);

		for (i = 0; i < bvec.bv_len; i++)
			visit(bytes + i, place++, data);
		kunmap_local(bytes);
	}
}

static void set_pattern(u8 *byte, u32 place, void *begin)
{
	*byte = ploop_pattern(*(u64 *)begin + place);
}

static void fill(struct ploop_double_rq *drq, u64 begin)
{
	each_byte(drq, set_pattern, &begin);
}

struct comparison {
	u64 begin;
	u32 wrong;
};

static void compare(u8 *byte, u32 place, void *data)
{
	struct comparison *comparison = data;

	comparison->wrong += *byte != ploop_pattern(comparison->begin + place);
}

static u32 wrong_bytes(struct ploop_double_rq *drq, u64 begin)
{
	struct comparison comparison = { .begin = begin };

	each_byte(drq, compare, &comparison);
	return comparison.wrong;
}

/* All bytes of the pages, also those around the segments, become @value. */
static void paint(struct ploop_double_rq *drq, u8 value)
{
	unsigned int i;

	for (i = 0; i < drq->bio->bi_vcnt; i++)
		memset(page_address(drq->bio->bi_io_vec[i].bv_page), value, PAGE_SIZE << ORDER);
}

static u32 count_painted(struct ploop_double_rq *drq, u8 value)
{
	u32 count = 0;
	unsigned int i, n;

	for (i = 0; i < drq->bio->bi_vcnt; i++) {
		const u8 *bytes = page_address(drq->bio->bi_io_vec[i].bv_page);

		for (n = 0; n < PAGE_SIZE << ORDER; n++)
			count += bytes[n] == value;
	}
	return count;
}

/* ---- Zeros ------------------------------------------------------------------------- */

static void zero_fill_part(struct kunit *test, const struct segment *segments, u32 begin,
			   u32 bytes)
{
	struct ploop_double_rq *whole = rq_new(test, REQ_OP_READ, segments);
	struct ploop_double_rq *part = rq_part(test, whole, begin, bytes);
	u32 all;

	paint(whole, 0xa5);
	all = count_painted(whole, 0xa5);
	ph_rq_zero_fill(&part->pb.rq);
	KUNIT_EXPECT_TRUE(test, ph_rq_is_zero(&part->pb.rq));
	/* That many became zero, and they are those that the part names. */
	KUNIT_EXPECT_EQ(test, count_painted(whole, 0), bytes);
	KUNIT_EXPECT_EQ(test, count_painted(whole, 0xa5), all - bytes);
	rq_free(part);
	rq_free(whole);
}

static void zero_fill_is_exact(struct kunit *test)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		zero_fill_part(test, aligned, parts[i].begin * 512, parts[i].length * 512);
		zero_fill_part(test, odd, parts[i].begin * 512, parts[i].length * 512);
	}
}

struct single {
	u32 place;
	u8 value;
};

static void set_single(u8 *byte, u32 place, void *data)
{
	const struct single *single = data;

	if (place == single->place)
		*byte = single->value;
}

static void is_zero_sees_each_byte(struct kunit *test)
{
	/* In the bio of odd segments, around their borders. */
	static const u32 places[] = {
		0, 1, 999, 1000, 1001, 5096, 5097, 9000, 9192, 9193, 20399, 20400, 20479
	};
	struct ploop_double_rq *whole = rq_new(test, REQ_OP_WRITE, odd);
	u32 wrong = 0;
	size_t i, n;

	KUNIT_EXPECT_TRUE(test, ph_rq_is_zero(&whole->pb.rq));
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		struct single single = { .place = places[i], .value = 1 };

		each_byte(whole, set_single, &single);
		wrong += ph_rq_is_zero(&whole->pb.rq);
		for (n = 0; n < ARRAY_SIZE(parts); n++) {
			u32 begin = parts[n].begin * 512;
			u32 bytes = parts[n].length * 512;
			struct ploop_double_rq *part = rq_part(test, whole, begin, bytes);
			bool inside = places[i] >= begin && places[i] < begin + bytes;

			wrong += ph_rq_is_zero(&part->pb.rq) == inside;
			rq_free(part);
		}
		single.value = 0;
		each_byte(whole, set_single, &single);
	}
	KUNIT_EXPECT_EQ(test, wrong, 0u);
	/* What lies around the segments does not count. */
	paint(whole, 1);
	ph_rq_zero_fill(&whole->pb.rq);
	KUNIT_EXPECT_TRUE(test, ph_rq_is_zero(&whole->pb.rq));
	rq_free(whole);
}

/* ---- To files and back ---------------------------------------------------------------- */

static s64 transfer(struct ploop_double_rq *drq, struct ploop_file *file, u64 offset, u32 skip,
		    u32 bytes, u32 flags)
{
	reinit_completion(&drq->done);
	ph_rq_io(&drq->pb.rq, file, offset, skip, bytes, flags);
	wait_for_completion(&drq->done);
	return drq->result;
}

/* As the core goes on: what direct I/O does not take is copied. */
static s64 transfer_anyway(struct ploop_double_rq *drq, struct ploop_file *file, u64 offset,
			   u32 skip, u32 bytes, u32 flags)
{
	s64 result = transfer(drq, file, offset, skip, bytes, flags);

	if (result == -EINVAL && !(flags & PLOOP_IO_COPIED))
		result = transfer(drq, file, offset, skip, bytes, PLOOP_IO_COPIED);
	return result;
}

/*
 * The part of a request that @skip leaves, of a part of a bio: written with a
 * pattern of its own, then read into another bio.
 */
static u32 write_and_read(struct kunit *test, struct ploop_file *file,
			  const struct segment *segments, u32 begin, u32 bytes, u32 skip,
			  u32 flags)
{
	struct ploop_double_rq *from = rq_new(test, REQ_OP_WRITE, segments);
	struct ploop_double_rq *to = rq_new(test, REQ_OP_READ, other);
	struct ploop_double_rq *from_part = rq_part(test, from, begin, bytes);
	struct ploop_double_rq *to_part = rq_part(test, to, DATA_BYTES - bytes, bytes);
	struct ploop_double_rq *to_check = rq_part(test, to, DATA_BYTES - bytes + skip,
						   bytes - skip);
	static u64 moved;
	u64 offset = 65536 + begin;
	u32 wrong = 0;

	moved += 4711;
	fill(from_part, moved);
	wrong += transfer_anyway(from_part, file, offset, skip, bytes - skip, flags) !=
		 bytes - skip;
	wrong += atomic_read(&from_part->calls) > 2;
	wrong += transfer_anyway(to_part, file, offset, skip, bytes - skip, flags) !=
		 bytes - skip;
	wrong += wrong_bytes(to_check, moved + skip);
	/* The bio is as it was: any part of it can be transferred again. */
	wrong += from_part->bio->bi_iter.bi_size != bytes;
	wrong += wrong_bytes(from_part, moved);

	rq_free(to_check);
	rq_free(to_part);
	rq_free(from_part);
	rq_free(to);
	rq_free(from);
	return wrong;
}

static struct ploop_file *made(struct kunit *test, u64 bytes)
{
	const struct ploop_host_fs *fs = test->param_value;

	return ploop_file_made(test, instance_of(test), fs->name, bytes);
}

static void whole_and_split(struct kunit *test, const struct segment *segments, u32 flags)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		u32 begin = parts[i].begin * 512;
		u32 bytes = parts[i].length * 512;

		KUNIT_EXPECT_EQ_MSG(test, write_and_read(test, file, segments, begin, bytes, 0,
							 flags), 0u, "part %zu", i);
		if (bytes > 512)
			KUNIT_EXPECT_EQ_MSG(test, write_and_read(test, file, segments, begin,
								 bytes, bytes - 512, flags), 0u,
					    "end of part %zu", i);
	}
	ph_file_close(file);
}

static void io_of_aligned_segments(struct kunit *test)
{
	whole_and_split(test, aligned, 0);
}

static void io_of_odd_segments(struct kunit *test)
{
	whole_and_split(test, odd, 0);
}

static void io_through_the_page_cache(struct kunit *test)
{
	whole_and_split(test, odd, PLOOP_IO_COPIED);
}

static void neighbours_stay(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	struct ploop_double_rq *to = rq_new(test, REQ_OP_READ, other);
	struct ploop_double_rq *part = rq_part(test, to, 0, 4096);

	KUNIT_EXPECT_EQ(test, write_and_read(test, file, aligned, 4096, 8192, 0, 0), 0u);
	KUNIT_EXPECT_EQ(test, transfer(part, file, 65536, 0, 4096, 0), 4096ll);
	KUNIT_EXPECT_EQ(test, wrong_bytes(part, 65536), 0u);
	KUNIT_EXPECT_EQ(test, transfer(part, file, 65536 + 12288, 0, 4096, 0), 4096ll);
	KUNIT_EXPECT_EQ(test, wrong_bytes(part, 65536 + 12288), 0u);
	rq_free(part);
	rq_free(to);
	ph_file_close(file);
}

static void read_is_short_at_the_end(struct kunit *test)
{
	struct ploop_file *file = made(test, 10240);
	struct ploop_double_rq *whole = rq_new(test, REQ_OP_READ, aligned);

	KUNIT_EXPECT_EQ(test, transfer(whole, file, 0, 0, DATA_BYTES, 0), 10240ll);
	KUNIT_EXPECT_EQ(test, transfer(whole, file, 8192, 0, DATA_BYTES, PLOOP_IO_COPIED),
			2048ll);
	KUNIT_EXPECT_EQ(test, transfer(whole, file, 12288, 512, 4096, 0), 0ll);
	rq_free(whole);
	ph_file_close(file);
}

static void write_meets_want_of_space(struct kunit *test)
{
	struct ploop_file *file = ploop_file_made(test, instance_of(test), "small", 4096);
	struct ploop_double_rq *whole = rq_new(test, REQ_OP_WRITE, aligned);
	u64 offset = 0;
	s64 result = 0;

	while (offset < 16 << 20) {
		result = transfer(whole, file, offset, 0, DATA_BYTES, 0);
		if (result <= 0)
			break;
		offset += result;
	}
	KUNIT_EXPECT_EQ(test, result, (s64)-ENOSPC);
	KUNIT_EXPECT_GT(test, offset, 0ull);
	rq_free(whole);
	ph_file_close(file);
}

/* What the file was asked for. */
static struct {
	const struct file_operations *own;
	int write_flags;	/* of all the kiocbs, and of any */
	int any_flags;
} asked;

static ssize_t noting_write_iter(struct kiocb *iocb, struct iov_iter *iter)
{
	asked.write_flags &= iocb->ki_flags;
	asked.any_flags |= iocb->ki_flags;
	return asked.own->write_iter(iocb, iter);
}

static void write_is_durable_if_asked(struct kunit *test)
{
	const struct ploop_host_fs *fs = test->param_value;
	struct file_operations *fops = kunit_kzalloc(test, sizeof(*fops), GFP_KERNEL);
	struct ploop_file *file = made(test, FILE_BYTES);
	struct ploop_double_rq *from = rq_new(test, REQ_OP_WRITE, paged);
	struct file *filp = file->file;
	static const u32 flags[] = { 0, PLOOP_IO_COPIED };
	size_t i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fops);
	asked.own = filp->f_op;
	*fops = *filp->f_op;
	fops->write_iter = noting_write_iter;
	filp->f_op = fops;
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		asked.write_flags = ~0;
		KUNIT_EXPECT_EQ(test, transfer(from, file, 65536, 0, DATA_BYTES,
					       flags[i] | PLOOP_IO_DSYNC), (s64)DATA_BYTES);
		KUNIT_EXPECT_TRUE(test, asked.write_flags & IOCB_DSYNC);
		KUNIT_EXPECT_EQ(test, !!(asked.write_flags & IOCB_DIRECT), fs->direct);
		asked.any_flags = 0;
		KUNIT_EXPECT_EQ(test, transfer(from, file, 65536, 0, DATA_BYTES, flags[i]),
				(s64)DATA_BYTES);
		/* What the page cache gets goes to the disk in any case. */
		KUNIT_EXPECT_EQ(test, !(asked.any_flags & IOCB_DSYNC), fs->direct);
	}
	filp->f_op = asked.own;
	rq_free(from);
	ph_file_close(file);
}

/* ---- Parts of blocks ---------------------------------------------------------------------- */

/* A file whose reads wait, when they have what they read, until they may end. */
static struct {
	const struct file_operations *own;
	struct completion entered;
	struct completion go_on;
} held;

static ssize_t held_read_iter(struct kiocb *iocb, struct iov_iter *iter)
{
	ssize_t ret = held.own->read_iter(iocb, iter);

	complete(&held.entered);
	wait_for_completion(&held.go_on);
	return ret;
}

/* A file of larger blocks than it has. */
static void enlarge_blocks(struct kunit *test, struct ploop_file *file)
{
	ploop_rw_exit(file);
	memset(&file->ranges, 0, sizeof(file->ranges));
	file->dio_align = 4096;
	KUNIT_ASSERT_EQ(test, ploop_rw_init(file), 0);
	KUNIT_ASSERT_EQ(test, file->dio_align, 4096u);
}

static bool has_ended(struct ploop_double_rq *drq)
{
	return atomic_read(&drq->calls) != 0;
}

/* A write of whole blocks that comes while a part of one of them is written. */
static void part_of_a_block(struct kunit *test, bool counted, u32 flags)
{
	struct ploop_file *file = ploop_file_made(test, instance_of(test), "ext4", FILE_BYTES);
	struct file_operations *fops = kunit_kzalloc(test, sizeof(*fops), GFP_KERNEL);
	struct ploop_double_rq *whole = rq_new(test, REQ_OP_WRITE, paged);
	struct ploop_double_rq *apart = rq_new(test, REQ_OP_WRITE, paged);
	struct ploop_double_rq *part = rq_new(test, REQ_OP_WRITE, aligned);
	struct ploop_double_rq *back = rq_new(test, REQ_OP_READ, paged);
	struct ploop_double_rq *first = rq_part(test, back, 0, 4096);
	struct ploop_double_rq *rest = rq_part(test, back, 4608, DATA_BYTES - 4608);
	struct file *filp = file->file;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fops);
	enlarge_blocks(test, file);
	if (!counted)
		KUNIT_EXPECT_EQ(test, transfer(part, file, 512, 0, 512, PLOOP_IO_COPIED), 512ll);
	KUNIT_EXPECT_EQ(test, file->ranges.counting, counted);
	/* The file system has to know where the blocks are. */
	KUNIT_EXPECT_EQ(test, transfer(back, file, 65536, 0, DATA_BYTES, 0), (s64)DATA_BYTES);

	fill(whole, 1000);
	fill(apart, 2000);
	fill(part, 3000);
	init_completion(&held.entered);
	init_completion(&held.go_on);
	held.own = filp->f_op;
	*fops = *filp->f_op;
	fops->read_iter = held_read_iter;
	filp->f_op = fops;
	atomic_set(&part->calls, 0);
	ph_rq_io(&part->pb.rq, file, 65536 + 4096, 0, 512, PLOOP_IO_COPIED);
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&held.entered, PLOOP_PATIENCE));

	/* It has read the block. Others go their way, this one waits. */
	KUNIT_EXPECT_EQ(test, transfer(apart, file, 131072, 0, DATA_BYTES, flags), (s64)DATA_BYTES);
	reinit_completion(&whole->done);
	ph_rq_io(&whole->pb.rq, file, 65536, 0, DATA_BYTES, flags);
	if (flags & PLOOP_IO_INLINE) {
		KUNIT_EXPECT_TRUE(test, has_ended(whole));
		KUNIT_EXPECT_EQ(test, whole->result, (s64)-EAGAIN);
		atomic_set(&whole->calls, 0);
		reinit_completion(&whole->done);
		ph_rq_io(&whole->pb.rq, file, 65536, 0, DATA_BYTES, 0);
	}
	ploop_linger();
	KUNIT_EXPECT_FALSE(test, has_ended(whole));
	complete_all(&held.go_on);
	wait_for_completion(&whole->done);
	wait_for_completion(&part->done);
	filp->f_op = held.own;
	KUNIT_EXPECT_EQ(test, whole->result, (s64)DATA_BYTES);
	KUNIT_EXPECT_EQ(test, part->result, 512ll);

	KUNIT_EXPECT_EQ(test, transfer(back, file, 65536, 0, DATA_BYTES, 0), (s64)DATA_BYTES);
	KUNIT_EXPECT_EQ(test, wrong_bytes(first, 1000), 0u);
	KUNIT_EXPECT_EQ(test, wrong_bytes(rest, 1000 + 4608), 0u);
	rq_free(rest);
	rq_free(first);
	rq_free(back);
	rq_free(part);
	rq_free(apart);
	rq_free(whole);
	ph_file_close(file);
}

static void part_keeps_out_whole_writes(struct kunit *test)
{
	part_of_a_block(test, true, 0);
	part_of_a_block(test, false, 0);
}

static void part_keeps_out_inline_writes(struct kunit *test)
{
	part_of_a_block(test, true, PLOOP_IO_INLINE);
	part_of_a_block(test, false, PLOOP_IO_INLINE);
}

static atomic_t held_parts;	/* have been written */

static void write_part(void *data)
{
	struct ploop_file *file = data;
	struct mutex *lock = &file->host->bounces[WRITE].lock;

	mutex_lock(lock);
	ploop_part_begin(file, 65536 + 100, 10);
	atomic_set(&held_parts, 1);
	ploop_part_end(file);
	mutex_unlock(lock);
}

/* Those that were under way before are waited for, counted or listed. */
static void part_waits_for_whole_writes(struct kunit *test)
{
	struct ploop_file *file = ploop_file_made(test, instance_of(test), "ext4", FILE_BYTES);
	struct ploop_thread thread;
	struct ploop_range range, beside;
	int i;

	enlarge_blocks(test, file);
	for (i = 0; i < 3; i++) {
		atomic_set(&held_parts, 0);
		ploop_range_enter(file, &range, 65536, 4096);
		KUNIT_EXPECT_EQ(test, range.how, i % 2 ? PLOOP_RANGE_LISTED : PLOOP_RANGE_COUNTED);
		ploop_thread_start(test, &thread, PLOOP_ANY_CPU, write_part, file);
		ploop_linger();
		KUNIT_EXPECT_EQ(test, atomic_read(&held_parts), 0);
		/* Who comes later waits; beside it nobody does. */
		KUNIT_EXPECT_FALSE(test, ploop_range_try(file, &beside, 65536, 512));
		KUNIT_EXPECT_FALSE(test, ploop_range_try(file, &beside, 0, FILE_BYTES));
		KUNIT_EXPECT_TRUE(test, ploop_range_try(file, &beside, 65536 + 4096, 4096));
		ploop_range_leave(file, &beside);
		ploop_range_leave(file, &range);
		ploop_thread_join(test, &thread);
		KUNIT_EXPECT_EQ(test, atomic_read(&held_parts), 1);
		/* After a while without parts they are counted again. */
		if (i % 2) {
			mod_delayed_work(file->host->op_wq, &file->ranges.calm_work, 0);
			flush_delayed_work(&file->ranges.calm_work);
			KUNIT_EXPECT_TRUE(test, file->ranges.counting);
		}
	}
	ph_file_close(file);
}

/* ---- In the submitter's context --------------------------------------------------------- */

static void inline_where_it_can(struct kunit *test)
{
	const struct ploop_host_fs *fs = test->param_value;
	struct ploop_file *file = made(test, FILE_BYTES);
	struct ploop_double_rq *from = rq_new(test, REQ_OP_WRITE, paged);
	struct ploop_double_rq *to = rq_new(test, REQ_OP_READ, other);
	s64 expected = fs->direct ? (s64)DATA_BYTES : -EAGAIN;

	fill(from, 99);
	/* The file system has to know where the blocks are. */
	KUNIT_EXPECT_EQ(test, transfer(to, file, 65536, 0, DATA_BYTES, 0), (s64)DATA_BYTES);
	KUNIT_EXPECT_EQ(test, transfer(from, file, 65536, 0, DATA_BYTES, PLOOP_IO_INLINE),
			expected);
	KUNIT_EXPECT_EQ(test, transfer(to, file, 65536, 0, DATA_BYTES, PLOOP_IO_INLINE), expected);
	if (fs->direct) {
		KUNIT_EXPECT_EQ(test, wrong_bytes(to, 99), 0u);
		/* A write beyond the end needs space. */
		KUNIT_EXPECT_EQ(test, transfer(from, file, FILE_BYTES, 0, DATA_BYTES,
					       PLOOP_IO_INLINE), (s64)-EAGAIN);
		KUNIT_EXPECT_EQ(test, ph_file_size(file), (u64)FILE_BYTES);
	}
	rq_free(to);
	rq_free(from);
	ph_file_close(file);
}

static s64 inline_read(struct ploop_double_rq *drq, struct ploop_file *file)
{
	return transfer(drq, file, 65536, 0, DATA_BYTES, PLOOP_IO_INLINE);
}

static void inline_never_in_a_bad_place(struct kunit *test)
{
	const struct ploop_host_fs *fs = test->param_value;
	struct ploop_file *file = made(test, FILE_BYTES);
	struct ploop_double_rq *to = rq_new(test, REQ_OP_READ, other);
	struct ploop_double_rq *uneven = rq_new(test, REQ_OP_READ, odd);
	struct bio_list lists[2] = {};
	unsigned int noreclaim;

	if (fs->direct)
		KUNIT_EXPECT_EQ(test, inline_read(to, file), (s64)DATA_BYTES);

	/* In somebody's transaction. */
	current->journal_info = &lists;
	KUNIT_EXPECT_EQ(test, inline_read(to, file), (s64)-EAGAIN);
	current->journal_info = NULL;

	noreclaim = memalloc_noreclaim_save();
	KUNIT_EXPECT_EQ(test, inline_read(to, file), (s64)-EAGAIN);
	memalloc_noreclaim_restore(noreclaim);

	/* Among bios that wait for us to return. */
	bio_list_add(&lists[1], uneven->bio);
	current->bio_list = lists;
	KUNIT_EXPECT_EQ(test, inline_read(to, file), (s64)-EAGAIN);
	bio_list_init(&lists[1]);
	/* With nothing waiting it may; and the list is put back. */
	if (fs->direct)
		KUNIT_EXPECT_EQ(test, inline_read(to, file), (s64)DATA_BYTES);
	KUNIT_EXPECT_PTR_EQ(test, current->bio_list, &lists[0]);
	current->bio_list = NULL;

	/* Segments or an offset that direct I/O does not take. */
	KUNIT_EXPECT_EQ(test, inline_read(uneven, file), (s64)-EAGAIN);
	KUNIT_EXPECT_EQ(test, transfer(to, file, 65536 + 100, 0, DATA_BYTES, PLOOP_IO_INLINE),
			(s64)-EAGAIN);
	KUNIT_EXPECT_EQ(test, transfer(to, file, 65536, 0, DATA_BYTES - 100, PLOOP_IO_INLINE),
			(s64)-EAGAIN);
	rq_free(uneven);
	rq_free(to);
	ph_file_close(file);
}

/* A file whose writes wait before they begin. */
static ssize_t held_write_iter(struct kiocb *iocb, struct iov_iter *iter)
{
	atomic_inc(&held_parts);
	if (iocb->ki_flags & IOCB_NOWAIT)
		return held.own->write_iter(iocb, iter);
	complete(&held.entered);
	wait_for_completion(&held.go_on);
	return held.own->write_iter(iocb, iter);
}

/* The file is not even asked while a write that may allocate is under way. */
static void inline_not_beside_a_blocking_write(struct kunit *test)
{
	struct ploop_file *file = ploop_file_made(test, instance_of(test), "ext4", FILE_BYTES);
	struct file_operations *fops = kunit_kzalloc(test, sizeof(*fops), GFP_KERNEL);
	struct ploop_double_rq *blocking = rq_new(test, REQ_OP_WRITE, paged);
	struct ploop_double_rq *from = rq_new(test, REQ_OP_WRITE, paged);
	struct ploop_double_rq *to = rq_new(test, REQ_OP_READ, paged);
	struct file *filp = file->file;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fops);
	/* The file system has to know where the blocks are. */
	KUNIT_EXPECT_EQ(test, transfer(to, file, 65536, 0, DATA_BYTES, 0), (s64)DATA_BYTES);
	init_completion(&held.entered);
	init_completion(&held.go_on);
	held.own = filp->f_op;
	*fops = *filp->f_op;
	fops->write_iter = held_write_iter;
	filp->f_op = fops;
	ph_rq_io(&blocking->pb.rq, file, FILE_BYTES, 0, DATA_BYTES, 0);
	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&held.entered, PLOOP_PATIENCE));

	atomic_set(&held_parts, 0);
	KUNIT_EXPECT_EQ(test, transfer(from, file, 65536, 0, DATA_BYTES, PLOOP_IO_INLINE),
			(s64)-EAGAIN);
	KUNIT_EXPECT_EQ(test, atomic_read(&held_parts), 0);
	/* Reads are. And who was not let in does not keep others out. */
	KUNIT_EXPECT_EQ(test, inline_read(to, file), (s64)DATA_BYTES);
	ph_rq_io(&from->pb.rq, file, 65536, 0, DATA_BYTES, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&file->blocking_writes), 1);
	complete_all(&held.go_on);
	wait_for_completion(&blocking->done);
	wait_for_completion(&from->done);
	KUNIT_EXPECT_EQ(test, atomic_read(&file->blocking_writes), 0);
	KUNIT_EXPECT_EQ(test, transfer(from, file, 65536, 0, DATA_BYTES, PLOOP_IO_INLINE),
			(s64)DATA_BYTES);

	/* One that the file refuses does. */
	KUNIT_EXPECT_EQ(test, transfer(from, file, 4 * FILE_BYTES, 0, DATA_BYTES,
				       PLOOP_IO_INLINE), (s64)-EAGAIN);
	KUNIT_EXPECT_EQ(test, from->pb.blocking, PLOOP_BLOCKING_MAYBE);
	filp->f_op = held.own;
	rq_free(to);
	rq_free(from);
	rq_free(blocking);
	ph_file_close(file);
}

/* ---- Ends --------------------------------------------------------------------------------- */

static void request_ends(struct kunit *test)
{
	static const struct {
		int error;
		blk_status_t status;
	} ends[] = {
		{ 0, BLK_STS_OK },
		{ -EIO, BLK_STS_IOERR },
		{ -ENOSPC, BLK_STS_NOSPC },
		{ -EOPNOTSUPP, BLK_STS_NOTSUPP },
		{ PLOOP_END_REQUEUE, BLK_STS_DM_REQUEUE },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ends); i++) {
		struct ploop_double_rq *drq = rq_new(test, REQ_OP_WRITE, aligned);

		ph_rq_end(&drq->pb.rq, ends[i].error);
		KUNIT_EXPECT_TRUE(test, completion_done(&drq->done));
		KUNIT_EXPECT_EQ_MSG(test, drq->bio->bi_status, ends[i].status, "error %d",
				    ends[i].error);
		rq_free(drq);
	}
	KUNIT_EXPECT_FALSE(test, ph_may_requeue(instance_of(test)->host));
	instance_of(test)->table.noflush = true;
	KUNIT_EXPECT_TRUE(test, ph_may_requeue(instance_of(test)->host));
}

static void end_in_irq(struct ploop_irq *irq)
{
	struct ploop_double_rq **drq = (void *)(irq + 1);

	ph_rq_zero_fill(&(*drq)->pb.rq);
	ph_rq_end(&(*drq)->pb.rq, -EIO);
}

static void request_ends_in_irq(struct kunit *test)
{
	struct {
		struct ploop_irq irq;
		struct ploop_double_rq *drq;
	} *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t);
	t->drq = rq_new(test, REQ_OP_READ, odd);
	paint(t->drq, 7);
	ploop_irq_start(test, &t->irq, ploop_cpu(1), true, 1, end_in_irq);
	ploop_irq_join(test, &t->irq);
	KUNIT_EXPECT_EQ(test, t->drq->bio->bi_status, BLK_STS_IOERR);
	KUNIT_EXPECT_EQ(test, count_painted(t->drq, 0), DATA_BYTES);
	rq_free(t->drq);
}

/* ---- The suite ------------------------------------------------------------------------------- */

static int rq_test_init(struct kunit *test)
{
	test->priv = ploop_double_new(test);
	return 0;
}

static void rq_test_exit(struct kunit *test)
{
	if (test->priv)
		ploop_double_free(test, test->priv);
}

static struct kunit_case rq_cases[] = {
	KUNIT_CASE(zero_fill_is_exact),
	KUNIT_CASE(is_zero_sees_each_byte),
	KUNIT_CASE_PARAM(io_of_aligned_segments, ploop_host_fs_next),
	KUNIT_CASE_PARAM(io_of_odd_segments, ploop_host_fs_next),
	KUNIT_CASE_PARAM(io_through_the_page_cache, ploop_host_fs_next),
	KUNIT_CASE_PARAM(neighbours_stay, ploop_host_fs_next),
	KUNIT_CASE_PARAM(read_is_short_at_the_end, ploop_host_fs_next),
	KUNIT_CASE(write_meets_want_of_space),
	KUNIT_CASE_PARAM(write_is_durable_if_asked, ploop_host_fs_next),
	KUNIT_CASE(part_keeps_out_whole_writes),
	KUNIT_CASE(part_keeps_out_inline_writes),
	KUNIT_CASE(part_waits_for_whole_writes),
	KUNIT_CASE_PARAM(inline_where_it_can, ploop_host_fs_next),
	KUNIT_CASE_PARAM(inline_never_in_a_bad_place, ploop_host_fs_next),
	KUNIT_CASE(inline_not_beside_a_blocking_write),
	KUNIT_CASE(request_ends),
	KUNIT_CASE(request_ends_in_irq),
	{}
};

static struct kunit_suite rq_suite = {
	.name = "ploop_rq",
	.init = rq_test_init,
	.exit = rq_test_exit,
	.test_cases = rq_cases,
};

kunit_test_suite(rq_suite);
