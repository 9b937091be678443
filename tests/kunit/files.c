// SPDX-License-Identifier: GPL-2.0
/*
 * Files for the suites. The directory has been prepared from user space.
 */
#include <linux/fcntl.h>
#include <linux/namei.h>
#include <linux/path.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "double.h"

static const struct ploop_host_fs ploop_host_fs[] = {
	{ .name = "tmpfs" },
	{ .name = "ext4", .direct = true },
};

const void *ploop_host_fs_next(const void *previous, char *description)
{
	const struct ploop_host_fs *next = previous ? (const struct ploop_host_fs *)previous + 1 :
						      ploop_host_fs;

	if (next == ploop_host_fs + ARRAY_SIZE(ploop_host_fs))
		return NULL;
	strscpy(description, next->name, KUNIT_PARAM_DESC_SIZE);
	return next;
}

char *ploop_path(struct kunit *test, const char *fs, const char *name)
{
	char *path = kunit_kzalloc(test, PATH_MAX, GFP_KERNEL);
	struct path there;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, path);
	if (kern_path(PLOOP_KUNIT_DIR "/block", 0, &there))
		kunit_skip(test, "no " PLOOP_KUNIT_DIR);
	path_put(&there);
	snprintf(path, PATH_MAX, PLOOP_KUNIT_DIR "/%s/%s", fs, name);
	return path;
}

struct ploop_file *ploop_file_made(struct kunit *test, struct ploop_double *instance,
				   const char *fs, u64 bytes)
{
	char *path = ploop_path(test, fs, "file");
	struct ploop_file_facts facts;
	struct ploop_file *file;
	struct file *filp;
	loff_t pos = 0;
	u8 *chunk;
	int error = 0;
	int tries;

	chunk = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, chunk);
	filp = filp_open(path, O_CREAT | O_TRUNC | O_RDWR | O_LARGEFILE, 0600);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, filp);
	while (pos < bytes && !error) {
		size_t count = min_t(u64, bytes - pos, PAGE_SIZE);
		size_t i;

		for (i = 0; i < count; i++)
			chunk[i] = ploop_pattern(pos + i);
		error = kernel_write(filp, chunk, count, &pos) == count ? 0 : -EIO;
	}
	if (!error)
		error = vfs_fsync(filp, 0);
	/* Direct I/O must not meet pages of this in the cache; tmpfs has no other place. */
	for (tries = 0; !error && (filp->f_mode & FMODE_CAN_ODIRECT); tries++) {
		error = invalidate_inode_pages2(filp->f_mapping);
		if (error != -EBUSY)
			break;
		/*
		 * Who has just written it, or reads ahead, holds a page for a moment; and a
		 * journal that has the data, too, for long: there direct I/O is none.
		 */
		error = 0;
		if (tries == 20)
			break;
		msleep(20);
	}
	compat_fput(filp);
	KUNIT_ASSERT_EQ(test, error, 0);

	error = ph_file_open(instance->host, path, -1, true, &facts, &file);
	KUNIT_ASSERT_EQ(test, error, 0);
	KUNIT_EXPECT_EQ(test, ph_file_size(file), bytes);
	return file;
}

struct ploop_awaited_op {
	struct completion done;
	s64 result;
	unsigned int calls;
	bool atomic;
};

static void ploop_op_is_done(struct ploop_op *op, int64_t result)
{
	struct ploop_awaited_op *awaited = op->owner;

	awaited->result = result;
	awaited->calls++;
	awaited->atomic = in_interrupt() || irqs_disabled();
	complete(&awaited->done);
}

s64 ploop_run_op(struct kunit *test, struct ploop_double *instance, enum ploop_op_kind kind,
		 struct ploop_file *file, u64 offset, u64 bytes, void *buffer)
{
	struct ploop_awaited_op awaited = {};
	struct ploop_op *op = ph_op_new(instance->host);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, op);
	init_completion(&awaited.done);
	op->kind = kind;
	op->file = file;
	op->offset = offset;
	op->bytes = bytes;
	op->buffer = buffer;
	op->done = ploop_op_is_done;
	op->owner = &awaited;
	ph_op_start(op);
	wait_for_completion(&awaited.done);
	flush_workqueue(instance->host->op_wq);
	ph_op_free(op);
	KUNIT_EXPECT_EQ(test, awaited.calls, 1u);
	KUNIT_EXPECT_FALSE(test, awaited.atomic);
	return awaited.result;
}
