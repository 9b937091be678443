/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Makes images, and checks them. It shares nothing with the core, on purpose.
 *
 * Header, 64 bytes, little endian: 0 signature[16], 16 type, 20 heads, 24 cylinders,
 * 28 cluster sectors, 32 BAT entries, 36 u64 size in sectors, 44 in use, 48 first block in
 * sectors, 52 flags, 56 u64 extension offset in sectors; the others u32. The BAT is at 64.
 */
#ifndef TESTS_SIM_IMAGE_H
#define TESTS_SIM_IMAGE_H

#include "sim/host.h"

namespace sim {

constexpr uint32_t IMAGE_IN_USE = 0x746F6E59;

struct ImageSpec {
	uint32_t cluster_sectors = 64; /* 32 KiB */
	uint32_t entries = 256;
	uint64_t sectors = 0; /* 0: entries * cluster_sectors */
	uint32_t in_use = 0;
	uint32_t flags = 0;
	uint64_t extension = 0;
	std::map<uint32_t, uint32_t> bat = {}; /* virtual cluster -> file cluster */
	uint32_t file_clusters = 0;            /* 0: what the BAT needs */

	uint64_t cluster_bytes() const { return uint64_t(cluster_sectors) * SECTOR; }
	/* Clusters that the header and the BAT take: the first that holds data. */
	uint32_t head_clusters() const;
	uint64_t virtual_sectors() const
	{
		return sectors ? sectors : uint64_t(entries) * cluster_sectors;
	}
};

/* Adds the file @path with this image; clusters that the BAT names read as zeros. */
File &add_image(World &world, const std::string &path, const ImageSpec &spec);

struct ImageReport {
	std::vector<std::string> problems; /* of a suspended, or crashed, image */
	std::vector<std::string> unclean;  /* what only a clean suspend puts right */
	std::vector<uint32_t> bat;
	uint32_t cluster_sectors = 0;
	uint32_t head_clusters = 0;
	uint32_t in_use = 0;
	uint64_t used = 0;       /* entries that are not 0 */
	uint64_t leaked = 0;     /* clusters of the file that no entry names */
	uint64_t leaked_end = 0; /* of those, the ones after the last that is named */

	bool ok() const { return problems.empty(); }
	bool clean() const { return ok() && unclean.empty(); }
	std::string text() const;
};

ImageReport check_image(const Image &image);

/* What the image alone says of the data of some virtual sectors, without a lower delta. */
std::vector<uint8_t> read_image(const Image &image, uint64_t sector, uint32_t sectors);

} /* namespace sim */

#endif
