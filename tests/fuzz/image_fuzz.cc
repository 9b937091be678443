// SPDX-License-Identifier: GPL-2.0
// Fuzzes what an image says: its header and the start of its BAT.
//
// Input: 16 bytes that choose the table and the file (struct Choice), then what
// is written over the file from its start. Whatever they are, the core must not
// crash, hang, or allocate beyond what the table allows; what it accepts must be
// a map that this file's own checker finds right, must read and write as that
// map says, and must be right again after a suspend.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "fuzz/host.h"
#include "fuzz/memory_bound.h"
#include "fuzz/tally.h"

namespace {

using fuzz::File;
using fuzz::Memory;
using fuzz::Request;

// tests/fuzz/make_corpus.py packs the same.
struct Choice {
	uint8_t log;		 // index into kLogs
	uint8_t flags;		 // kFlag*
	uint16_t table_clusters; // modulo 2048, plus one
	uint8_t table_less;	 // sectors less
	uint8_t off;		 // 0: none; 255: far beyond; else sectors
	uint16_t file_extra;	 // bytes, signed
	uint32_t file_clusters;	 // 2^31 and on: a huge sparse file
	uint8_t space;		 // 255: no end of it; else units
	uint8_t seed;
	uint8_t ops[2]; // how many and which
};
static_assert(sizeof(Choice) == 16);

constexpr uint32_t kLogs[] = {6, 6, 6, 7, 8, 17, 5, 18};
constexpr uint64_t kMarked = 24;  // clusters whose data tells which they are
constexpr uint8_t kSecret = 0xee; // no cluster's mark, and in no request
constexpr uint8_t kFlagBlockDevice = 1;
constexpr uint8_t kFlagReadOnly = 2;
constexpr uint8_t kFlagFallocate = 4;
constexpr uint8_t kFlagInline = 8;
constexpr uint8_t kFlagNoDirect = 16;
constexpr uint8_t kFlagAlign4k = 32;
constexpr uint8_t kFlagNotHonest = 64;
constexpr uint8_t kFlagNoFua = 128;

// What the texts of refusals begin with; a run that does not see each of them
// has not fuzzed what it should.
const char *const kOutcomes[] = {
	"accepted",	     "resumed",
	"suspended clean",   "wrote",
	"ran out of space",  "signature is",
	"version 1",	     "type is",
	"flags are",	     "cluster size is",
	"BAT entries is",    "size is",
	"the table needs",   "first block offset is",
	"file size is",	     "inside the BAT",
	"the file has only", "must be 0",
	"duplicate",	     "cluster_log is",
};
fuzz::Tally tally("image", kOutcomes, std::size(kOutcomes));

// The image as this file understands it, from bytes and nothing else.
struct Map {
	explicit Map(const File &file)
	{
		cluster_bytes = uint64_t{file.word(28)} * 512;
		in_use = file.word(44);
		const uint64_t entries = file.word(32);
		if (cluster_bytes == 0 || entries > 1u << 20) {
			problem = "absurd header";
			return;
		}
		head_clusters = (64 + 4 * entries + cluster_bytes - 1) / cluster_bytes;
		file_clusters = file.size / cluster_bytes;
		std::vector<uint32_t> used;
		const uint64_t bat_end = 64 + 4 * entries;
		for (uint64_t at = file.data_from(64); at < bat_end; at = file.data_from(at)) {
			const uint64_t stop = std::min(bat_end, (at / 4096 + 1) * 4096);
			uint32_t words[1024];
			file.read(at, words, stop - at);
			for (uint64_t i = 0; i < (stop - at) / 4; i++) {
				if (words[i] != 0)
					take((at - 64) / 4 + i, words[i], used);
			}
			at = stop;
		}
		end = std::max(end, head_clusters);
		std::sort(used.begin(), used.end());
		if (std::adjacent_find(used.begin(), used.end()) != used.end())
			problem = "a cluster is named twice";
	}

	void take(uint64_t index, uint32_t cluster, std::vector<uint32_t> &used)
	{
		if (cluster < head_clusters || cluster >= file_clusters)
			problem = "entry " + std::to_string(cluster) + " is out of range";
		bat[index] = cluster;
		used.push_back(cluster);
		end = std::max(end, uint64_t{cluster} + 1);
	}

	uint64_t cluster_bytes = 0;
	uint64_t head_clusters = 0;
	uint64_t file_clusters = 0;
	uint64_t end = 0; // clusters that the file needs
	uint32_t in_use = 0;
	std::map<uint64_t, uint32_t> bat; // those that are not 0
	std::string problem;
};

class Run {
public:
	Run(const Choice &choice, const uint8_t *bytes, size_t count)
		: choice_(choice), host_(file_)
	{
		log_ = kLogs[choice.log % std::size(kLogs)];
		make_table();
		make_file(bytes, count);
		host_.seed = choice.seed;
	}

