// SPDX-License-Identifier: GPL-2.0
// The arguments of a table line:
//	<cluster_log> [<option>...] <delta>...
#pragma once

#include "base/text.h"
#include "format/format.h"

namespace ploop {

struct Options {
	uint64_t skip_sectors = 0; // off=
	bool fallocate_new = false;
	bool no_blkcg = false;
	uint32_t retry_ms = 100; // first delay of a probe
	uint32_t timeout_s = 0;	 // how long a request waits for space; 0: for ever
	bool error_if_no_space = false;
	uint32_t low_water_mib = 0; // 0: no event
};

struct TableLine {
	Geometry geometry;
	Options options;
	unsigned int nr_deltas = 0;
	char **deltas = nullptr; // points into the arguments
};

// One delta as the line names it.
struct DeltaName {
	const char *path = nullptr; // absolute, or NULL: then
	int fd = -1;
	bool raw = false;
};

constexpr uint32_t kRetryMsMax = 60000;
constexpr uint32_t kTimeoutSMax = 86400 * 365;
constexpr uint32_t kLowWaterMibMax = 1u << 30;

// Parses the arguments; an error names the word. The result points into @argv.
Status parse_table_line(unsigned int argc, char **argv, TableLine &line, Text &error);
Status parse_delta(const char *word, DeltaName &name, Text &error);

} // namespace ploop
