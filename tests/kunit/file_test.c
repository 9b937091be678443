// SPDX-License-Identifier: GPL-2.0
/*
 * Files, and the core's own operations on them, on file systems with and without
 * direct I/O and on a block device.
 */
#include <linux/cred.h>
#include <linux/fcntl.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "double.h"

#define FILE_BYTES (1u << 20)

static struct ploop_double *instance_of(struct kunit *test)
{
	return test->priv;
}

static const struct ploop_host_fs *fs_of(struct kunit *test)
{
	return test->param_value;
}

static struct ploop_file *made(struct kunit *test, u64 bytes)
{
	return ploop_file_made(test, instance_of(test), fs_of(test)->name, bytes);
}

/* Opens and closes; what opening gave. */
static int try_open(struct kunit *test, const char *path, int fd, bool write,
		    struct ploop_file_facts *facts)
{
	struct ploop_file *file = NULL;
	int error = ph_file_open(instance_of(test)->host, path, fd, write, facts, &file);

	if (!error)
		ph_file_close(file);
	return error;
}

static s64 run(struct kunit *test, enum ploop_op_kind kind, struct ploop_file *file, u64 offset,
	       u64 bytes)
{
	return ploop_run_op(test, instance_of(test), kind, file, offset, bytes, NULL);
}

/* How many bytes of the file from @offset on are not those of the pattern moved by @moved. */
static u64 wrong_bytes(const u8 *data, u64 offset, u64 bytes, u64 moved)
{
	u64 wrong = 0;
	u64 i;

	for (i = 0; i < bytes; i++)
		wrong += data[i] != ploop_pattern(offset + i + moved);
	return wrong;
}

/* How many bytes from @offset on are zeros. */
static u64 zeros(struct kunit *test, struct ploop_file *file, u64 offset, u64 bytes)
{
	u8 *data = ph_alloc(PLOOP_ALLOC_MAX);
	u64 count = 0;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	while (bytes) {
		u64 part = min_t(u64, bytes, PLOOP_ALLOC_MAX);
		s64 got = ploop_run_op(test, instance_of(test), PLOOP_OP_READ, file, offset, part,
				       data);
		s64 i;

		if (got != part)
			break;
		for (i = 0; i < got; i++)
			count += !data[i];
		offset += part;
		bytes -= part;
	}
	ph_free(data);
	return count;
}

/* The pattern has a zero here and there. */
static u64 pattern_zeros(u64 offset, u64 bytes)
{
	u64 count = 0;
	u64 i;

	for (i = 0; i < bytes; i++)
		count += !ploop_pattern(offset + i);
	return count;
}

/* ---- Opening ------------------------------------------------------------------------ */

static void open_by_path(struct kunit *test)
{
	struct ploop_double *instance = instance_of(test);
	struct ploop_file *file = made(test, 10000);
	char *path = ploop_path(test, fs_of(test)->name, "file");
	const bool direct = fs_of(test)->direct;
	struct ploop_file_facts facts = {};
	char text[8];

	KUNIT_EXPECT_EQ(test, try_open(test, path, -1, false, &facts), 0);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), 10000ull);
	KUNIT_EXPECT_EQ(test, !!facts.dio_align_bytes, direct);
	KUNIT_EXPECT_EQ(test, facts.inline_ok, direct);
	KUNIT_EXPECT_FALSE(test, facts.block_device || facts.own_device || facts.writable);
	KUNIT_EXPECT_TRUE(test, facts.readable);
	KUNIT_EXPECT_EQ(test, try_open(test, path, -1, true, &facts), 0);
	KUNIT_EXPECT_TRUE(test, facts.writable);
	KUNIT_EXPECT_TRUE(test, file->file->f_flags & O_NOATIME);

	KUNIT_EXPECT_EQ(test, ph_file_path(file, text, sizeof(text)), -ERANGE);
	KUNIT_EXPECT_EQ(test, ph_file_path(file, text, 0), -ERANGE);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), 10000ull);
	if (direct) {
		instance->table.md.disk = file_inode(file->file)->i_sb->s_bdev->bd_disk;
		KUNIT_EXPECT_EQ(test, try_open(test, path, -1, false, &facts), 0);
		KUNIT_EXPECT_TRUE(test, facts.own_device);
	}
	ph_file_close(file);
}

