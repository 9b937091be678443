// SPDX-License-Identifier: GPL-2.0
#include "fuzz/host.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fuzz {

static ploop_host *the_host;
static uint64_t clock_ms = 1;
static uint64_t steps; // since something waited: a core that runs for ever is caught

uint64_t Memory::live_bytes;
uint64_t Memory::peak_bytes;

void fail(const std::string &why)
{
	fprintf(stderr, "fuzz: %s\n", why.c_str());
	abort();
}

// ---- The file ----------------------------------------------------------------

void File::read(uint64_t offset, void *data, uint64_t bytes) const
{
	uint8_t *const to = static_cast<uint8_t *>(data);
	const uint64_t end = offset + bytes;

	if (bytes == 0)
		return; // and there may be no memory at all
	std::fill(to, to + bytes, uint8_t{0});
	for (auto it = units_.lower_bound(offset / kUnit);
	     it != units_.end() && it->first * kUnit < end; ++it) {
		const uint64_t low = std::max(offset, it->first * kUnit);
		const uint64_t high = std::min(end, (it->first + 1) * kUnit);
		memcpy(to + (low - offset), &it->second[low % kUnit], high - low);
	}
}

int64_t File::write(uint64_t offset, const void *data, uint64_t bytes)
{
	const uint8_t *const from = static_cast<const uint8_t *>(data);
	uint64_t done = 0;

	if (facts.block_device)
		bytes = offset >= size ? 0 : std::min(bytes, size - offset);
	changes++;
	while (done < bytes) {
		const uint64_t at = offset + done;
		const uint64_t count = std::min(kUnit - at % kUnit, bytes - done);
		auto it = units_.find(at / kUnit);
		if (it == units_.end()) {
			if (units_left == 0)
				break;
			units_left--;
			it = units_.emplace(at / kUnit, Unit(kUnit)).first;
		}
		memcpy(&it->second[at % kUnit], from + done, count);
		done += count;
	}
	size = std::max(size, offset + done);
	return done > 0 || bytes == 0 ? int64_t(done) : -ENOSPC;
}

void File::zero(uint64_t offset, uint64_t bytes)
{
	const uint64_t end = offset + bytes;

	changes++;
	for (auto it = units_.lower_bound(offset / kUnit);
	     it != units_.end() && it->first * kUnit < end;) {
		const uint64_t low = std::max(offset, it->first * kUnit);
		const uint64_t high = std::min(end, (it->first + 1) * kUnit);
		if (high - low == kUnit) {
			it = units_.erase(it);
			units_left += units_left != ~uint64_t{0};
			continue;
		}
		memset(&it->second[low % kUnit], 0, high - low);
		++it;
	}
}

void File::truncate(uint64_t bytes)
{
	if (bytes < size)
		zero(bytes, size - bytes);
	size = bytes;
	changes++;
}

uint32_t File::word(uint64_t offset) const
{
	uint8_t bytes[4];

	read(offset, bytes, sizeof(bytes));
	return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | uint32_t{bytes[3]} << 24;
}

uint64_t File::data_from(uint64_t offset) const
{
	const auto it = units_.lower_bound(offset / kUnit);

	return it == units_.end() ? ~uint64_t{0} : std::max(offset, it->first * kUnit);
}

void Request::prepare(ploop_core *for_core, ploop_rq_op what, uint64_t at, uint32_t sectors,
		      uint8_t how)
{
	*static_cast<ploop_rq *>(this) = {};
	core = for_core;
	sector = at;
	nr_sectors = sectors;
	op = static_cast<uint8_t>(what);
	flags = how;
	ended = false;
	if (what == PLOOP_RQ_READ || what == PLOOP_RQ_WRITE)
		data.resize(size_t{sectors} * PLOOP_SECTOR_BYTES);
}

} // namespace fuzz

using fuzz::Memory;

// The memory of a run is reused soon: page faults would take most of the time.
extern "C" const char *__asan_default_options()
{
	return "quarantine_size_mb=8:malloc_context_size=8";
}

// ---- What runs when ------------------------------------------------------------

uint32_t ploop_host::random(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 16) % below;
}

