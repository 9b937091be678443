/* SPDX-License-Identifier: GPL-2.0 */
/* How much memory a constructor may take, whatever its image claims. */
#ifndef TESTS_FUZZ_MEMORY_BOUND_H
#define TESTS_FUZZ_MEMORY_BOUND_H

#include <algorithm>
#include <cstdint>

/*
 * Bytes, for a table of @sectors, those skipped with off= included, in clusters of
 * 2^@log sectors: follows from the table alone, what the image says is no excuse.
 */
inline uint64_t memory_bound(uint64_t sectors, uint32_t log)
{
	const uint64_t wanted = (sectors >> log) + 1;
	const uint64_t claims = std::max<uint64_t>(65536, 64 * (wanted + 1));
	const uint64_t map_bytes = 8 * (wanted + 1024 + 16);
	const uint64_t bitmap_bytes = 2 * (3 * claims + 4096) / 8;
	const uint64_t fixed_bytes = 512 << 10;

	/* No table of the kernel's is so long: nothing may be taken for it. */
	if (sectors >= uint64_t{1} << 54)
		return fixed_bytes;
	return fixed_bytes + map_bytes + bitmap_bytes;
}

#endif