static void open_names_the_inode(struct kunit *test)
{
	struct ploop_file *file = made(test, 512);
	char *path = ploop_path(test, fs_of(test)->name, "file");
	char *link = ploop_path(test, fs_of(test)->name, "link");
	char *other = ploop_path(test, fs_of(test)->name, "other");
	struct ploop_file_facts facts[3] = {};

	/* The link is to the file; both were made in user space. */
	KUNIT_EXPECT_EQ(test, try_open(test, path, -1, false, &facts[0]), 0);
	KUNIT_EXPECT_EQ(test, try_open(test, link, -1, true, &facts[1]), 0);
	KUNIT_EXPECT_EQ(test, try_open(test, other, -1, false, &facts[2]), 0);
	KUNIT_EXPECT_EQ(test, memcmp(facts[0].id, facts[1].id, sizeof(facts[0].id)), 0);
	KUNIT_EXPECT_NE(test, memcmp(facts[0].id, facts[2].id, sizeof(facts[0].id)), 0);
	ph_file_close(file);
}

static void path_is_absolute(struct kunit *test)
{
	struct ploop_file *file = made(test, 512);
	char *path = ploop_path(test, fs_of(test)->name, "file");
	char *text = kunit_kzalloc(test, PATH_MAX, GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, text);
	KUNIT_EXPECT_EQ(test, ph_file_path(file, text, PATH_MAX), 0);
	KUNIT_EXPECT_STREQ(test, text, path);
	/* It fits to the byte, or not at all. */
	KUNIT_EXPECT_EQ(test, ph_file_path(file, text, strlen(path) + 1), 0);
	KUNIT_EXPECT_STREQ(test, text, path);
	KUNIT_EXPECT_EQ(test, ph_file_path(file, text, strlen(path)), -ERANGE);
	ph_file_close(file);
}

/* A descriptor of this thread's for @path; closed with close_fd(). */
static int descriptor(struct kunit *test, const char *path, int flags)
{
	int fd = get_unused_fd_flags(O_CLOEXEC);
	struct file *filp;

	KUNIT_ASSERT_GE(test, fd, 0);
	filp = filp_open(path, flags | O_LARGEFILE, 0);
	if (IS_ERR(filp))
		put_unused_fd(fd);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, filp);
	fd_install(fd, filp);
	return fd;
}

static void open_by_descriptor(struct kunit *test)
{
	struct ploop_file *made_file = made(test, 4096);
	char *path = ploop_path(test, fs_of(test)->name, "file");
	struct ploop_file_facts facts = {};
	struct ploop_file *file;
	struct file *theirs;
	int fd;

	fd = descriptor(test, path, O_RDONLY);
	/* It has the rights that it has. */
	KUNIT_EXPECT_EQ(test, try_open(test, NULL, fd, true, &facts), 0);
	KUNIT_EXPECT_FALSE(test, facts.writable);
	close_fd(fd);

	fd = descriptor(test, path, O_RDWR | O_APPEND | O_SYNC);
	KUNIT_EXPECT_EQ(test, ph_file_open(instance_of(test)->host, NULL, fd, true, &facts, &file),
			0);
	theirs = fget(fd);
	KUNIT_EXPECT_FALSE(test, theirs->f_flags & O_NOATIME);
	KUNIT_EXPECT_FALSE(test, theirs->f_mode & FMODE_NOCMTIME);
	compat_fput(theirs);
	close_fd(fd);
	KUNIT_EXPECT_TRUE(test, facts.writable);
	/* Ours without the descriptor, and without its flags. */
	KUNIT_EXPECT_EQ(test, file->file->f_flags & (O_APPEND | O_SYNC | O_NOATIME), O_NOATIME);
	KUNIT_EXPECT_TRUE(test, file->file->f_mode & FMODE_NOCMTIME);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_SYNC, file, 0, 0), 0ll);
	ph_file_close(file);
	KUNIT_EXPECT_EQ(test, try_open(test, NULL, fd, true, &facts), -ENOENT);
	ph_file_close(made_file);
}

static void open_refuses(struct kunit *test)
{
	struct ploop_file_facts facts;
	char *dir = ploop_path(test, "tmpfs", "");
	char *fifo = ploop_path(test, "tmpfs", "fifo");
	int fd;

	KUNIT_EXPECT_EQ(test, try_open(test, ploop_path(test, "tmpfs", "missing"), -1, true,
				       &facts), -ENOENT);
	KUNIT_EXPECT_EQ(test, try_open(test, dir, -1, true, &facts), -EINVAL);
	KUNIT_EXPECT_EQ(test, try_open(test, dir, -1, false, &facts), -EINVAL);
	/* It is not opened, least of all does it wait for the other end. */
	KUNIT_EXPECT_EQ(test, try_open(test, fifo, -1, true, &facts), -EINVAL);
	KUNIT_EXPECT_EQ(test, try_open(test, fifo, -1, false, &facts), -EINVAL);
	KUNIT_EXPECT_EQ(test, try_open(test, "/dev/null", -1, true, &facts), -EINVAL);
	KUNIT_EXPECT_EQ(test, try_open(test, NULL, -1, true, &facts), -ENOENT);
	KUNIT_EXPECT_EQ(test, try_open(test, NULL, 1 << 20, true, &facts), -ENOENT);
	KUNIT_EXPECT_EQ(test, try_open(test, NULL, INT_MAX, true, &facts), -ENOENT);
	fd = descriptor(test, dir, O_RDONLY | O_DIRECTORY);
	KUNIT_EXPECT_EQ(test, try_open(test, NULL, fd, false, &facts), -EINVAL);
	close_fd(fd);
}