bool ploop_host::step()
{
	FUZZ_EXPECT(fuzz::steps++ < 1'000'000, "the core never comes to rest");
	if (!queue.empty() && (!kicked || random(2) != 0)) {
		const auto chosen = queue.begin() + random(uint32_t(queue.size()));
		const Io io = *chosen;
		queue.erase(chosen);
		end(io);
		return true;
	}
	if (drained) {
		drained = false;
		flipping = false;
		pc_epoch_drained(core);
		return true;
	}
	if (flush_kicked && !flushing && (!kicked || random(2) != 0)) {
		flush_kicked = false;
		flushing = true;
		pc_flush(core);
		flushing = false;
		return true;
	}
	if (!kicked)
		return false;
	kicked = false;
	pc_work(core);
	return true;
}

void ploop_host::run_idle()
{
	fuzz::steps = 0;
	while (step()) {
	}
}

bool ploop_host::skip_time()
{
	int next = -1;

	for (int i = 0; i < PLOOP_TIMERS; i++) {
		if (due_ms[i] != 0 && (next < 0 || due_ms[i] < due_ms[next]))
			next = i;
	}
	if (next < 0)
		return false;
	fuzz::clock_ms = std::max(fuzz::clock_ms, due_ms[next]);
	due_ms[next] = 0;
	pc_timer(core, static_cast<ploop_timer>(next));
	return true;
}

void ploop_host::expect_gone() const
{
	FUZZ_EXPECT(queue.empty(), "I/O is in flight at the end");
	FUZZ_EXPECT(ops == 0, "an operation was not freed");
	FUZZ_EXPECT(open_files == 0, "a file was left open");
	FUZZ_EXPECT(users[0] == 0 && users[1] == 0, "an epoch is in use at the end");
	FUZZ_EXPECT(Memory::live_bytes == 0, "memory is leaked");
}

void ploop_host::try_drain()
{
	if (flipping && users[epoch ^ 1] == 0)
		drained = true;
}

int64_t ploop_host::run_op(const ploop_op &op)
{
	switch (op.kind) {
	case PLOOP_OP_SYNC:
		return 0;
	case PLOOP_OP_TRUNCATE:
		file.truncate(op.offset);
		return 0;
	case PLOOP_OP_RESERVE:
		return 0;
	case PLOOP_OP_PUNCH:
	case PLOOP_OP_ZERO:
	case PLOOP_OP_WRITE_ZEROES:
		FUZZ_EXPECT(op.offset + op.bytes <= file.size, "zeroes beyond the end of the file");
		file.zero(op.offset, op.bytes);
		return 0;
	case PLOOP_OP_FREE_SPACE:
		return int64_t(std::min(file.units_left, uint64_t{1} << 40) * fuzz::kUnit);
	default:
		return -EOPNOTSUPP;
	}
}

int64_t ploop_host::run(const Io &io)
{
	const bool writes = io.request != nullptr ? io.request->op == PLOOP_RQ_WRITE
						  : io.op->kind != PLOOP_OP_READ;
	uint8_t *const data = io.request != nullptr ? io.request->data.data() + io.skip
						    : static_cast<uint8_t *>(io.op->buffer);
	const uint64_t bytes = io.request != nullptr ? io.bytes : io.op->bytes;

	if (io.op != nullptr && io.op->kind > PLOOP_OP_WRITE_BUFFERED)
		return run_op(*io.op);
	if (!io.buffered && file.facts.dio_align_bytes != 0 &&
	    (io.offset | bytes) % file.facts.dio_align_bytes != 0)
		return -EINVAL;
	if (writes)
		return file.write(io.offset, data, bytes);
	if (io.offset >= file.size)
		return 0;
	const uint64_t there = std::min(bytes, file.size - io.offset);
	file.read(io.offset, data, there);
	return int64_t(there);
}

void ploop_host::end(const Io &io)
{
	const int64_t result = run(io);

	if (io.request != nullptr)
		pc_rq_done(io.request, result);
	else
		io.op->done(io.op, result);
}

// ---- The contract --------------------------------------------------------------

namespace {

// Before each piece of memory lies its size, in as much room as the piece has to
// be aligned to.
constexpr size_t room_of(size_t bytes)
{
	if (bytes % 4096 == 0)
		return 4096;
	return bytes > 4096 ? 64 : 16;
}

} // namespace

