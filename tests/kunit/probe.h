/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The core's lockless protocols and atomic words, as they ship, for suites in C.
 */
#ifndef PLOOP_KUNIT_PROBE_H
#define PLOOP_KUNIT_PROBE_H

#include "ploop/types.h"

PLOOP_BEGIN_C

/* A ParkLot of src/core/park.h. */
struct ploop_park_probe {
	uint64_t room[2];
};

void ploop_park_probe_init(struct ploop_park_probe *probe);
bool ploop_park_probe_park(struct ploop_park_probe *probe, struct ploop_node *node);
struct ploop_node *ploop_park_probe_be_attentive(struct ploop_park_probe *probe);
void ploop_park_probe_be_quiet(struct ploop_park_probe *probe);
struct ploop_node *ploop_park_probe_take(struct ploop_park_probe *probe);

/* An EventCount of src/core/event.h, and a read of it. */
struct ploop_event_probe {
	uint64_t room[2];
};

void ploop_event_probe_init(struct ploop_event_probe *probe);
void ploop_event_probe_raise(struct ploop_event_probe *probe);
uint64_t ploop_event_probe_raised(struct ploop_event_probe *probe);
uint64_t ploop_event_probe_acknowledged(struct ploop_event_probe *probe);
/* True if there was a reply; it is lost unless it @fits. */
bool ploop_event_probe_tell(struct ploop_event_probe *probe, bool fits);

/* An Atomic of src/core/atomics.h, to which many add and from which one takes. */
struct ploop_atomic_probe {
	uint64_t room[1];
};

void ploop_atomic_probe_init(struct ploop_atomic_probe *probe);
void ploop_atomic_probe_add(struct ploop_atomic_probe *probe, uint64_t by);
uint64_t ploop_atomic_probe_take(struct ploop_atomic_probe *probe);

PLOOP_END_C

#endif
