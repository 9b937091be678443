// SPDX-License-Identifier: GPL-2.0
/*
 * Direct I/O for what is not aligned as the file wants it: whole blocks are read,
 * changed in memory of our own, and written.
 *
 * Not through the page cache, because it and direct I/O do not see each other in
 * time: a page that readahead took while a direct write was on its way stays old,
 * and a later write of a part of it would put the old rest back on the disk.
 */
#include <linux/slab.h>
#include <linux/uio.h>

#include "internal.h"

/*
 * Moves @bytes between @pos of the file and @from of the memory, all aligned. A
 * block that is read to be written again goes through the memory for writing.
 */
static ssize_t ploop_bounce_direct(struct ploop_file *file, struct ploop_bounce *bounce,
				   unsigned int direction, loff_t pos, size_t from, size_t bytes,
				   int ki_flags)
{
	struct bio_vec bvecs[PLOOP_BUFFER_PIECES];
	struct iov_iter iter;

	iov_iter_bvec(&iter, direction, bvecs,
		      ploop_buffer_map(bounce->memory + from, bytes, bvecs), bytes);
	return ploop_file_rw(file, &pos, &iter, IOCB_DIRECT | ki_flags);
}

int ploop_bounce_init(struct ploop_host *host)
{
	static struct lock_class_key keys[ARRAY_SIZE(host->bounces)];
	int i;

	for (i = 0; i < ARRAY_SIZE(host->bounces); i++) {
		struct ploop_bounce *bounce = &host->bounces[i];

		mutex_init(&bounce->lock);
		lockdep_set_class(&bounce->lock, &keys[i]);
		/* Kept ready, for a request whose end somebody waits for to get memory. */
		bounce->memory = ph_alloc(PLOOP_ALLOC_MAX);
		if (!bounce->memory) {
			ploop_bounce_exit(host);
			return -ENOMEM;
		}
	}
	return 0;
}

void ploop_bounce_exit(struct ploop_host *host)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(host->bounces); i++)
		ph_free(host->bounces[i].memory);
}

/*
 * Another error of this read comes again with the next one; or it was that of an
 * earlier write, told once, and ploop_unsynced_error() finds it.
 */
void ploop_bounce_probe(struct ploop_file *file)
{
	struct ploop_bounce *bounce = &file->host->bounces[READ];
	ssize_t ret;

	if (!file->dio_align || !(file->file->f_mode & FMODE_READ))
		return;
	mutex_lock(&bounce->lock);
	ret = ploop_bounce_direct(file, bounce, ITER_DEST, 0, 0, file->dio_align, 0);
	mutex_unlock(&bounce->lock);
	if (ret == -EINVAL || ret == -EOPNOTSUPP)
		file->dio_align = 0;
}

/* Reads the block of which a write leaves a part as it is. */
static ssize_t ploop_bounce_keep(struct ploop_file *file, struct ploop_bounce *bounce,
				 loff_t start, size_t from)
{
	ssize_t ret = ploop_bounce_direct(file, bounce, ITER_DEST, start + from, from,
					  file->dio_align, 0);

	if (ret < 0)
		return ret;
	return ret == file->dio_align ? 0 : -EIO;
}

/* Writes @bytes at @head of the blocks from @start on, @whole bytes in all. */
static ssize_t ploop_bounce_write(struct ploop_file *file, struct ploop_bounce *bounce,
				  loff_t start, size_t head, size_t bytes, struct iov_iter *data,
				  int ki_flags)
{
	const size_t whole = round_up(head + bytes, file->dio_align);
	const bool part = whole != bytes;
	ssize_t ret = 0;

	/* From before the blocks are read until they are written. */
	if (part)
		ploop_part_begin(file, start, whole);
	if (head)
		ret = ploop_bounce_keep(file, bounce, start, 0);
	if (!ret && whole > head + bytes && (!head || whole > file->dio_align))
		ret = ploop_bounce_keep(file, bounce, start, whole - file->dio_align);
	if (!ret && copy_from_iter(bounce->memory + head, bytes, data) != bytes)
		ret = -EFAULT;
	if (!ret)
		ret = ploop_bounce_direct(file, bounce, ITER_SOURCE, start, 0, whole, ki_flags);
	if (part)
		ploop_part_end(file);
	if (ret <= (ssize_t)head)
		return ret < 0 ? ret : 0;
	return min_t(ssize_t, ret - head, bytes);
}

static ssize_t ploop_bounce_read(struct ploop_file *file, struct ploop_bounce *bounce,
				 loff_t start, size_t head, size_t bytes, struct iov_iter *data)
{
	ssize_t ret = ploop_bounce_direct(file, bounce, ITER_DEST, start, 0,
					  round_up(head + bytes, file->dio_align), 0);

	if (ret <= (ssize_t)head)
		return ret < 0 ? ret : 0;
	return copy_to_iter(bounce->memory + head, min_t(size_t, ret - head, bytes), data);
}

ssize_t ploop_bounce_rw(struct ploop_file *file, loff_t *pos, struct iov_iter *data,
			int ki_flags)
{
	struct ploop_bounce *bounce = &file->host->bounces[iov_iter_rw(data)];
	ssize_t done = 0;
	ssize_t ret;
	size_t bytes;

	/* Of writes also because two parts of one block must not both begin with the old one. */
	mutex_lock(&bounce->lock);
	do {
		const loff_t start = round_down(*pos, (loff_t)file->dio_align);
		const size_t head = *pos - start;

		bytes = min_t(size_t, iov_iter_count(data), PLOOP_ALLOC_MAX - head);
		if (iov_iter_rw(data) == WRITE)
			ret = ploop_bounce_write(file, bounce, start, head, bytes, data,
						 ki_flags);
		else
			ret = ploop_bounce_read(file, bounce, start, head, bytes, data);
		if (ret > 0) {
			done += ret;
			*pos += ret;
		}
	} while (ret == bytes && iov_iter_count(data));
	mutex_unlock(&bounce->lock);
	return done ? done : ret;
}