/* Where a crash can show what a file held before, and what makes a write durable. */
static void facts_of_hosts(struct kunit *test)
{
	static const struct {
		const char *name;
		bool zeros_honest, fua;
	} hosts[] = {
		{ "ext4", true, true },		{ "loop", true, false },
		{ "nojournal", false, true },	{ "noload", false, true },
		{ "indirect", false, true },	{ "journalled", false, true },
		{ "overlay", true, true },	{ "overlay_nojournal", false, true },
		{ "xfs", true, true },		{ "btrfs", true, false },
	};
	struct ploop_file_facts facts;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct ploop_file *file = ploop_file_made(test, instance_of(test), hosts[i].name,
							  65536);
		char *path = ploop_path(test, hosts[i].name, "file");

		facts = (struct ploop_file_facts) {};
		KUNIT_EXPECT_EQ(test, try_open(test, path, -1, true, &facts), 0);
		KUNIT_EXPECT_EQ_MSG(test, facts.zeros_honest, hosts[i].zeros_honest, "%s",
				    hosts[i].name);
		KUNIT_EXPECT_EQ_MSG(test, facts.fua, hosts[i].fua, "%s", hosts[i].name);
		ph_file_close(file);
	}
	KUNIT_EXPECT_EQ(test, try_open(test, ploop_path(test, "tmpfs", "other"), -1, true, &facts),
			0);
	KUNIT_EXPECT_EQ(test, facts.zeros_honest, !!facts.dio_align_bytes);
	KUNIT_EXPECT_FALSE(test, facts.fua);
	KUNIT_EXPECT_EQ(test, try_open(test, ploop_path(test, "", "block"), -1, true, &facts), 0);
	KUNIT_EXPECT_TRUE(test, facts.zeros_honest && facts.fua);
}

/* ---- Operations ---------------------------------------------------------------------- */

/* Writes and reads back @bytes at @offset; the pattern is moved so that it is another. */
static void write_and_read(struct kunit *test, enum ploop_op_kind kind, struct ploop_file *file,
			   u64 offset, u64 bytes, u8 *data, u64 moved)
{
	struct ploop_double *instance = instance_of(test);
	u64 i;

	for (i = 0; i < bytes; i++)
		data[i] = ploop_pattern(offset + i + moved);
	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance, kind, file, offset, bytes, data),
			(s64)bytes);
	memset(data, 0, bytes);
	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance, PLOOP_OP_READ, file, offset, bytes,
					   data), (s64)bytes);
	KUNIT_EXPECT_EQ(test, wrong_bytes(data, offset, bytes, moved), 0ull);
}

static void write_is_direct_where_it_can(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	u8 *data = ph_alloc(PLOOP_ALLOC_MAX);
	u8 *page = ph_alloc(4096);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, page);
	write_and_read(test, PLOOP_OP_WRITE, file, 65536, PLOOP_ALLOC_MAX, data, 3);
	write_and_read(test, PLOOP_OP_WRITE, file, 4096, 4096, page, 5);
	/* Beyond the end. */
	write_and_read(test, PLOOP_OP_WRITE, file, FILE_BYTES + 65536, PLOOP_ALLOC_MAX, data, 0);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), FILE_BYTES + 131072ull);
	/* Off the alignment, too, by way of memory of our own. */
	write_and_read(test, PLOOP_OP_WRITE, file, 1000, 5000, data, 7);
	write_and_read(test, PLOOP_OP_WRITE, file, 10, 1, data, 9);
	write_and_read(test, PLOOP_OP_WRITE, file, 500, PLOOP_ALLOC_MAX, data, 11);
	if (fs_of(test)->direct)
		KUNIT_EXPECT_EQ(test, file->file->f_mapping->nrpages, 0ul);
	else
		KUNIT_EXPECT_GT(test, file->file->f_mapping->nrpages, 0ul);
	/* The neighbours are as they were. */
	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance_of(test), PLOOP_OP_READ, file, 0, 10,
					   data), 10ll);
	KUNIT_EXPECT_EQ(test, wrong_bytes(data, 0, 10, 0), 0ull);
	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance_of(test), PLOOP_OP_READ, file, 11, 489,
					   data), 489ll);
	KUNIT_EXPECT_EQ(test, wrong_bytes(data, 11, 489, 0), 0ull);
	ph_free(page);
	ph_free(data);
	ph_file_close(file);
}