void *ph_alloc(size_t bytes)
{
	FUZZ_EXPECT(bytes > 0 && bytes <= PLOOP_ALLOC_MAX, "ph_alloc of " + std::to_string(bytes));
	const size_t room = room_of(bytes);
	void *base = nullptr;
	if (posix_memalign(&base, room, room + bytes) != 0)
		fuzz::fail("out of memory");
	memset(base, 0, room + bytes);
	uint8_t *const memory = static_cast<uint8_t *>(base) + room;
	memcpy(memory - sizeof(bytes), &bytes, sizeof(bytes));
	Memory::live_bytes += bytes;
	Memory::peak_bytes = std::max(Memory::peak_bytes, Memory::live_bytes);
	return memory;
}

void ph_free(void *memory)
{
	size_t bytes = 0;

	if (memory == nullptr)
		return;
	memcpy(&bytes, static_cast<uint8_t *>(memory) - sizeof(bytes), sizeof(bytes));
	Memory::live_bytes -= bytes;
	free(static_cast<uint8_t *>(memory) - room_of(bytes));
}

bool ph_list_push(ploop_list *list, ploop_node *node)
{
	node->next = list->first;
	list->first = node;
	return node->next == nullptr;
}

ploop_node *ph_list_take(ploop_list *list)
{
	ploop_node *const first = list->first;
	list->first = nullptr;
	return first;
}

void ph_kick(ploop_host *host)
{
	if (!host->quiet)
		host->kicked = true;
}

void ph_flush_kick(ploop_host *host)
{
	if (!host->quiet)
		host->flush_kicked = true;
}

void ph_timer_arm(ploop_host *host, ploop_timer which, uint32_t delay_ms)
{
	if (!host->quiet)
		host->due_ms[which] = fuzz::clock_ms + delay_ms;
}

void ph_timer_stop(ploop_host *host, ploop_timer which)
{
	host->due_ms[which] = 0;
}

void ph_quiesce(ploop_host *host)
{
	host->kicked = false;
	host->flush_kicked = false;
	for (uint64_t &due : host->due_ms)
		due = 0;
	host->quiet = true;
}

void ph_start(ploop_host *host)
{
	host->quiet = false;
}

uint64_t ph_now_ms(void)
{
	return fuzz::clock_ms;
}

void ph_wait_init(ploop_wait *wait)
{
	wait->room[0] = 0;
}

void ph_wait_signal(ploop_wait *wait)
{
	wait->room[0] = 1;
}

void ph_wait(ploop_wait *wait)
{
	fuzz::steps = 0;
	while (wait->room[0] == 0) {
		if (!fuzz::the_host->step() && !fuzz::the_host->skip_time())
			fuzz::fail("something waits, and nothing is left to run");
	}
	wait->room[0] = 0;
}

void ph_lock_init(ploop_lock *lock, uint32_t)
{
	lock->room[0] = 0;
}

void ph_lock(ploop_lock *lock)
{
	FUZZ_EXPECT(lock->room[0] == 0, "a lock is taken twice");
	lock->room[0] = 1;
}

void ph_unlock(ploop_lock *lock)
{
	FUZZ_EXPECT(lock->room[0] == 1, "a lock is released that is not held");
	lock->room[0] = 0;
}

void ph_global_lock(void)
{
}

void ph_global_unlock(void)
{
}

uint32_t ph_epoch_enter(ploop_host *host)
{
	host->users[host->epoch]++;
	return host->epoch;
}

void ph_epoch_exit(ploop_host *host, uint32_t epoch)
{
	FUZZ_EXPECT(epoch < 2 && host->users[epoch] > 0, "an epoch was left that was not entered");
	host->users[epoch]--;
	host->try_drain();
}

void ph_epoch_flip(ploop_host *host)
{
	FUZZ_EXPECT(!host->flipping, "one flip at a time");
	host->flipping = true;
	host->epoch ^= 1;
	host->try_drain();
}

int ph_file_open(ploop_host *host, const char *path, int fd, bool write, ploop_file_facts *facts,
		 ploop_file **file)
{
	bool writable = write;

	fuzz::the_host = host;
	if (path != nullptr && strcmp(path, "/ro") == 0 && write)
		return -EACCES;
	if (path != nullptr && strcmp(path, "/img") != 0 && strcmp(path, "/ro") != 0)
		return strlen(path) > 4095 ? -ENAMETOOLONG : -ENOENT;
	if (path == nullptr && (fd < 3 || fd > 5))
		return fd == 1 ? -EINVAL : -ENOENT;
	*facts = host->file.facts;
	facts->readable = path != nullptr || fd != 5;
	if (path == nullptr)
		writable = fd != 4;
	facts->writable = writable;
	*file = new ploop_file{&host->file, writable};
	host->open_files++;
	return 0;
}

