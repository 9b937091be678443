// SPDX-License-Identifier: GPL-2.0
// Fuzzes what people type: table lines, messages, and the numbers in both.
//
// Input: a byte that chooses sizes and states, then lines. The first is a table
// line, the others are messages to an instance that was made from a good one.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "core/format/table_line.h"
#include "fuzz/host.h"
#include "fuzz/tally.h"

namespace {

const char *const kOutcomes[] = {
	"table accepted",
	"message accepted",
	"message replied",
	"cluster_log is",
	"no delta",
	"only",
	"unknown option",
	"option off=",
	"option enospc_retry_ms=",
	"option enospc_timeout_s=",
	"option low_water=",
	"neither a file descriptor",
	"deltas given",
	"raw delta",
	"no such file",
	"no such open descriptor",
	"not opened for writing",
	"not opened for reading",
	"cluster size is",
	"EINVAL",
	"EOPNOTSUPP",
};
fuzz::Tally tally("line", kOutcomes, std::size(kOutcomes));

constexpr uint32_t kEntries = 100;
constexpr uint32_t kClusterSectors = 64;
constexpr size_t kRooms[] = {1, 2, 14, 15, 16, 64, 300, 4096};

// Words on the heap, each of exactly its length: one byte beyond is seen.
struct Words {
	Words(const char *from, const char *to)
	{
		while (from != to) {
			const char *const end = std::find(from, to, ' ');
			if (end != from)
				add(std::string(from, end));
			from = end == to ? to : end + 1;
		}
	}
	~Words()
	{
		for (char *word : argv)
			delete[] word;
	}
	void add(std::string word)
	{
		word = word.c_str(); // ends at the first NUL
		char *const copy = new char[word.size() + 1];
		memcpy(copy, word.c_str(), word.size() + 1);
		argv.push_back(copy);
	}
	unsigned int count() const { return unsigned(argv.size()); }

	std::vector<char *> argv;
};

void make_image(fuzz::File &file)
{
	uint8_t header[64] = "WithouFreSpacExt";
	const auto put = [&](size_t at, uint32_t value) { memcpy(header + at, &value, 4); };

	put(16, 2);
	put(28, kClusterSectors);
	put(32, kEntries);
	put(36, kEntries * kClusterSectors);
	put(48, kClusterSectors);
	file.size = 512 * kClusterSectors;
	file.write(0, header, sizeof(header));
	file.facts.id[0] = 1;
	file.facts.dio_align_bytes = 512;
	file.facts.fua = true;
	file.facts.zeros_honest = true;
}

int construct(ploop_host &host, unsigned int argc, char **argv, std::string &error)
{
	const ploop_table table = {kEntries * kClusterSectors, false};
	std::vector<char> text(PLOOP_ERROR_BYTES); // on the heap, for ASan
	ploop_limits limits = {};
	const int result =
		pc_construct(&host, &table, argc, argv, &limits, &host.core, text.data());

	FUZZ_EXPECT(strnlen(text.data(), text.size()) < text.size(), "a text without its end");
	error = text.data();
	return result;
}

// The same question, asked of the C library.
void check_number(const char *word)
{
	for (uint64_t max : {uint64_t{0}, uint64_t{1}, uint64_t{60000}, uint64_t{UINT32_MAX},
			     uint64_t{1} << 54, UINT64_MAX}) {
		uint64_t number = 0;
		const bool good = ploop::text_number(word, max, number);
		bool digits = *word != '\0';
		for (const char *c = word; *c != '\0'; c++)
			digits = digits && *c >= '0' && *c <= '9';
		errno = 0;
		const uint64_t expected = digits ? strtoull(word, nullptr, 10) : 0;
		const bool right = digits && errno == 0 && expected <= max;
		FUZZ_EXPECT(good == right && (!good || number == expected),
			    "a number is read wrong");
	}
}

void check_table_line(const Words &words)
{
	fuzz::File file;
	ploop_host host(file);
	std::string error;

	make_image(file);
	const int result =
		construct(host, words.count(), const_cast<char **>(words.argv.data()), error);
	if (result == 0) {
		tally.count("table accepted");
		pc_destroy(host.core);
	} else {
		FUZZ_EXPECT(result < 0 && result >= -133 && !error.empty(),
			    "an error without a text");
		tally.count_in(error);
	}
	host.expect_gone();
}

void message(ploop_host &host, const Words &words, size_t room)
{
	std::vector<char> reply(room, 'x');
	const int result =
		pc_message(host.core, words.count(), const_cast<char **>(words.argv.data()),
			   reply.data(), unsigned(room));

	FUZZ_EXPECT(strnlen(reply.data(), room) < room, "a reply without its end");
	FUZZ_EXPECT(result <= 1 && result >= -133, "a message gave " + std::to_string(result));
	if (result == 1)
		tally.count("message replied");
	else if (result == 0)
		tally.count("message accepted");
	else
		tally.count(result == -EINVAL ? "EINVAL" : "EOPNOTSUPP");
	host.run_idle();
}

void check_status(ploop_host &host, size_t room)
{
	for (ploop_status kind : {PLOOP_STATUS_INFO, PLOOP_STATUS_TABLE, PLOOP_STATUS_IMA}) {
		std::vector<char> text(room, 'x');
		pc_status(host.core, kind, text.data(), room);
		FUZZ_EXPECT(strnlen(text.data(), room) < room, "a status without its end");
	}
}

// Messages before the first resume, while it runs, and after the suspend.
void check_messages(const char *from, const char *to, uint8_t how)
{
	const size_t room = kRooms[how % std::size(kRooms)];
	const uint32_t resume_at = how >> 3 & 3;
	const uint32_t suspend_at = resume_at + 1 + (how >> 5 & 3);
	fuzz::File file;
	ploop_host host(file);
	std::string error;
	Words good("", "");
	uint32_t lines = 0;

	make_image(file);
	good.add("6");
	good.add("/img");
	FUZZ_EXPECT(construct(host, good.count(), good.argv.data(), error) == 0, error);
	for (; from != to && lines < 16; lines++) {
		if (lines == resume_at) {
			FUZZ_EXPECT(pc_preresume(host.core) == 0, "cannot resume");
			pc_resume(host.core);
			host.run_idle();
		}
		if (lines == suspend_at) {
			pc_presuspend(host.core, true);
			host.run_idle();
			pc_postsuspend(host.core);
		}
		const char *const end = std::find(from, to, '\n');
		message(host, Words(from, end), room);
		check_status(host, room);
		from = end == to ? to : end + 1;
	}
	if (lines > resume_at && lines <= suspend_at) {
		pc_presuspend(host.core, false);
		host.run_idle();
		pc_postsuspend(host.core);
	}
	pc_destroy(host.core);
	host.expect_gone();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	const uint8_t how = data[0];
	const char *const from = reinterpret_cast<const char *>(data) + 1;
	const char *const to = reinterpret_cast<const char *>(data) + size;
	const char *const end = std::find(from, to, '\n');
	const Words words(from, end);

	FUZZ_EXPECT(pc_module_init() == 0, "pc_module_init failed");
	for (const char *word : words.argv)
		check_number(word);
	check_table_line(words);
	check_messages(end == to ? to : end + 1, to, how);
	pc_module_exit();
	return 0;
}