/* An open file tells an error of writeback once, and not always to us. */
static void sync_misses_no_error(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	struct ploop_double *instance = instance_of(test);

	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance, PLOOP_OP_SYNC, file, 0, 0, NULL), 0ll);
	mapping_set_error(file->file->f_mapping, -EIO);
	vfs_fsync(file->file, 1);
	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance, PLOOP_OP_SYNC, file, 0, 0, NULL),
			(s64)-EIO);
	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance, PLOOP_OP_SYNC, file, 0, 0, NULL), 0ll);
	ph_file_close(file);
}

/* A file whose sync waits until it may end; then it tells what the file tells. */
struct slow_sync {
	const struct file_operations *own;
	struct file_operations fops;
	struct ploop_file *file;
	struct completion go_on;
	atomic_t inside;
	struct ploop_thread threads[2];
	s64 results[2];
};

static struct slow_sync *the_slow_sync;

static int slow_fsync(struct file *filp, loff_t start, loff_t end, int datasync)
{
	atomic_inc(&the_slow_sync->inside);
	wait_for_completion(&the_slow_sync->go_on);
	return file_check_and_advance_wb_err(filp);
}

static void sync_first(void *data)
{
	struct slow_sync *slow = data;

	slow->results[0] = ph_file_sync(slow->file);
}

static void sync_second(void *data)
{
	struct slow_sync *slow = data;

	slow->results[1] = ph_file_sync(slow->file);
}

/* Of two that run at the same time the file tells only one. */
static void syncs_that_overlap_miss_no_error(struct kunit *test)
{
	struct slow_sync *slow = kunit_kzalloc(test, sizeof(*slow), GFP_KERNEL);
	struct file *filp;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, slow);
	slow->file = made(test, FILE_BYTES);
	filp = slow->file->file;
	KUNIT_EXPECT_EQ(test, ph_file_sync(slow->file), 0ll);

	the_slow_sync = slow;
	init_completion(&slow->go_on);
	slow->own = filp->f_op;
	slow->fops = *filp->f_op;
	slow->fops.fsync = slow_fsync;
	filp->f_op = &slow->fops;
	ploop_thread_start(test, &slow->threads[0], ploop_cpu(0), sync_first, slow);
	ploop_thread_start(test, &slow->threads[1], ploop_cpu(1), sync_second, slow);
	KUNIT_EXPECT_TRUE(test, ploop_eventually(atomic_read(&slow->inside) == 2));
	mapping_set_error(slow->file->mapping, -EIO);
	/* One after the other. */
	complete(&slow->go_on);
	ploop_linger();
	complete(&slow->go_on);
	ploop_thread_join(test, &slow->threads[0]);
	ploop_thread_join(test, &slow->threads[1]);
	filp->f_op = slow->own;

	KUNIT_EXPECT_EQ(test, slow->results[0], (s64)-EIO);
	KUNIT_EXPECT_EQ(test, slow->results[1], (s64)-EIO);
	KUNIT_EXPECT_EQ(test, ph_file_sync(slow->file), 0ll);
	/* One that falls between two syncs is the next one's. */
	mapping_set_error(slow->file->mapping, -EDQUOT);
	KUNIT_EXPECT_EQ(test, ph_file_sync(slow->file), (s64)-ENOSPC);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_SYNC, slow->file, 0, 0), 0ll);
	ph_file_close(slow->file);
}

