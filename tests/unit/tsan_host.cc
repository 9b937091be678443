// SPDX-License-Identifier: GPL-2.0
// The part of the contract that the lockless protocols need, for the tests
// under ThreadSanitizer: with no more order than the contract promises.
#include "ploop/host.h"

bool ph_list_push(ploop_list *list, ploop_node *node)
{
	ploop_node *first = __atomic_load_n(&list->first, __ATOMIC_RELAXED);
	do
		node->next = first;
	while (!__atomic_compare_exchange_n(&list->first, &first, node, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
	return first == nullptr;
}

ploop_node *ph_list_take(ploop_list *list)
{
	return __atomic_exchange_n(&list->first, nullptr, __ATOMIC_ACQUIRE);
}
