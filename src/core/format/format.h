// SPDX-License-Identifier: GPL-2.0
// The image format on disk (expandable, version 2), little endian:
//
//	offset 0   header, 64 bytes
//	offset 64  BAT: one u32 per virtual cluster, 0 or the number of the file's
//	           cluster that holds it; zeros up to the next cluster
//	then       data clusters
//
// Public description: docs/interop/parallels.rst of QEMU.
#pragma once

#include <bit>

#include "base/text.h"
#include "base/types.h"

namespace ploop {

static_assert(std::endian::native == std::endian::little,
	      "a big endian machine needs byte swaps in to_le32() and friends");
constexpr uint32_t to_le32(uint32_t value)
{
	return value;
}
constexpr uint32_t from_le32(uint32_t value)
{
	return value;
}

struct Header {
	char signature[16];
	uint32_t type;
	uint32_t heads;
	uint32_t cylinders;
	uint32_t cluster_sectors;
	uint32_t entries;
	uint32_t size_sectors_low;
	uint32_t size_sectors_high;
	uint32_t in_use;
	uint32_t first_block_sectors;
	uint32_t flags;
	uint32_t extension_sectors_low;
	uint32_t extension_sectors_high;

	uint64_t size_sectors() const
	{
		return uint64_t{size_sectors_high} << 32 | size_sectors_low;
	}
	uint64_t extension_sectors() const
	{
		return uint64_t{extension_sectors_high} << 32 | extension_sectors_low;
	}
};

constexpr uint32_t kHeaderBytes = 64;
constexpr uint32_t kInUseOffset = 44;
static_assert(sizeof(Header) == kHeaderBytes);
static_assert(offsetof(Header, in_use) == kInUseOffset);

constexpr uint32_t kInUse = 0x746f6e59;
constexpr uint32_t kClosed = 0;

constexpr uint32_t kClusterLogMin = 6;	// 32 KiB, log2 of sectors
constexpr uint32_t kClusterLogMax = 17; // 64 MiB

constexpr uint32_t kBatPageBytes = 4096;
constexpr uint32_t kBatPageEntries = kBatPageBytes / 4;
constexpr uint32_t kHeaderSlots = kHeaderBytes / 4;

// Where an entry lies, counted in u32 from the start of the file.
constexpr size_t bat_slot_of(VirtualCluster cluster)
{
	return size_t{cluster.raw()} + kHeaderSlots;
}
constexpr uint32_t bat_page_of(VirtualCluster cluster)
{
	return static_cast<uint32_t>(bat_slot_of(cluster) / kBatPageEntries);
}

// The sizes of a cluster, and the ways between sectors, bytes and clusters.
class Geometry {
public:
	constexpr Geometry() = default;
	constexpr explicit Geometry(uint32_t cluster_log) : log_(cluster_log) {}
	constexpr uint32_t cluster_sectors() const { return 1u << log_; }
	constexpr uint32_t cluster_bytes() const { return cluster_sectors() << 9; }
	constexpr VirtualCluster cluster_of(uint64_t sector) const
	{
		return VirtualCluster(static_cast<uint32_t>(sector >> log_));
	}
	constexpr uint32_t sector_in_cluster(uint64_t sector) const
	{
		return static_cast<uint32_t>(sector & (cluster_sectors() - 1));
	}
	constexpr uint64_t offset_of(FileCluster cluster) const
	{
		return uint64_t{cluster.raw()} << (log_ + 9);
	}
	constexpr uint64_t clusters_in(uint64_t bytes) const { return bytes >> (log_ + 9); }
	constexpr uint64_t clusters_for_sectors(uint64_t sectors) const
	{
		return ceil_div<uint64_t>(sectors, cluster_sectors());
	}
	// How many clusters the header and a BAT of @entries take.
	constexpr uint32_t bat_clusters(uint32_t entries) const
	{
		return static_cast<uint32_t>(
			ceil_div<uint64_t>(kHeaderBytes + uint64_t{entries} * 4, cluster_bytes()));
	}

private:
	uint32_t log_ = kClusterLogMin;
};

// An image may claim this many times the clusters that its table uses, if it
// claims more than kClaimAlways: a claim costs time and memory.
constexpr uint64_t kClaimFactor = 64;
constexpr uint64_t kClaimAlways = 65536;

// What the table wants of an image.
struct ImageDemand {
	Geometry geometry;
	uint64_t sectors; // virtual size that must be there: offset and length of the table
	uint64_t file_bytes;
	bool block_device;
};

// Is this header one that we serve? Otherwise a text that names field and value.
Status check_header(const Header &header, const ImageDemand &demand, Text &error);

// Is the entry, as read from disk, in range? Zero (a hole) is not asked about.
Status check_entry(uint32_t entry, uint64_t virtual_cluster, uint32_t bat_clusters,
		   uint64_t file_clusters, Text &error);

} // namespace ploop