/* An error from before our time, which the first sync of ours would be told of. */
static void open_tells_of_an_earlier_error(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	char *path = ploop_path(test, fs_of(test)->name, "file");
	struct ploop_file_facts facts = {};

	KUNIT_EXPECT_EQ(test, try_open(test, path, -1, true, &facts), 0);
	KUNIT_EXPECT_EQ(test, facts.unsynced_error, 0);
	mapping_set_error(file->file->f_mapping, -EIO);
	KUNIT_EXPECT_EQ(test, try_open(test, path, -1, true, &facts), 0);
	KUNIT_EXPECT_EQ(test, facts.unsynced_error, -EIO);
	/* Somebody is told, as by a sync, which tmpfs has none of. */
	KUNIT_EXPECT_EQ(test, file_check_and_advance_wb_err(file->file), -EIO);
	KUNIT_EXPECT_EQ(test, try_open(test, path, -1, true, &facts), 0);
	KUNIT_EXPECT_EQ(test, facts.unsynced_error, 0);
	mapping_set_error(file->file->f_mapping, -EDQUOT);
	KUNIT_EXPECT_EQ(test, try_open(test, path, -1, true, &facts), 0);
	KUNIT_EXPECT_EQ(test, facts.unsynced_error, -ENOSPC);
	KUNIT_EXPECT_EQ(test, file_check_and_advance_wb_err(file->file), -EDQUOT);
	ph_file_close(file);
}

static void write_anywhere(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	u8 *data = ph_alloc(PLOOP_ALLOC_MAX);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	write_and_read(test, PLOOP_OP_WRITE_BUFFERED, file, 64, 4032, data, 11);
	write_and_read(test, PLOOP_OP_WRITE_BUFFERED, file, 8192, 4096, data, 13);
	KUNIT_EXPECT_EQ(test, !file->mapping->nrpages, fs_of(test)->direct);
	/* The neighbours are as they were. */
	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance_of(test), PLOOP_OP_READ, file, 0, 64,
					   data), 64ll);
	KUNIT_EXPECT_EQ(test, wrong_bytes(data, 0, 64, 0), 0ull);
	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance_of(test), PLOOP_OP_READ, file, 4096,
					   4096, data), 4096ll);
	KUNIT_EXPECT_EQ(test, wrong_bytes(data, 4096, 4096, 0), 0ull);
	ph_free(data);
	ph_file_close(file);
}

/* Somebody else's way, through the page cache. */
static void read_through_the_page_cache(struct kunit *test, struct ploop_file *file, loff_t pos,
					void *data, size_t bytes)
{
	KUNIT_EXPECT_EQ(test, kernel_read(file->file, data, bytes, &pos), (ssize_t)bytes);
}

/* What others have written there, and what is not on the disk yet. */
static void write_leaves_the_neighbours(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	u8 *data = ph_alloc(4096);
	loff_t pos = 44;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	write_and_read(test, PLOOP_OP_WRITE_BUFFERED, file, 64, 4032, data, 3);
	memset(data, 0xa5, 4);
	KUNIT_EXPECT_EQ(test, kernel_write(file->file, data, 4, &pos), (ssize_t)4);
	write_and_read(test, PLOOP_OP_WRITE_BUFFERED, file, 64, 4032, data, 5);
	memset(data, 0, 4096);
	read_through_the_page_cache(test, file, 44, data, 4);
	KUNIT_EXPECT_EQ(test, data[0], 0xa5);
	KUNIT_EXPECT_EQ(test, data[3], 0xa5);
	KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance_of(test), PLOOP_OP_READ, file, 0, 64,
					   data), 64ll);
	KUNIT_EXPECT_EQ(test, wrong_bytes(data, 0, 44, 0), 0ull);
	KUNIT_EXPECT_EQ(test, data[44], 0xa5);
	KUNIT_EXPECT_EQ(test, wrong_bytes(data + 48, 48, 16, 0), 0ull);
	ph_free(data);
	ph_file_close(file);
}

static void sync_empties_the_page_cache(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	u8 *data = ph_alloc(PLOOP_ALLOC_MAX);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	read_through_the_page_cache(test, file, 0, data, PLOOP_ALLOC_MAX);
	KUNIT_EXPECT_GT(test, file->mapping->nrpages, 0ul);
	KUNIT_EXPECT_EQ(test, ph_file_sync(file), 0ll);
	KUNIT_EXPECT_EQ(test, !file->mapping->nrpages, fs_of(test)->direct);
	ph_free(data);
	ph_file_close(file);
}

/* ph_alloc() may give memory of scattered pages. */
static void buffer_of_mapped_pages(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	u8 *data = vzalloc(PLOOP_ALLOC_MAX);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	write_and_read(test, PLOOP_OP_WRITE, file, 131072, PLOOP_ALLOC_MAX, data, 17);
	write_and_read(test, PLOOP_OP_WRITE, file, 4096, 1024, data + 512, 19);
	write_and_read(test, PLOOP_OP_WRITE_BUFFERED, file, 77, 12345, data + 3000, 23);
	vfree(data);
	ph_file_close(file);
}

