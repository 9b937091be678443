/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What both contracts share: fixed-width types, and the errors that cross them.
 *
 * Errors cross as negative errno values of Linux, whatever the host is.
 */
#ifndef PLOOP_TYPES_H
#define PLOOP_TYPES_H

#if defined(__KERNEL__) && !defined(__cplusplus)
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
#define PLOOP_ASSERT static_assert
#define PLOOP_BEGIN_C extern "C" {
#define PLOOP_END_C }
#else
#define PLOOP_ASSERT _Static_assert
#define PLOOP_BEGIN_C
#define PLOOP_END_C
#endif

/* One sector of the block layer, in bytes. */
#define PLOOP_SECTOR_BYTES 512u
#define PLOOP_SECTOR_SHIFT 9u

/*
 * A link of a lockless list. On Linux it has the layout of struct llist_node,
 * and struct ploop_list that of struct llist_head; the Linux side asserts it.
 */
struct ploop_node {
	struct ploop_node *next;
};

struct ploop_list {
	struct ploop_node *first;
};

struct ploop_core; /* the core's side of one target instance */
struct ploop_host; /* the host's side of the same instance */
struct ploop_file; /* an open delta, owned by the host */

#endif
