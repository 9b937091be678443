// SPDX-License-Identifier: GPL-2.0
// Table lines: every option, every limit, and the texts about bad words.
#include <sstream>

#include "core/format/table_line.h"
#include "unit/words.h"

namespace ploop {

namespace {

// A line split into words as the kernel does it.
struct Line {
	explicit Line(const std::string &text)
	{
		std::istringstream in(text);
		for (std::string word; in >> word;)
			words.push_back(word);
		for (std::string &word : words)
			argv.push_back(word.data());
		status = parse_table_line(static_cast<unsigned int>(argv.size()), argv.data(), line,
					  error.text);
	}

	std::vector<std::string> words;
	std::vector<char *> argv;
	TableLine line;
	ErrorText error;
	Status status;
};

void bad(const std::string &text, const std::vector<std::string> &words)
{
	const Line line(text);
	expect_error(line.status, line.error, kEINVAL, words);
}

struct Delta {
	explicit Delta(const char *word) : status(parse_delta(word, name, error.text)) {}

	DeltaName name;
	ErrorText error;
	Status status;
};

struct NumberOption {
	const char *name;
	uint64_t low;
	uint64_t high;
	uint64_t (*value)(const Options &options);
};

const NumberOption kNumberOptions[] = {
	{"off=", 0, uint64_t{1} << 54, [](const Options &o) { return o.skip_sectors; }},
	{"enospc_retry_ms=", 1, kRetryMsMax, [](const Options &o) { return uint64_t{o.retry_ms}; }},
	{"enospc_timeout_s=", 0, kTimeoutSMax,
	 [](const Options &o) { return uint64_t{o.timeout_s}; }},
	{"low_water=", 0, kLowWaterMibMax,
	 [](const Options &o) { return uint64_t{o.low_water_mib}; }},
};

} // namespace

TEST(TableLine, Defaults)
{
	const Line line("11 /image");
	expect_good(line.status, line.error);
	EXPECT_EQ(line.line.geometry.cluster_sectors(), 2048u);
	EXPECT_EQ(line.line.nr_deltas, 1u);
	EXPECT_STREQ(line.line.deltas[0], "/image");
	EXPECT_EQ(line.line.options.skip_sectors, 0u);
	EXPECT_FALSE(line.line.options.fallocate_new);
	EXPECT_FALSE(line.line.options.error_if_no_space);
	EXPECT_EQ(line.line.options.retry_ms, 100u);
	EXPECT_EQ(line.line.options.timeout_s, 0u);
	EXPECT_EQ(line.line.options.low_water_mib, 0u);
}

TEST(TableLine, AllOptionsInAnyOrder)
{
	for (const char *text :
	     {"6 falloc_new_clu nokblkcg off=8 enospc_retry_ms=250 enospc_timeout_s=60 "
	      "error_if_no_space low_water=512 /base /top",
	      "6 low_water=512 error_if_no_space enospc_timeout_s=60 enospc_retry_ms=250 off=8 "
	      "nokblkcg falloc_new_clu /base /top"}) {
		const Line line(text);
		expect_good(line.status, line.error);
		EXPECT_TRUE(line.line.options.fallocate_new);
		EXPECT_TRUE(line.line.options.no_blkcg);
		EXPECT_TRUE(line.line.options.error_if_no_space);
		EXPECT_EQ(line.line.options.skip_sectors, 8u);
		EXPECT_EQ(line.line.options.retry_ms, 250u);
		EXPECT_EQ(line.line.options.timeout_s, 60u);
		EXPECT_EQ(line.line.options.low_water_mib, 512u);
		EXPECT_EQ(line.line.nr_deltas, 2u);
		EXPECT_STREQ(line.line.deltas[1], "/top");
	}
}

TEST(TableLine, TooFewWords)
{
	bad("", {"<cluster_log>", "only 0 given"});
	bad("6", {"<cluster_log>", "only 1 given"});
	bad("6 nokblkcg", {"no delta"});
	bad("6 off=1 falloc_new_clu", {"no delta"});
}

TEST(TableLine, ClusterLog)
{
	for (unsigned int log = kClusterLogMin; log <= kClusterLogMax; log++)
		EXPECT_TRUE(Line(std::to_string(log) + " 3").status.ok());
	for (const char *word : {"5", "18", "0", "4294967302", "18446744073709551622", "-6", "+6",
				 "0x6", "6.0", "six", "/image"})
		bad(std::string(word) + " 3", {"cluster_log is " + std::string(word), "6 to 17"});
}

TEST(TableLine, NumberOptionsAtTheirLimits)
{
	for (const NumberOption &option : kNumberOptions) {
		for (uint64_t value : {option.low, option.low + 1, option.high - 1, option.high}) {
			const Line line("6 " + (option.name + std::to_string(value)) + " 3");
			expect_good(line.status, line.error);
			EXPECT_EQ(option.value(line.line.options), value) << option.name;
		}
		std::vector<std::string> values = {std::to_string(option.high + 1),
						   "18446744073709551615",
						   "18446744073709551616",
						   "99999999999999999999999",
						   "",
						   "-1",
						   "+1",
						   "0x1",
						   "1s",
						   "1,2",
						   "=1"};
		if (option.low > 0)
			values.push_back(std::to_string(option.low - 1));
		for (const std::string &value : values) {
			const std::string word = option.name + value;
			bad("6 " + word + " 3",
			    {"option " + word, "from " + std::to_string(option.low),
			     "to " + std::to_string(option.high)});
		}
	}
}

TEST(TableLine, TheLastOfTwoWins)
{
	const Line line("6 off=1 off=2 3");
	EXPECT_TRUE(line.status.ok());
	EXPECT_EQ(line.line.options.skip_sectors, 2u);
}

TEST(TableLine, UnknownOptions)
{
	for (const char *word : {"foo", "off", "OFF=1", "falloc_new_clu=1", "nokblkcgx", "off:1",
				 "image.hds", "./image", "raw@", "raw@image", "RAW@/image", "-1",
				 "error_if_no_space=1", "=", "@/x", "raw@raw@/x"})
		bad("6 " + std::string(word) + " 3", {"unknown option " + std::string(word)});
}

TEST(TableLine, ALongWordIsCutNotOverrun)
{
	const Line line("6 " + std::string(5000, 'x') + " 3");
	EXPECT_EQ(line.status.code(), -kEINVAL);
	EXPECT_TRUE(line.error.text.was_cut());
	EXPECT_EQ(line.error.str().size(), PLOOP_ERROR_BYTES - 1);
	EXPECT_EQ(line.error.str().substr(0, 16), "unknown option x");
}

TEST(TableLine, WhatFollowsTheFirstDeltaIsADelta)
{
	const Line line("6 3 off=1 nonsense");
	EXPECT_TRUE(line.status.ok());
	EXPECT_EQ(line.line.nr_deltas, 3u);
	EXPECT_EQ(line.line.options.skip_sectors, 0u);
	const Delta delta("nonsense");
	expect_error(delta.status, delta.error, kEINVAL, {"delta nonsense"});
}

TEST(TableLine, Deltas)
{
	const Delta fd("12");
	EXPECT_TRUE(fd.status.ok());
	EXPECT_EQ(fd.name.fd, 12);
	EXPECT_EQ(fd.name.path, nullptr);
	EXPECT_FALSE(fd.name.raw);

	const Delta path("/a/b c");
	EXPECT_TRUE(path.status.ok());
	EXPECT_STREQ(path.name.path, "/a/b c");
	EXPECT_EQ(path.name.fd, -1);

	const Delta raw_fd("raw@0");
	EXPECT_TRUE(raw_fd.status.ok());
	EXPECT_EQ(raw_fd.name.fd, 0);
	EXPECT_TRUE(raw_fd.name.raw);

	const Delta raw_path("raw@/base");
	EXPECT_TRUE(raw_path.status.ok());
	EXPECT_STREQ(raw_path.name.path, "/base");
	EXPECT_TRUE(raw_path.name.raw);

	EXPECT_TRUE(Delta("2147483647").status.ok());
	for (const char *word : {"2147483648", "4294967296", "18446744073709551616", "", "1x", "-1",
				 " 1", "off=1", "relative/path"}) {
		const Delta delta(word);
		expect_error(delta.status, delta.error, kEINVAL, {"delta " + std::string(word)});
	}
}

} // namespace ploop