static void read_is_short_at_the_end(struct kunit *test)
{
	static const struct {
		u32 offset, bytes, expected;
	} reads[] = {
		{ 0, 16384, 10000 },	{ 8192, 4096, 1808 },	{ 4096, 5904, 5904 },
		{ 9999, 3, 1 },		{ 10000, 512, 0 },	{ 10240, 4096, 0 },
		{ 65536, 4096, 0 },
	};
	struct ploop_file *file = made(test, 10000);
	u8 *data = ph_alloc(16384);
	size_t i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	for (i = 0; i < ARRAY_SIZE(reads); i++) {
		s64 got;

		got = ploop_run_op(test, instance_of(test), PLOOP_OP_READ, file, reads[i].offset,
				   reads[i].bytes, data);
		KUNIT_EXPECT_EQ_MSG(test, got, (s64)reads[i].expected, "read %zu", i);
		if (got > 0)
			KUNIT_EXPECT_EQ(test, wrong_bytes(data, reads[i].offset, got, 0), 0ull);
	}
	ph_free(data);
	ph_file_close(file);
}

static void truncate_both_ways(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);

	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_TRUNCATE, file, 65536, 0), 0ll);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), 65536ull);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_TRUNCATE, file, 2 * FILE_BYTES, 0), 0ll);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), 2ull * FILE_BYTES);
	KUNIT_EXPECT_EQ(test, zeros(test, file, 65536, 65536), 65536ull);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_SYNC, file, 0, 0), 0ll);
	ph_file_close(file);
}

/* Credentials of a user who may not open the suites' files. */
static struct cred *stranger(struct kunit *test)
{
	struct cred *user = prepare_creds();

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, user);
	user->fsuid = KUIDT_INIT(1001);
	user->fsgid = KGIDT_INIT(1001);
	user->cap_effective = CAP_EMPTY_SET;
	return user;
}

static void truncate_asks_for_no_permission(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	struct ploop_double *instance = instance_of(test);
	const struct cred *root = instance->host->cred;
	struct cred *user = stranger(test);
	struct ploop_file_facts facts;

	instance->host->cred = user;
	KUNIT_EXPECT_EQ(test, try_open(test, ploop_path(test, fs_of(test)->name, "file"), -1, true,
				       &facts), -EACCES);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_TRUNCATE, file, 2 * FILE_BYTES, 0), 0ll);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_TRUNCATE, file, 65536, 0), 0ll);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), 65536ull);
	instance->host->cred = root;
	put_cred(user);
	ph_file_close(file);
}

/* A file that is as large as its file system lets it be is no want of space. */
static void too_large(struct kunit *test)
{
	struct ploop_file *file = made(test, 65536);
	const u64 most = file_inode(file->file)->i_sb->s_maxbytes & ~4095ull;
	u8 *data = ph_alloc(4096);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_TRUNCATE, file, most + 4096, 0), (s64)-EFBIG);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_RESERVE, file, most, 8192), (s64)-EFBIG);
	if (fs_of(test)->direct)
		KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance_of(test), PLOOP_OP_WRITE, file,
						   most + 4096, 4096, data), (s64)-EFBIG);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), 65536ull);
	ph_free(data);
	ph_file_close(file);
}

static void reserve_takes_space(struct kunit *test)
{
	struct ploop_file *file = made(test, 65536);
	s64 free[3];

	free[0] = run(test, PLOOP_OP_FREE_SPACE, file, 0, 0);
	KUNIT_EXPECT_GT(test, free[0], 4ll << 20);
	/* Within the file, which has nothing there yet, and beyond its end, which stays. */
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_TRUNCATE, file, 65536 + FILE_BYTES, 0), 0ll);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_RESERVE, file, 65536, FILE_BYTES), 0ll);
	free[1] = run(test, PLOOP_OP_FREE_SPACE, file, 0, 0);
	KUNIT_EXPECT_LE(test, free[1], free[0] - FILE_BYTES);
	KUNIT_EXPECT_EQ(test, zeros(test, file, 65536, FILE_BYTES), (u64)FILE_BYTES);

	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_RESERVE, file, 2 * FILE_BYTES, FILE_BYTES), 0ll);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), 65536ull + FILE_BYTES);
	free[2] = run(test, PLOOP_OP_FREE_SPACE, file, 0, 0);
	KUNIT_EXPECT_LE(test, free[2], free[1] - FILE_BYTES);
	ph_file_close(file);
}

