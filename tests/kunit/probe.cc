// SPDX-License-Identifier: GPL-2.0
#include "probe.h"

#include <new>

#include "../../src/core/base/atomics.h"
#include "../../src/core/nospace/event.h"
#include "../../src/core/nospace/park.h"

namespace {

using Lot = ploop::ParkLot<ploop::HostAtomics, ploop_node>;
using Events = ploop::EventCount<ploop::HostAtomics>;
using Number = ploop::Atomic<uint64_t>;

static_assert(sizeof(Lot) <= sizeof(ploop_park_probe) && alignof(Lot) <= alignof(ploop_park_probe));
static_assert(sizeof(Events) <= sizeof(ploop_event_probe) &&
	      alignof(Events) <= alignof(ploop_event_probe));
static_assert(sizeof(Number) <= sizeof(ploop_atomic_probe) &&
	      alignof(Number) <= alignof(ploop_atomic_probe));

Lot &lot_of(ploop_park_probe *probe)
{
	return *reinterpret_cast<Lot *>(probe->room);
}

Events &events_of(ploop_event_probe *probe)
{
	return *reinterpret_cast<Events *>(probe->room);
}

Number &number_of(ploop_atomic_probe *probe)
{
	return *reinterpret_cast<Number *>(probe->room);
}

struct Reply {
	bool fits;

	Reply &operator<<(const char *) { return *this; }
	bool has_spare() const { return fits; }
};

} // namespace

extern "C" {

void ploop_park_probe_init(ploop_park_probe *probe)
{
	new (probe->room) Lot;
}

bool ploop_park_probe_park(ploop_park_probe *probe, ploop_node *node)
{
	return lot_of(probe).park(node);
}

ploop_node *ploop_park_probe_be_attentive(ploop_park_probe *probe)
{
	return lot_of(probe).be_attentive();
}

void ploop_park_probe_be_quiet(ploop_park_probe *probe)
{
	lot_of(probe).be_quiet();
}

ploop_node *ploop_park_probe_take(ploop_park_probe *probe)
{
	return lot_of(probe).take();
}

void ploop_event_probe_init(ploop_event_probe *probe)
{
	new (probe->room) Events;
}

void ploop_event_probe_raise(ploop_event_probe *probe)
{
	events_of(probe).raise();
}

uint64_t ploop_event_probe_raised(ploop_event_probe *probe)
{
	return events_of(probe).raised();
}

uint64_t ploop_event_probe_acknowledged(ploop_event_probe *probe)
{
	return events_of(probe).acknowledged();
}

bool ploop_event_probe_tell(ploop_event_probe *probe, bool fits)
{
	const ploop::EventLine<ploop::HostAtomics> lines[] = {{events_of(probe), "event\n"}};
	Reply reply{fits};

	return ploop::tell_events(lines, reply);
}

void ploop_atomic_probe_init(ploop_atomic_probe *probe)
{
	new (probe->room) Number;
}

void ploop_atomic_probe_add(ploop_atomic_probe *probe, uint64_t by)
{
	number_of(probe).add_relaxed(by);
}

uint64_t ploop_atomic_probe_take(ploop_atomic_probe *probe)
{
	return number_of(probe).exchange_acquire(0);
}

} // extern "C"