	void run();

private:
	void make_table();
	void make_file(const uint8_t *bytes, size_t count);
	void mark_clusters();
	int construct();
	void check_memory() const;
	void live();
	void read_marks();
	void request(ploop_rq_op op, uint64_t sector, uint32_t sectors, uint8_t flags);
	void some_requests();
	void check_data();
	void check_around(uint64_t sector);
	void suspend();
	void check_end();
	std::string status();

	Choice choice_;
	uint32_t log_;
	File file_;
	ploop_host host_;
	ploop_table table_ = {};
	uint64_t off_ = 0;
	std::string error_;
	std::optional<Map> before_;
	std::vector<uint8_t> header_;
	std::map<uint64_t, uint8_t> known_; // sectors that hold this byte, repeated
	Request requests_[8];
	size_t nr_requests_ = 0;
};

void Run::make_table()
{
	const uint64_t cluster_sectors = uint64_t{1} << log_;
	const uint64_t sectors = (choice_.table_clusters % 2048 + 1) * cluster_sectors;

	table_.nr_sectors = sectors - choice_.table_less % cluster_sectors;
	table_.read_only = (choice_.flags & kFlagReadOnly) != 0;
	off_ = choice_.off == 255 ? uint64_t{1} << 54 : choice_.off;
}

void Run::make_file(const uint8_t *bytes, size_t count)
{
	uint64_t clusters = choice_.file_clusters;

	if (clusters < 1u << 31)
		clusters %= 8192;
	file_.size = clusters << (log_ + 9);
	file_.size += static_cast<uint64_t>(static_cast<int16_t>(choice_.file_extra));
	if (file_.size > uint64_t{1} << 60)
		file_.size = 0;
	count = std::min<uint64_t>(count, file_.size);
	if (count > 0)
		file_.write(0, bytes, count);
	file_.facts.block_device = (choice_.flags & kFlagBlockDevice) != 0;
	file_.facts.id[0] = 1;
	file_.facts.inline_ok = (choice_.flags & kFlagInline) != 0;
	if ((choice_.flags & kFlagNoDirect) == 0)
		file_.facts.dio_align_bytes = (choice_.flags & kFlagAlign4k) != 0 ? 4096 : 512;
	file_.facts.fua = (choice_.flags & kFlagNoFua) == 0;
	file_.facts.zeros_honest =
		file_.facts.dio_align_bytes != 0 && (choice_.flags & kFlagNotHonest) == 0;
	mark_clusters();
	if (choice_.space != 255)
		file_.units_left = choice_.space;
}

// The first mapped clusters get data that tells which cluster it is, and a few
// behind them what nobody may ever read.
void Run::mark_clusters()
{
	const Map map(file_);

	if (!map.problem.empty() || map.cluster_bytes != uint64_t{512} << log_)
		return;
	for (const auto &[index, cluster] : map.bat) {
		const std::vector<uint8_t> mark(512, uint8_t(cluster % 128 + 1));
		if (index >= kMarked)
			break;
		file_.write(cluster * map.cluster_bytes, mark.data(), mark.size());
	}
	if (map.cluster_bytes > 64 << 10)
		return;
	const std::vector<uint8_t> secret(map.cluster_bytes, kSecret);
	for (uint64_t i = map.end; i < std::min(map.file_clusters, map.end + 2); i++)
		file_.write(i * map.cluster_bytes, secret.data(), secret.size());
}

void Run::check_memory() const
{
	FUZZ_EXPECT(Memory::peak_bytes < memory_bound(table_.nr_sectors + off_, log_),
		    "too much memory: " + std::to_string(Memory::peak_bytes));
}

int Run::construct()
{
	std::vector<std::string> words = {std::to_string(log_)};
	std::vector<char *> argv;
	char text[PLOOP_ERROR_BYTES] = "";
	ploop_limits limits;

	if (off_ != 0)
		words.push_back("off=" + std::to_string(off_));
	if ((choice_.flags & kFlagFallocate) != 0)
		words.push_back("falloc_new_clu");
	words.push_back("/img");
	for (std::string &word : words)
		argv.push_back(word.data());
	const int result = pc_construct(&host_, &table_, unsigned(argv.size()), argv.data(),
					&limits, &host_.core, text);
	error_.assign(text, strnlen(text, sizeof(text)));
	FUZZ_EXPECT(error_.size() < sizeof(text), "a text without its end");
	return result;
}

void Run::run()
{
	Memory::live_bytes = Memory::peak_bytes = 0;
	before_.emplace(file_);
	header_.resize(64);
	file_.read(0, header_.data(), 64);
	FUZZ_EXPECT(pc_module_init() == 0, "pc_module_init failed");
	const uint64_t changes = file_.changes;
	const int result = construct();
	check_memory();
	FUZZ_EXPECT(file_.changes == changes, "the constructor changed the image");
	if (result != 0) {
		FUZZ_EXPECT(result < 0 && result >= -133, "no standard errno");
		FUZZ_EXPECT(!error_.empty(), "an error without a text");
		FUZZ_EXPECT(result != -EIO && result != -ENOMEM, "the wrong errno for: " + error_);
		tally.count_in(error_);
	} else {
		tally.count("accepted");
		FUZZ_EXPECT(before_->problem.empty(), "accepted, but " + before_->problem);
		live();
		pc_destroy(host_.core);
	}
	host_.expect_gone();
	pc_module_exit();
}

void Run::live()
{
	const uint64_t changes = file_.changes;
	const int result = pc_preresume(host_.core);

	if (result != 0) {
		FUZZ_EXPECT(result == -ENOSPC,
			    "cannot resume what was accepted: " + std::to_string(result));
		return;
	}
	tally.count("resumed");
	pc_resume(host_.core);
	host_.run_idle();
	read_marks();
	some_requests();
	suspend();
	check_end();
	if (table_.read_only)
		FUZZ_EXPECT(file_.changes == changes, "a read-only table changed the image");
}

// Each of the first clusters reads as the map of the file says.
void Run::read_marks()
{
	const uint64_t cluster_sectors = uint64_t{1} << log_;

	for (uint64_t i = 0; i < kMarked; i++) {
		const auto entry = before_->bat.find(i);
		const uint32_t cluster = entry == before_->bat.end() ? 0 : entry->second;
		const uint64_t at = i * cluster_sectors;
		if (at < off_ || at >= off_ + table_.nr_sectors)
			continue;
		request(PLOOP_RQ_READ, at - off_, 1, 0);
		host_.run_idle();
		const uint8_t byte = cluster == 0 ? 0 : uint8_t(cluster % 128 + 1);
		FUZZ_EXPECT(requests_[0].ended && requests_[0].result == 0, "a read failed");
		for (uint8_t got : requests_[0].data)
			FUZZ_EXPECT(got == byte, "cluster " + std::to_string(i) + " reads wrong");
		known_[at - off_] = byte;
		nr_requests_ = 0;
	}
}

void Run::request(ploop_rq_op op, uint64_t sector, uint32_t sectors, uint8_t flags)
{
	Request &request = requests_[nr_requests_++];
	const uint8_t how = flags | (choice_.seed % 2 ? PLOOP_RQ_INLINE : 0);

	if (op == PLOOP_RQ_READ || op == PLOOP_RQ_WRITE)
		sectors = std::min(sectors, pc_map_limit(host_.core, sector));
	FUZZ_EXPECT(sectors > 0 || op == PLOOP_RQ_FLUSH, "a request of no sectors");
	request.prepare(host_.core, op, sector, sectors, how);
	if (op == PLOOP_RQ_WRITE)
		std::fill(request.data.begin(), request.data.end(), uint8_t(0xc0 + nr_requests_));
	pc_map(host_.core, &request);
}

// A few of them at once, none of which overlaps another.
void Run::some_requests()
{
	const uint64_t slice = table_.nr_sectors / 8;
	const uint32_t count = choice_.ops[0] % 8;

	for (uint32_t i = 0; i < count && slice > 0; i++) {
		const uint32_t kind = host_.random(8);
		const uint64_t at =
			i * slice + host_.random(uint32_t(std::min<uint64_t>(slice, 64)));
		const uint32_t most = uint32_t(std::min<uint64_t>((i + 1) * slice - at, 128));
		const uint32_t sectors = 1 + host_.random(most);
		const uint8_t fua = choice_.ops[1] & 1 ? PLOOP_RQ_FUA : 0;
		if (kind == 0)
			request(PLOOP_RQ_DISCARD, at, sectors, 0);
		else if (kind == 1)
			request(PLOOP_RQ_WRITE_ZEROES, at, sectors, host_.random(2) ? 2 : 0);
		else if (kind == 2)
			request(PLOOP_RQ_FLUSH, 0, 0, 0);
		else if (kind == 3)
			request(PLOOP_RQ_READ, at, sectors, 0);
		else
			request(PLOOP_RQ_WRITE, at, sectors, fua);
	}
	host_.run_idle();
	for (uint32_t i = 0; i < choice_.ops[1] % 4; i++) {
		host_.skip_time();
		host_.run_idle();
	}
	check_data();
}

void Run::check_data()
{
	const size_t count = nr_requests_;

	for (size_t i = 0; i < count; i++) {
		const Request &request = requests_[i];
		if (request.op == PLOOP_RQ_READ || request.op == PLOOP_RQ_FLUSH)
			continue;
		const auto from = known_.lower_bound(request.sector);
		known_.erase(from, known_.lower_bound(request.sector + request.nr_sectors));
		if (!request.ended)
			tally.count("ran out of space");
		if (!request.ended || request.result != 0)
			continue;
		const uint8_t byte = request.op == PLOOP_RQ_WRITE ? request.data[0] : 0;
		if (request.op == PLOOP_RQ_DISCARD)
			continue;
		tally.count("wrote");
		known_[request.sector] = byte;
		known_[request.sector + request.nr_sectors - 1] = byte;
		check_around(request.sector);
	}
	for (const auto &[sector, byte] : known_) {
		Request read;
		read.prepare(host_.core, PLOOP_RQ_READ, sector, 1, 0);
		pc_map(host_.core, &read);
		host_.run_idle();
		FUZZ_EXPECT(read.ended && read.result == 0, "a read failed");
		for (uint8_t got : read.data)
			FUZZ_EXPECT(got == byte,
				    "sector " + std::to_string(sector) + " reads wrong");
	}
}

// What a write did not cover in its new cluster holds nobody's old data.
void Run::check_around(uint64_t sector)
{
	const uint64_t cluster_sectors = uint64_t{1} << log_;
	const uint64_t first = (sector + off_) / cluster_sectors * cluster_sectors;

	for (uint64_t at : {first, first + cluster_sectors / 2, first + cluster_sectors - 1}) {
		Request read;
		if (at < off_ || at >= off_ + table_.nr_sectors)
			continue;
		read.prepare(host_.core, PLOOP_RQ_READ, at - off_, 1, 0);
		pc_map(host_.core, &read);
		host_.run_idle();
		FUZZ_EXPECT(read.ended && read.result == 0, "a read failed");
		FUZZ_EXPECT(memchr(read.data.data(), kSecret, read.data.size()) == nullptr,
			    "sector " + std::to_string(at) + " shows what the file held before");
	}
}

std::string Run::status()
{
	char text[1024];

	pc_status(host_.core, PLOOP_STATUS_INFO, text, sizeof(text));
	return text;
}

void Run::suspend()
{
	pc_presuspend(host_.core, false);
	host_.run_idle();
	const auto ended = [](const Request &request) { return request.ended; };
	for (int i = 0; i < 1000 && !std::all_of(requests_, std::end(requests_), ended); i++) {
		host_.skip_time();
		host_.run_idle();
	}
	FUZZ_EXPECT(std::all_of(requests_, std::end(requests_), ended),
		    "a request does not end while the device is suspended");
	pc_postsuspend(host_.core);
	FUZZ_EXPECT(host_.queue.empty() && host_.quiet, "not still after a suspend");
}

void Run::check_end()
{
	const Map after(file_);
	std::vector<uint8_t> header(64);
	const bool clean = status().find("dirty-suspended") == std::string::npos;

	FUZZ_EXPECT(after.problem.empty(), "after the suspend: " + after.problem);
	file_.read(0, header.data(), 64);
	memcpy(&header[44], &header_[44], 4); // the in-use mark is ours too
	FUZZ_EXPECT(header == header_, "a header field that is not ours was changed");
	if (!clean)
		return;
	tally.count("suspended clean");
	const bool trims = !table_.read_only && !file_.facts.block_device && file_.word(56) == 0 &&
			   file_.word(60) == 0;
	if (trims)
		FUZZ_EXPECT(after.file_clusters == after.end, "clusters are left over at the end");
	if (!file_.facts.block_device)
		FUZZ_EXPECT(file_.size % after.cluster_bytes == 0, "the file's size is odd");
	const bool keeps_mark = table_.read_only || before_->in_use == 0x746f6e59;
	FUZZ_EXPECT(after.in_use == (keeps_mark ? before_->in_use : 0), "the in-use mark is wrong");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Choice choice;

	if (size < sizeof(choice))
		return 0;
	memcpy(&choice, data, sizeof(choice));
	Run(choice, data + sizeof(choice), size - sizeof(choice)).run();
	return 0;
}
