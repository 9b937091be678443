// SPDX-License-Identifier: GPL-2.0
#include "format/table_line.h"

namespace ploop {

namespace {

constexpr uint64_t kSectorsMax = uint64_t{1} << 54; // no device is larger
constexpr uint64_t kFdMax = 0x7fffffff;

enum class Word : uint8_t { option, bad, delta };

bool is_delta(const char *word)
{
	if (text_starts(word, "raw@"))
		word += 4;
	return *word == '/' || (*word >= '0' && *word <= '9');
}

// Is the word an option with a number, and the number a good one?
Word number_option(const char *word, const char *name, uint64_t low, uint64_t high,
		   uint64_t &number, Text &error)
{
	const char *value = word;

	if (!text_starts(word, name))
		return Word::delta;
	for (; *name != '\0'; name++)
		value++;
	if (text_number(value, high, number) && number >= low)
		return Word::option;
	error << "option " << word << ": the value must be a number from " << low << " to " << high;
	return Word::bad;
}

Word parse_option(const char *word, Options &options, Text &error)
{
	uint64_t number = 0;

	if (is_delta(word))
		return Word::delta;
	if (text_equal(word, "falloc_new_clu")) {
		options.fallocate_new = true;
		return Word::option;
	}
	if (text_equal(word, "nokblkcg")) {
		options.no_blkcg = true;
		return Word::option;
	}
	if (text_equal(word, "error_if_no_space")) {
		options.error_if_no_space = true;
		return Word::option;
	}
	Word found = number_option(word, "off=", 0, kSectorsMax, number, error);
	if (found == Word::option)
		options.skip_sectors = number;
	if (found != Word::delta)
		return found;
	found = number_option(word, "enospc_timeout_s=", 0, kTimeoutSMax, number, error);
	if (found == Word::option)
		options.timeout_s = static_cast<uint32_t>(number);
	if (found != Word::delta)
		return found;
	found = number_option(word, "low_water=", 0, kLowWaterMibMax, number, error);
	if (found == Word::option)
		options.low_water_mib = static_cast<uint32_t>(number);
	if (found != Word::delta)
		return found;
	found = number_option(word, "enospc_retry_ms=", 1, kRetryMsMax, number, error);
	if (found == Word::option)
		options.retry_ms = static_cast<uint32_t>(number);
	if (found != Word::delta)
		return found;
	error << "unknown option " << word << ": a delta is a file descriptor or an absolute path";
	return Word::bad;
}

} // namespace

Status parse_table_line(unsigned int argc, char **argv, TableLine &line, Text &error)
{
	uint64_t log = 0;
	unsigned int i = 1;

	if (argc < 2) {
		error << "arguments are <cluster_log> [<option>...] <delta>..., but only " << argc
		      << " given";
		return Status::error(kEINVAL);
	}
	if (!text_number(argv[0], kClusterLogMax, log) || log < kClusterLogMin) {
		error << "cluster_log is " << argv[0] << ", must be " << kClusterLogMin << " to "
		      << kClusterLogMax;
		return Status::error(kEINVAL);
	}
	line.geometry = Geometry(static_cast<uint32_t>(log));

	for (; i < argc; i++) {
		const Word word = parse_option(argv[i], line.options, error);
		if (word == Word::bad)
			return Status::error(kEINVAL);
		if (word == Word::delta)
			break;
	}
	line.nr_deltas = argc - i;
	line.deltas = argv + i;
	if (line.nr_deltas == 0) {
		error << "no delta given: name the image's file descriptor or absolute path";
		return Status::error(kEINVAL);
	}
	return {};
}

Status parse_delta(const char *word, DeltaName &name, Text &error)
{
	uint64_t fd = 0;

	if (text_starts(word, "raw@")) {
		name.raw = true;
		word += 4;
	}
	if (*word == '/') {
		name.path = word;
		return {};
	}
	if (!text_number(word, kFdMax, fd)) {
		error << "delta " << word << " is neither a file descriptor nor an absolute path";
		return Status::error(kEINVAL);
	}
	name.fd = static_cast<int>(fd);
	return {};
}

} // namespace ploop
