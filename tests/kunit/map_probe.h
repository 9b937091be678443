/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The core's map, as it ships, for suites in C.
 */
#ifndef PLOOP_KUNIT_MAP_PROBE_H
#define PLOOP_KUNIT_MAP_PROBE_H

#include "ploop/types.h"

PLOOP_BEGIN_C

/* Entries of one page of the map, the header's room in the first one included. */
#define PLOOP_MAP_PAGE_ENTRIES 1024u
#define PLOOP_MAP_HEADER_ENTRIES 16u

/* A Map of src/core/map/map.h. */
struct ploop_map_probe {
	uint64_t room[3];
};

void ploop_map_probe_init(struct ploop_map_probe *probe);
/* Gives its memory back. */
void ploop_map_probe_exit(struct ploop_map_probe *probe);
/* 0, or a negative errno. */
int ploop_map_probe_allocate(struct ploop_map_probe *probe, uint32_t entries);
void ploop_map_probe_swap(struct ploop_map_probe *probe, struct ploop_map_probe *other);
uint32_t ploop_map_probe_pages(const struct ploop_map_probe *probe);
/* The three states of a cluster. */
void ploop_map_probe_publish(struct ploop_map_probe *probe, uint32_t cluster, uint8_t level,
			     uint32_t index);
void ploop_map_probe_prepare(struct ploop_map_probe *probe, uint32_t cluster, uint32_t slot);
void ploop_map_probe_unmap(struct ploop_map_probe *probe, uint32_t cluster);
/* What the cluster is mapped to, or 0. */
uint32_t ploop_map_probe_get(const struct ploop_map_probe *probe, uint32_t cluster);
void ploop_map_probe_copy_page(struct ploop_map_probe *probe, uint32_t page, uint8_t level,
			       uint32_t entries[PLOOP_MAP_PAGE_ENTRIES]);

/*
 * Writes @index to @data and then publishes it for @cluster; reads what the
 * cluster is mapped to, or 0, and then what @data has. Here, so that the
 * compiler sees the two accesses of each side together, as it does in the core,
 * and may put them in any order that the map allows.
 */
void ploop_map_probe_announce(struct ploop_map_probe *probe, uint32_t cluster, uint32_t index,
			      uint32_t *data);
uint32_t ploop_map_probe_follow(const struct ploop_map_probe *probe, uint32_t cluster,
				const uint32_t *data, uint32_t *seen);

PLOOP_END_C

#endif
