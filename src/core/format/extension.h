// SPDX-License-Identifier: GPL-2.0
// The format extension: a cluster that the header points to, outside the BAT, with
// sections of features, little endian:
//
//	offset 0   magic, then the MD5 of all that follows the first 24 bytes
//	offset 24  sections: magic, flags, bytes of data, 4 unused bytes, the data,
//	           padded to 8 bytes; a magic of 0 ends them
//
// Public description: docs/interop/parallels.rst of QEMU.
#pragma once

#include "base/text.h"
#include "base/types.h"

namespace ploop {

struct ExtensionHeader {
	uint64_t magic;
	uint8_t md5[16];
};

struct FeatureHeader {
	uint64_t magic;
	uint64_t flags;
	uint32_t data_bytes;
	uint32_t unused;
};

static_assert(sizeof(ExtensionHeader) == 24);
static_assert(sizeof(FeatureHeader) == 24);

constexpr uint64_t kExtensionMagic = 0xAB234CEF23DCEA87;
constexpr uint64_t kFeatureDirtyBitmap = 0x20385FAE252CB34A;
constexpr uint64_t kFeatureNecessary = 1; // who does not know it may not write

// So many sections at most are looked at: each costs a read.
constexpr uint32_t kFeaturesMost = 64;

// From one section to the next.
constexpr uint64_t feature_bytes(const FeatureHeader &feature)
{
	return sizeof(FeatureHeader) + ceil_div<uint64_t>(feature.data_bytes, 8) * 8;
}

// May an image with this feature be written? Otherwise a text that names it.
Status check_feature(const FeatureHeader &feature, Text &error);

} // namespace ploop