static void punch_and_zero(struct kunit *test)
{
	struct ploop_file *file = made(test, FILE_BYTES);
	s64 zeroed;

	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_PUNCH, file, 131072, 65536), 0ll);
	KUNIT_EXPECT_EQ(test, zeros(test, file, 131072, 65536), 65536ull);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), (u64)FILE_BYTES);

	zeroed = run(test, PLOOP_OP_ZERO, file, 262144, 65536);
	if (fs_of(test)->direct)
		KUNIT_EXPECT_EQ(test, zeroed, 0ll);
	else
		KUNIT_EXPECT_EQ(test, zeroed, (s64)-EOPNOTSUPP);
	if (!zeroed)
		KUNIT_EXPECT_EQ(test, zeros(test, file, 262144, 65536), 65536ull);

	/* More than one buffer's worth, and off every alignment. */
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_WRITE_ZEROES, file, 327680, 200000), 200000ll);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_WRITE_ZEROES, file, 700001, 99), 99ll);
	KUNIT_EXPECT_EQ(test, zeros(test, file, 327680, 200000), 200000ull);
	KUNIT_EXPECT_EQ(test, zeros(test, file, 700001, 99), 99ull);
	KUNIT_EXPECT_EQ(test, zeros(test, file, 65536, 65536), pattern_zeros(65536, 65536));
	KUNIT_EXPECT_EQ(test, zeros(test, file, 527680, 1000), pattern_zeros(527680, 1000));
	KUNIT_EXPECT_EQ(test, zeros(test, file, 700100, 1000), pattern_zeros(700100, 1000));
	ph_file_close(file);
}

static void block_device(struct kunit *test)
{
	struct ploop_double *instance = instance_of(test);
	struct dm_table *table = &instance->table;
	char *path = ploop_path(test, "", "block");
	struct ploop_file_facts facts = {};
	struct ploop_file *file;
	u8 *data;

	KUNIT_ASSERT_EQ(test, ph_file_open(instance->host, path, -1, true, &facts, &file), 0);
	data = ph_alloc(PLOOP_ALLOC_MAX);
	KUNIT_EXPECT_NOT_ERR_OR_NULL(test, data);
	KUNIT_EXPECT_TRUE(test, facts.block_device && facts.writable && facts.inline_ok);
	/* brd's third. */
	KUNIT_EXPECT_EQ(test, table->claims, 1);
	KUNIT_EXPECT_TRUE(test, table->claimed_to_write);
	KUNIT_EXPECT_STREQ(test, table->claim.name, "1:2");
	KUNIT_EXPECT_EQ(test, ph_file_size(file), 64ull << 20);
	KUNIT_EXPECT_EQ(test, facts.dio_align_bytes, 512u);
	if (data) {
		write_and_read(test, PLOOP_OP_WRITE, file, 65536, 65536, data, 0);
		write_and_read(test, PLOOP_OP_WRITE_BUFFERED, file, 65536 + 100, 1000, data, 5);
		KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance, PLOOP_OP_READ, file,
						   (64 << 20) - 4096, 8192, data), 4096ll);
	}
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_SYNC, file, 0, 0), 0ll);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_TRUNCATE, file, 0, 0), (s64)-EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_RESERVE, file, 0, 4096), (s64)-EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_FREE_SPACE, file, 0, 0), (s64)-EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_WRITE_ZEROES, file, 65536, 65536), 65536ll);
	KUNIT_EXPECT_EQ(test, zeros(test, file, 65536, 65536), 65536ull);
	ph_free(data);
	ph_file_close(file);
	KUNIT_EXPECT_EQ(test, table->claims, 0);
	KUNIT_EXPECT_EQ(test, try_open(test, path, -1, false, &facts), 0);
	KUNIT_EXPECT_FALSE(test, table->claimed_to_write);
	KUNIT_EXPECT_EQ(test, table->claims, 0);
}

/* ---- Want of space --------------------------------------------------------------------- */

static void full_file_system(struct kunit *test)
{
	struct ploop_file *file = ploop_file_made(test, instance_of(test), "small", 4096);
	u8 *data = ph_alloc(PLOOP_ALLOC_MAX);
	s64 written = 0;
	u64 offset = 0;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_RESERVE, file, 0, 16 << 20), (s64)-ENOSPC);
	while (offset < 16 << 20) {
		written = ploop_run_op(test, instance_of(test), PLOOP_OP_WRITE, file, offset,
				       PLOOP_ALLOC_MAX, data);
		if (written <= 0)
			break;
		offset += written;
	}
	/* The last one that wrote anything said how much. */
	KUNIT_EXPECT_EQ(test, written, (s64)-ENOSPC);
	KUNIT_EXPECT_GT(test, offset, 0ull);
	ph_free(data);
	ph_file_close(file);
}

