// SPDX-License-Identifier: GPL-2.0
/*
 * Memory. Contiguous if it can be had, which makes one segment of it in I/O;
 * pieces of more than a page fall back to mapped pages. Both are aligned to a
 * page if their size is a multiple of one, and to a cache line if it is larger
 * than one: kmalloc() aligns powers of two to themselves, has no other sizes
 * between a page and two, and takes whole pages for what is larger.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "internal.h"

void *ph_alloc(size_t bytes)
{
	unsigned int noio;
	void *memory;

	if (WARN_ON_ONCE(bytes > PLOOP_ALLOC_MAX))
		return NULL;

	/* The scope covers page tables, too, which mapping needs and which take no flags. */
	noio = memalloc_noio_save();
	memory = kvzalloc(bytes, GFP_NOIO);
	memalloc_noio_restore(noio);
	return memory;
}

void ph_free(void *memory)
{
	kvfree(memory);
}
