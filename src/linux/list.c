// SPDX-License-Identifier: GPL-2.0
/*
 * The lockless list is the kernel's own, under the contract's names.
 */
#include <linux/llist.h>

#include "internal.h"

static_assert(sizeof(struct ploop_node) == sizeof(struct llist_node));
static_assert(offsetof(struct ploop_node, next) == offsetof(struct llist_node, next));
static_assert(sizeof(struct ploop_list) == sizeof(struct llist_head));
static_assert(offsetof(struct ploop_list, first) == offsetof(struct llist_head, first));

bool ph_list_push(struct ploop_list *list, struct ploop_node *node)
{
	return llist_add((struct llist_node *)node, (struct llist_head *)list);
}

struct ploop_node *ph_list_take(struct ploop_list *list)
{
	return (struct ploop_node *)llist_del_all((struct llist_head *)list);
}
