// SPDX-License-Identifier: GPL-2.0
#include "map_probe.h"

#include <new>

#include "../../src/core/map/map.h"

namespace {

using ploop::FileCluster;
using ploop::DeltaId;
using ploop::Map;
using ploop::MapState;
using ploop::MapWord;
using ploop::VirtualCluster;

static_assert(sizeof(Map) <= sizeof(ploop_map_probe) && alignof(Map) <= alignof(ploop_map_probe));
static_assert(ploop::kBatPageEntries == PLOOP_MAP_PAGE_ENTRIES);
static_assert(ploop::kHeaderSlots == PLOOP_MAP_HEADER_ENTRIES);

Map &map_of(ploop_map_probe *probe)
{
	return *reinterpret_cast<Map *>(probe->room);
}

const Map &map_of(const ploop_map_probe *probe)
{
	return *reinterpret_cast<const Map *>(probe->room);
}

} // namespace

extern "C" {

void ploop_map_probe_init(ploop_map_probe *probe)
{
	new (probe->room) Map;
}

void ploop_map_probe_exit(ploop_map_probe *probe)
{
	map_of(probe).~Map();
}

int ploop_map_probe_allocate(ploop_map_probe *probe, uint32_t entries)
{
	return map_of(probe).allocate(entries).code();
}

void ploop_map_probe_swap(ploop_map_probe *probe, ploop_map_probe *other)
{
	map_of(probe).swap(map_of(other));
}

uint32_t ploop_map_probe_pages(const ploop_map_probe *probe)
{
	return map_of(probe).pages();
}

void ploop_map_probe_publish(ploop_map_probe *probe, uint32_t cluster, uint8_t level,
			     uint32_t index)
{
	map_of(probe).set(VirtualCluster(cluster),
			  MapWord::at(MapState::durable, DeltaId(level), FileCluster(index)));
}

void ploop_map_probe_prepare(ploop_map_probe *probe, uint32_t cluster, uint32_t slot)
{
	map_of(probe).set(VirtualCluster(cluster), MapWord{}.with_slot(static_cast<uint8_t>(slot)));
}

void ploop_map_probe_unmap(ploop_map_probe *probe, uint32_t cluster)
{
	map_of(probe).set(VirtualCluster(cluster), MapWord{});
}

uint32_t ploop_map_probe_get(const ploop_map_probe *probe, uint32_t cluster)
{
	const MapWord word = map_of(probe).get(VirtualCluster(cluster));

	return word.cluster.raw();
}

void ploop_map_probe_copy_page(ploop_map_probe *probe, uint32_t page, uint8_t level,
			       uint32_t entries[PLOOP_MAP_PAGE_ENTRIES])
{
	map_of(probe).copy_page(page, DeltaId(level), entries);
}

void ploop_map_probe_announce(ploop_map_probe *probe, uint32_t cluster, uint32_t index,
			      uint32_t *data)
{
	__atomic_store_n(data, index, __ATOMIC_RELAXED);
	ploop_map_probe_publish(probe, cluster, 0, index);
}

uint32_t ploop_map_probe_follow(const ploop_map_probe *probe, uint32_t cluster,
				const uint32_t *data, uint32_t *seen)
{
	const uint32_t index = ploop_map_probe_get(probe, cluster);

	*seen = __atomic_load_n(data, __ATOMIC_RELAXED);
	return index;
}

} // extern "C"