void ph_file_close(ploop_file *file)
{
	fuzz::the_host->open_files--;
	delete file;
}

uint64_t ph_file_size(ploop_file *file)
{
	return file->file->size;
}

int64_t ph_file_sync(ploop_file *)
{
	return 0;
}

int ph_file_path(ploop_file *, char *text, size_t bytes)
{
	return snprintf(text, bytes, "/img") < int(bytes) ? 0 : -ERANGE;
}

ploop_op *ph_op_new(ploop_host *host)
{
	void *const memory = ph_alloc(sizeof(ploop_op));

	fuzz::the_host = host;
	host->ops++;
	return static_cast<ploop_op *>(memory);
}

void ph_op_free(ploop_op *op)
{
	if (op == nullptr)
		return;
	fuzz::the_host->ops--;
	ph_free(op);
}

void ph_op_start(ploop_op *op)
{
	ploop_host *const host = fuzz::the_host;
	const bool buffered = op->kind == PLOOP_OP_WRITE_BUFFERED;

	if (op->kind != PLOOP_OP_READ && op->kind != PLOOP_OP_SYNC)
		FUZZ_EXPECT(op->file->writable, "changes a file that is not opened for writing");
	host->queue.push_back({op, nullptr, op->offset, 0, 0, buffered});
}

void ph_rq_io(ploop_rq *rq, ploop_file *file, uint64_t offset, uint32_t skip, uint32_t bytes,
	      uint32_t flags)
{
	ploop_host *const host = fuzz::the_host;
	fuzz::Request *const request = static_cast<fuzz::Request *>(rq);
	const ploop_host::Io io = {nullptr, request, offset,
				   skip,    bytes,   (flags & PLOOP_IO_COPIED) != 0};

	FUZZ_EXPECT(!request->ended, "I/O for a request that has ended");
	FUZZ_EXPECT(bytes > 0 && uint64_t{skip} + bytes <= request->data.size(),
		    "I/O outside of the request's data");
	FUZZ_EXPECT(rq->op == PLOOP_RQ_READ || file->writable, "writes to a read-only file");
	FUZZ_EXPECT((flags & PLOOP_IO_DSYNC) == 0 ||
			    (rq->op == PLOOP_RQ_WRITE && (flags & PLOOP_IO_INLINE) == 0),
		    "PLOOP_IO_DSYNC where it may not be");
	if ((flags & PLOOP_IO_INLINE) != 0 && host->random(4) == 0)
		return pc_rq_done(rq, -EAGAIN);
	if ((flags & PLOOP_IO_INLINE) != 0)
		return host->end(io);
	host->queue.push_back(io);
}

void ph_rq_zero_fill(ploop_rq *rq)
{
	std::vector<uint8_t> &data = static_cast<fuzz::Request *>(rq)->data;
	std::fill(data.begin(), data.end(), uint8_t{0});
}

bool ph_rq_is_zero(ploop_rq *rq)
{
	const std::vector<uint8_t> &data = static_cast<fuzz::Request *>(rq)->data;
	return std::all_of(data.begin(), data.end(), [](uint8_t byte) { return byte == 0; });
}

void ph_rq_end(ploop_rq *rq, int error)
{
	fuzz::Request *const request = static_cast<fuzz::Request *>(rq);

	FUZZ_EXPECT(!request->ended, "a request ended twice");
	FUZZ_EXPECT(error <= 0, "a request was handed back without leave");
	request->ended = true;
	request->result = error;
}

bool ph_may_requeue(ploop_host *)
{
	return false;
}

void ph_log(ploop_host *, ploop_log, const char *text)
{
	FUZZ_EXPECT(strlen(text) > 0, "an empty line was logged");
}

void ph_broken(const char *text)
{
	FUZZ_EXPECT(false, text);
}

void ph_event(ploop_host *host)
{
	host->events++;
}

uint64_t ph_device_id(ploop_host *)
{
	return 1;
}

void ph_yield(void)
{
}