/* A user who has used up a quota, and whom the constructor ran for. */
static void quota_is_want_of_space(struct kunit *test)
{
	struct ploop_double *instance = instance_of(test);
	char *path = ploop_path(test, "quota", "file");
	const struct cred *root = instance->host->cred;
	struct ploop_file_facts facts;
	struct ploop_file *file;
	struct cred *user;
	u8 *data;

	KUNIT_ASSERT_EQ(test, ph_file_open(instance->host, path, -1, true, &facts, &file), 0);
	/* A write that fails beyond the end gives back what was reserved there. */
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_TRUNCATE, file, 2 << 20, 0), 0ll);
	user = prepare_creds();
	data = ph_alloc(PLOOP_ALLOC_MAX);
	KUNIT_EXPECT_NOT_ERR_OR_NULL(test, user);
	KUNIT_EXPECT_NOT_ERR_OR_NULL(test, data);
	if (user && data) {
		user->fsuid = KUIDT_INIT(1000);
		user->cap_effective = CAP_EMPTY_SET;
		instance->host->cred = user;
		KUNIT_EXPECT_GT(test, run(test, PLOOP_OP_FREE_SPACE, file, 0, 0), 4ll << 20);
		KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_RESERVE, file, 0, 1 << 20),
				(s64)-ENOSPC);
		KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance, PLOOP_OP_WRITE, file, 1 << 20,
						   PLOOP_ALLOC_MAX, data), (s64)-ENOSPC);
		KUNIT_EXPECT_EQ(test, ploop_run_op(test, instance, PLOOP_OP_WRITE_BUFFERED, file,
						   1 << 20, PLOOP_ALLOC_MAX, data), (s64)-ENOSPC);
		/* Nor may this user open what is not for all. */
		KUNIT_EXPECT_EQ(test, try_open(test, ploop_path(test, "quota", "private"), -1,
					       false, &facts), -EACCES);
		instance->host->cred = root;
	}
	/* Root may do all that. */
	KUNIT_EXPECT_EQ(test, run(test, PLOOP_OP_RESERVE, file, 0, 1 << 20), 0ll);
	if (user)
		put_cred(user);
	ph_free(data);
	ph_file_close(file);
}

/* ---- The suite ---------------------------------------------------------------------------- */

static int file_init(struct kunit *test)
{
	test->priv = ploop_double_new(test);
	return 0;
}

static void file_exit(struct kunit *test)
{
	if (test->priv)
		ploop_double_free(test, test->priv);
}

static struct kunit_case file_cases[] = {
	KUNIT_CASE_PARAM(open_by_path, ploop_host_fs_next),
	KUNIT_CASE_PARAM(open_names_the_inode, ploop_host_fs_next),
	KUNIT_CASE_PARAM(path_is_absolute, ploop_host_fs_next),
	KUNIT_CASE_PARAM(open_by_descriptor, ploop_host_fs_next),
	KUNIT_CASE(open_refuses),
	KUNIT_CASE(facts_of_hosts),
	KUNIT_CASE_PARAM(write_is_direct_where_it_can, ploop_host_fs_next),
	KUNIT_CASE_PARAM(sync_misses_no_error, ploop_host_fs_next),
	KUNIT_CASE_PARAM(syncs_that_overlap_miss_no_error, ploop_host_fs_next),
	KUNIT_CASE_PARAM(open_tells_of_an_earlier_error, ploop_host_fs_next),
	KUNIT_CASE_PARAM(write_anywhere, ploop_host_fs_next),
	KUNIT_CASE_PARAM(write_leaves_the_neighbours, ploop_host_fs_next),
	KUNIT_CASE_PARAM(sync_empties_the_page_cache, ploop_host_fs_next),
	KUNIT_CASE_PARAM(buffer_of_mapped_pages, ploop_host_fs_next),
	KUNIT_CASE_PARAM(read_is_short_at_the_end, ploop_host_fs_next),
	KUNIT_CASE_PARAM(truncate_both_ways, ploop_host_fs_next),
	KUNIT_CASE_PARAM(truncate_asks_for_no_permission, ploop_host_fs_next),
	KUNIT_CASE_PARAM(too_large, ploop_host_fs_next),
	KUNIT_CASE_PARAM(reserve_takes_space, ploop_host_fs_next),
	KUNIT_CASE_PARAM(punch_and_zero, ploop_host_fs_next),
	KUNIT_CASE(block_device),
	KUNIT_CASE(full_file_system),
	KUNIT_CASE(quota_is_want_of_space),
	{}
};

static struct kunit_suite file_suite = {
	.name = "ploop_file",
	.init = file_init,
	.exit = file_exit,
	.test_cases = file_cases,
};

kunit_test_suite(file_suite);
