// SPDX-License-Identifier: GPL-2.0
// A slim host for the fuzz targets: one file, one instance, no stack but the
// caller's, no trace, no faults but a full disk. What it leaves out, tests/sim/
// has; it is some twenty times faster.
#ifndef TESTS_FUZZ_HOST_H
#define TESTS_FUZZ_HOST_H

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "ploop/host.h"
#include "ploop/target.h"

namespace fuzz {

constexpr uint64_t kUnit = 4096;

// Says what is wrong and aborts, so that libFuzzer keeps the input.
[[noreturn]] void fail(const std::string &why);
#define FUZZ_EXPECT(good, why)           \
	do {                             \
		if (!(good))             \
			fuzz::fail(why); \
	} while (0)

// A sparse file of any size on a disk that may fill up.
class File {
public:
	void read(uint64_t offset, void *data, uint64_t bytes) const;
	// Bytes written, or -ENOSPC.
	int64_t write(uint64_t offset, const void *data, uint64_t bytes);
	void zero(uint64_t offset, uint64_t bytes);
	void truncate(uint64_t bytes);
	uint32_t word(uint64_t offset) const;
	// The first byte from @offset on that is not in a hole, or ~0.
	uint64_t data_from(uint64_t offset) const;

	uint64_t size = 0;
	ploop_file_facts facts = {};
	uint64_t units_left = ~uint64_t{0}; // that the disk can still give
	uint64_t changes = 0;		    // calls that changed anything

private:
	using Unit = std::vector<uint8_t>;
	std::map<uint64_t, Unit> units_;
};

struct Request : ploop_rq {
	std::vector<uint8_t> data;
	bool ended = true;
	int result = 0;

	void prepare(ploop_core *core, ploop_rq_op what, uint64_t at, uint32_t sectors,
		     uint8_t how);
};

// Memory that the core has now, and the most that it ever had since reset().
struct Memory {
	static uint64_t live_bytes;
	static uint64_t peak_bytes;
};

} // namespace fuzz

struct ploop_file {
	fuzz::File *file;
	bool writable;
};

// The host's side of the instance; one at a time.
struct ploop_host {
	explicit ploop_host(fuzz::File &f) : file(f) {}

	// Runs one thing that can run; false: only timers are left, if any.
	bool step();
	void run_idle();
	// Lets the next timer fire; false: none is armed.
	bool skip_time();
	// Asserts that nothing of an ended instance is left.
	void expect_gone() const;

	struct Io {
		ploop_op *op;
		fuzz::Request *request;
		uint64_t offset;
		uint32_t skip;
		uint32_t bytes;
		bool buffered;
	};
	int64_t run(const Io &io);
	int64_t run_op(const ploop_op &op);
	void end(const Io &io);
	uint32_t random(uint32_t below);
	void try_drain();

	fuzz::File &file;
	ploop_core *core = nullptr;
	uint32_t seed = 1;
	bool quiet = true;
	bool kicked = false;
	bool flush_kicked = false;
	bool flushing = false;
	bool drained = false;
	bool flipping = false;
	uint32_t epoch = 0;
	uint64_t users[2] = {};
	uint64_t due_ms[PLOOP_TIMERS] = {}; // 0: not armed
	uint64_t ops = 0;
	uint64_t open_files = 0;
	uint64_t events = 0;
	std::deque<Io> queue;
};

#endif
