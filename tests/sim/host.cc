// SPDX-License-Identifier: GPL-2.0
#include "sim/host.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <ucontext.h>
#include <utility>

#include "sim/beside.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#endif
#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/* An open file of an instance. */
struct ploop_file {
	sim::Host &host;
	sim::File &file;
	bool readable;
	bool writable;
	unsigned pending = 0;
};

namespace sim {

static World *the_world;

void fail(const std::string &why)
{
	if (the_world)
		the_world->print_trace();
	fprintf(stderr, "sim: %s\n", why.c_str());
	if (the_world)
		fprintf(stderr, "sim: seed %llu, at %llu ms, %llu write points\n",
			(unsigned long long)the_world->seed,
			(unsigned long long)the_world->now_ms(),
			(unsigned long long)the_world->points());
	abort();
}

static void expect(bool condition, const std::string &why)
{
	if (!condition)
		fail(why);
}

static uint64_t unit_floor(uint64_t bytes)
{
	return bytes / UNIT;
}

static uint64_t unit_ceil(uint64_t bytes)
{
	return bytes / UNIT + (bytes % UNIT != 0);
}

/* ---- Ranges ----------------------------------------------------------- */

uint64_t Ranges::missing(uint64_t from, uint64_t to) const
{
	if (from >= to)
		return 0;
	uint64_t result = to - from;
	auto it = ranges_.upper_bound(from);
	if (it != ranges_.begin())
		--it;
	for (; it != ranges_.end() && it->first < to; ++it) {
		const uint64_t low = std::max(from, it->first);
		const uint64_t high = std::min(to, it->second);
		if (low < high)
			result -= high - low;
	}
	return result;
}

void Ranges::remove(uint64_t from, uint64_t to)
{
	if (from >= to)
		return;
	count_ -= to - from - missing(from, to);
	auto it = ranges_.upper_bound(from);
	if (it != ranges_.begin())
		--it;
	while (it != ranges_.end() && it->first < to) {
		const auto [low, high] = *it;
		if (high <= from) {
			++it;
			continue;
		}
		it = ranges_.erase(it);
		if (low < from)
			ranges_[low] = from;
		if (high > to)
			ranges_[to] = high;
	}
}

void Ranges::add(uint64_t from, uint64_t to)
{
	if (from >= to)
		return;
	remove(from, to);
	count_ += to - from;
	/* Neighbours are joined, so that a file written in order stays one range. */
	auto next = ranges_.lower_bound(to);
	if (next != ranges_.end() && next->first == to) {
		to = next->second;
		next = ranges_.erase(next);
	}
	if (next != ranges_.begin()) {
		auto before = std::prev(next);
		if (before->second == from) {
			before->second = to;
			return;
		}
	}
	ranges_[from] = to;
}

/* ---- Image ------------------------------------------------------------ */

void Image::resize(uint64_t bytes)
{
	if (bytes < size_) {
		zero(bytes, size_ - bytes);
		allocated_.remove(unit_ceil(bytes), UINT64_MAX);
	}
	size_ = bytes;
}

void Image::read(uint64_t offset, std::span<uint8_t> data) const
{
	std::fill(data.begin(), data.end(), 0);
	const uint64_t end = offset + data.size();
	for (auto it = pages_.lower_bound(unit_floor(offset));
	     it != pages_.end() && it->first * UNIT < end; ++it) {
		const uint64_t low = std::max(offset, it->first * UNIT);
		const uint64_t high = std::min(end, (it->first + 1) * UNIT);
		memcpy(&data[low - offset], &it->second[low % UNIT], high - low);
	}
}

std::vector<uint8_t> Image::read(uint64_t offset, uint64_t bytes) const
{
	std::vector<uint8_t> data(bytes);
	read(offset, data);
	return data;
}

void Image::write(uint64_t offset, std::span<const uint8_t> data, const KeepSector &keep)
{
	const uint64_t end = std::min(size_, offset + data.size());
	const uint64_t step = keep ? SECTOR : UNIT;
	for (uint64_t at = offset; at < end;) {
		const uint64_t next = std::min(end, (at / step + 1) * step);
		if (!keep || keep(at / SECTOR)) {
			auto [page, fresh] = pages_.try_emplace(at / UNIT);
			if (fresh)
				page->second.fill(0);
			memcpy(&page->second[at % UNIT], &data[at - offset], next - at);
			allocated_.add(at / UNIT, at / UNIT + 1);
		}
		at = next;
	}
}

void Image::zero(uint64_t offset, uint64_t bytes, const KeepSector &keep)
{
	const uint64_t end = offset + bytes;
	auto it = pages_.lower_bound(unit_floor(offset));
	while (it != pages_.end() && it->first * UNIT < end) {
		const uint64_t low = std::max(offset, it->first * UNIT);
		const uint64_t high = std::min(end, (it->first + 1) * UNIT);
		if (!keep && high - low == UNIT) {
			it = pages_.erase(it);
			continue;
		}
		for (uint64_t at = low; at < high;) {
			const uint64_t next = std::min(high, (at / SECTOR + 1) * SECTOR);
			if (!keep || keep(at / SECTOR))
				memset(&it->second[at % UNIT], 0, next - at);
			at = next;
		}
		++it;
	}
}

void Image::release(uint64_t offset, uint64_t bytes)
{
	allocated_.remove(unit_ceil(offset), unit_floor(offset + bytes));
}

void Image::allocate(uint64_t offset, uint64_t bytes)
{
	allocated_.add(unit_floor(offset), unit_ceil(offset + bytes));
}

bool Image::operator==(const Image &other) const
{
	const Page zeros{};
	const auto within = [&zeros](const Image &a, const Image &b) {
		return std::all_of(a.pages_.begin(), a.pages_.end(), [&](const auto &entry) {
			const auto it = b.pages_.find(entry.first);
			return entry.second == (it == b.pages_.end() ? zeros : it->second);
		});
	};
	return size_ == other.size_ && within(*this, other) && within(other, *this);
}

/* ---- Disk and File ---------------------------------------------------- */

uint64_t Disk::used() const
{
	uint64_t units = 0;
	for (const auto &[path, file] : files)
		if (!file->facts.block_device)
			units += file->now_.allocated().count() + file->pinned_;
	return units * UNIT;
}

uint64_t Disk::free() const
{
	const uint64_t limit = std::min(capacity, quota);
	return limit - std::min(limit, used());
}

File::File(Disk &disk, std::string file_path, uint64_t inode)
	: path(std::move(file_path)), disk_(disk)
{
	facts.id[0] = 1;
	facts.id[1] = inode;
	facts.dio_align_bytes = 512;
	facts.readable = true;
	facts.inline_ok = true;
	facts.fua = true;
	facts.zeros_honest = true;
}

void File::take_direct(Direct how)
{
	const bool never = how == Direct::Never;

	facts.dio_align_bytes = never ? 0 : how == Direct::Sectors ? 512 : 4096;
	refusal_chance = how == Direct::Sometimes ? 0.2 : 0;
	facts.inline_ok = !never;
	facts.fua = !never;
	facts.zeros_honest = !never;
	/* Of tmpfs. */
	unsupported = never ? 1u << PLOOP_OP_ZERO : 0;
}

void File::poke(uint64_t offset, std::span<const uint8_t> data)
{
	for (Image *image : { &now_, &durable_ }) {
		image->resize(std::max(image->size(), offset + data.size()));
		image->write(offset, data);
	}
}

void File::set_size(uint64_t bytes)
{
	now_.resize(bytes);
	durable_.resize(bytes);
}

std::vector<uint8_t> File::peek(uint64_t offset, uint64_t bytes) const
{
	return now_.read(offset, bytes);
}

void File::load(Image image)
{
	now_ = image;
	durable_ = std::move(image);
	log_.clear();
	pinned_ = 0;
	part_ = nullptr;
	kept_out_.clear();
}

/* Applies one effect: all of it, or the sectors that @keep names. */
static void replay(Image &image, const Effect &effect, bool grow, const KeepSector &keep)
{
	if (effect.kind == Effect::Size) {
		image.resize(effect.size);
		return;
	}
	if (grow && effect.size > image.size())
		image.resize(effect.size);
	switch (effect.kind) {
	case Effect::Write:
		image.write(effect.offset, effect.data, keep);
		break;
	case Effect::Zero:
	case Effect::Punch:
		image.zero(effect.offset, effect.bytes, keep);
		if (!keep && effect.kind == Effect::Punch)
			image.release(effect.offset, effect.bytes);
		if (!keep && effect.kind == Effect::Zero)
			image.allocate(effect.offset, effect.bytes);
		break;
	case Effect::Allocate:
		if (!keep)
			image.allocate(effect.offset, effect.bytes);
		break;
	case Effect::Size:
		break;
	}
}

/*
 * A durable write has its size with it: an fdatasync writes what is needed to
 * find the data again.
 */
static bool brings_size(const Effect &effect)
{
	return effect.grows || (effect.durable && effect.kind == Effect::Write);
}

Image File::crash_image(Cut cut, uint64_t seed) const
{
	std::mt19937_64 rng(seed);
	Image image = durable_;
	for (const Effect &effect : log_) {
		if (effect.durable || cut == Cut::Keep) {
			replay(image, effect, brings_size(effect), {});
			continue;
		}
		const uint64_t fate = rng() % 3;
		if (cut == Cut::Drop || fate == 0)
			continue;
		if (fate == 1)
			replay(image, effect, effect.grows, {});
		else if (effect.kind != Effect::Size)
			replay(image, effect, effect.grows && rng() % 2,
			       [&rng](uint64_t) { return rng() % 2 == 0; });
	}
	return image;
}

int64_t File::change(Effect effect, std::vector<uint64_t> &effects)
{
	effect.id = next_effect_++;
	effect.grows = effect.grows && effect.offset + effect.bytes > now_.size();
	if (effect.kind != Effect::Size)
		effect.size = effect.grows ? effect.offset + effect.bytes : now_.size();
	replay(now_, effect, effect.grows, {});
	effects.push_back(effect.id);
	log_.push_back(std::move(effect));
	return 0;
}

/* Is there space for this? If so, old copies are pinned where the disk copies on write. */
bool File::takes_space(uint64_t offset, uint64_t bytes, bool data)
{
	if (facts.block_device)
		return true;
	const uint64_t from = unit_floor(offset);
	const uint64_t to = unit_ceil(offset + bytes);
	const uint64_t fresh = now_.allocated().missing(from, to);
	const bool copies = disk_.copy_on_write && data;
	if ((copies ? to - from : fresh) > disk_.free() / UNIT)
		return false;
	if (copies)
		pinned_ += to - from - fresh;
	return true;
}

int64_t File::write(uint64_t offset, std::span<const uint8_t> data, bool cached,
		    std::vector<uint64_t> &effects)
{
	uint64_t bytes = data.size();
	if (facts.block_device)
		bytes = offset >= size() ? 0 : std::min(bytes, size() - offset);
	while (bytes && !takes_space(offset, bytes, true)) {
		const uint64_t shorter = (offset + bytes - 1) / UNIT * UNIT;
		bytes = !disk_.short_writes || shorter <= offset ? 0 : shorter - offset;
	}
	if (!bytes)
		return data.empty() ? 0 : -ENOSPC;
	Effect effect{};
	effect.kind = Effect::Write;
	effect.offset = offset;
	effect.bytes = bytes;
	effect.data.assign(data.begin(), data.begin() + ptrdiff_t(bytes));
	effect.grows = true;
	effect.cached = cached;
	change(std::move(effect), effects);
	return int64_t(bytes);
}

int64_t File::reserve(Effect::Kind kind, uint64_t offset, uint64_t bytes, bool keep_size,
		      std::vector<uint64_t> &effects)
{
	if (!takes_space(offset, bytes, false))
		return -ENOSPC;
	Effect effect{};
	effect.kind = kind;
	effect.offset = offset;
	effect.bytes = bytes;
	effect.grows = !keep_size;
	return change(std::move(effect), effects);
}

Effect *File::find(uint64_t id)
{
	const auto before = [](const Effect &e, uint64_t wanted) { return e.id < wanted; };
	const auto it = std::lower_bound(log_.begin(), log_.end(), id, before);
	return it != log_.end() && it->id == id ? &*it : nullptr;
}

std::vector<uint64_t> File::completed() const
{
	std::vector<uint64_t> ids;
	for (const Effect &effect : log_)
		if (effect.completed && !effect.durable)
			ids.push_back(effect.id);
	return ids;
}

/* The caller of an operation learns that it has ended. */
void File::told(const std::vector<uint64_t> &effects, bool durable)
{
	for (uint64_t id : effects)
		if (Effect *effect = find(id)) {
			effect->completed = true;
			effect->durable = effect->durable || durable;
		}
	settle();
}

/* @lost_before: how many had lost data when this one began. */
int64_t File::sync(const std::vector<uint64_t> &covered, uint64_t lost_before, int error)
{
	bool loses = false;
	bool loses_pages = false;
	/* What others were told of meanwhile may have been this one's, too. */
	if (!error && losses_ != lost_before)
		error = lost_with_;
	if (!error && disk_.copy_on_write && disk_.free() < UNIT)
		error = -ENOSPC;
	for (uint64_t id : covered) {
		Effect *effect = find(id);
		if (!effect || effect->lost || effect->durable)
			continue;
		if (!error)
			effect->durable = true;
		else
			effect->lost = error != -ENOSPC || effect->cached;
		loses = loses || effect->lost;
		loses_pages = loses_pages || (effect->lost && effect->cached);
	}
	if (!error)
		pinned_ = 0;
	if (loses) {
		losses_++;
		lost_with_ = error;
	}
	settle();
	if (loses_pages)
		drop_lost_pages();
	return error;
}

/* Nobody keeps a page that could not be written: it is read from the disk again. */
void File::drop_lost_pages()
{
	const uint64_t bytes = size();

	now_ = durable_;
	for (const Effect &effect : log_)
		if (!effect.lost || !effect.cached)
			replay(now_, effect, effect.grows, {});
	now_.resize(bytes);
}

/* What is durable up to the first that is not has its place in the durable image. */
void File::settle()
{
	while (!log_.empty() && log_.front().durable) {
		replay(durable_, log_.front(), brings_size(log_.front()), {});
		log_.pop_front();
	}
}

/* ---- I/O -------------------------------------------------------------- */

struct Io {
	uint64_t id = 0;
	ploop_file *handle = nullptr;
	uint32_t call = 0;
	ploop_op_kind kind = PLOOP_OP_READ;
	uint64_t offset = 0;
	uint64_t bytes = 0;
	uint8_t *data = nullptr;
	bool request = false;
	bool copied = false;
	bool dsync = false;
	int error = 0;          /* injected */
	bool rejected = false;  /* by NOWAIT: the error comes before any effect */
	bool applied = false;
	int64_t result = 0;
	std::vector<uint8_t> blocks; /* that it writes parts of, as they were read */
	std::vector<uint64_t> effects;
	std::vector<uint64_t> covered; /* by a sync */
	uint64_t lost_before = 0;      /* see File::sync() */
	std::function<void(int64_t)> done;

	bool writes() const
	{
		return kind != PLOOP_OP_READ && kind != PLOOP_OP_FREE_SPACE && !rejected;
	}
	bool changes_data() const
	{
		return writes() && kind != PLOOP_OP_SYNC && kind != PLOOP_OP_TRUNCATE &&
		       kind != PLOOP_OP_RESERVE;
	}
	uint64_t block() const { return std::max(handle->file.facts.dio_align_bytes, 1u); }
	bool is_aligned() const { return (offset | bytes) % block() == 0; }
	uint64_t blocks_begin() const { return offset / block() * block(); }
	uint64_t blocks_end() const { return (offset + bytes + block() - 1) / block() * block(); }
	/* Is it a direct write of parts of blocks? These are done as src/linux/bounce.c does. */
	bool writes_parts() const
	{
		return data && changes_data() && (!request || copied) && !is_aligned();
	}
	void read_blocks();
	int64_t write_blocks();
	std::string text() const;
	int64_t run();
	int64_t run_failing(World &world);
	int64_t read();
};

std::string Io::text() const
{
	static const char *const names[] = { "read", "write", "write-buffered", "sync", "truncate",
					     "reserve", "punch", "zero", "write-zeroes",
					     "free-space" };
	return "io#" + std::to_string(id) + (request ? " rq-" : " ") + names[kind] + " " +
	       handle->file.path + " " + std::to_string(offset) + "+" + std::to_string(bytes);
}

int64_t Io::read()
{
	const uint64_t size = handle->file.size();
	const uint64_t got = offset >= size ? 0 : std::min(bytes, size - offset);
	handle->file.now().read(offset, { data, got });
	return int64_t(got);
}

void Io::read_blocks()
{
	blocks = handle->file.now().read(blocks_begin(), blocks_end() - blocks_begin());
}

int64_t Io::write_blocks()
{
	const uint64_t head = offset - blocks_begin();
	if (blocks.empty())
		read_blocks();
	std::copy_n(data, bytes, blocks.begin() + ptrdiff_t(head));
	const int64_t result = handle->file.write(
		blocks_begin(), { blocks.data(), blocks_end() - blocks_begin() }, false, effects);
	if (result <= int64_t(head))
		return std::min<int64_t>(result, 0);
	return std::min(result - int64_t(head), int64_t(bytes));
}

int64_t Io::run()
{
	File &file = handle->file;
	const ploop_file_facts &facts = file.facts;

	if (!request && file.unsupported & (1u << kind))
		return -EOPNOTSUPP;
	if (kind == PLOOP_OP_FREE_SPACE)
		return facts.block_device
			       ? -EOPNOTSUPP
			       : int64_t(std::min<uint64_t>(file.space_left(), INT64_MAX));
	if (kind == PLOOP_OP_READ ? !handle->readable : kind != PLOOP_OP_SYNC && !handle->writable)
		return -EBADF;
	switch (kind) {
	case PLOOP_OP_READ:
		return read();
	case PLOOP_OP_WRITE:
	case PLOOP_OP_WRITE_BUFFERED:
		if (writes_parts())
			return write_blocks();
		return file.write(offset, { data, bytes }, !facts.dio_align_bytes && !dsync,
				  effects);
	case PLOOP_OP_SYNC:
		return file.sync(covered, lost_before, 0);
	case PLOOP_OP_TRUNCATE: {
		if (facts.block_device)
			return -EINVAL;
		Effect effect{};
		effect.kind = Effect::Size;
		effect.size = offset;
		return file.change(std::move(effect), effects);
	}
	case PLOOP_OP_RESERVE:
		if (facts.block_device)
			return -EOPNOTSUPP;
		return file.reserve(Effect::Allocate, offset, bytes, true, effects);
	case PLOOP_OP_PUNCH: {
		Effect effect{};
		effect.kind = Effect::Punch;
		effect.offset = offset;
		effect.bytes = bytes;
		return file.change(std::move(effect), effects);
	}
	case PLOOP_OP_ZERO:
		expect(offset + bytes <= file.size(), "ZERO beyond the end of the file: " + text());
		return file.reserve(Effect::Zero, offset, bytes, true, effects);
	case PLOOP_OP_WRITE_ZEROES:
		if (facts.block_device && offset + bytes > file.size())
			return -ENOSPC;
		return file.reserve(Effect::Zero, offset, bytes, false, effects);
	case PLOOP_OP_FREE_SPACE:
		break;
	}
	return -EINVAL;
}

/* An operation that fails may have had its effect, or a part of it. */
int64_t Io::run_failing(World &world)
{
	if (rejected)
		return error;
	if (kind == PLOOP_OP_SYNC)
		return handle->file.sync(covered, lost_before, error);
	if (kind == PLOOP_OP_FREE_SPACE)
		return error;
	if (kind == PLOOP_OP_READ) {
		for (uint64_t i = 0; i < bytes; i++)
			data[i] = 0xEE;
		return error;
	}
	const uint64_t whole = bytes;
	const uint64_t how = world.random(3);
	if (how == 2 && data && bytes > SECTOR)
		bytes = world.random(bytes / SECTOR) * SECTOR;
	if (how != 0 && (bytes || !data))
		run();
	bytes = whole;
	return error;
}

/* ---- Tasks ------------------------------------------------------------ */

constexpr size_t STACK_BYTES = 256 * 1024;

struct Task {
	World &world;
	std::string name;
	std::function<void()> run;
	std::function<bool()> ready = [] { return true; };
	std::unique_ptr<char[]> stack{ new char[STACK_BYTES] };
	ucontext_t here{};
	ucontext_t scheduler{};
	void *fake_stack = nullptr;
	const void *scheduler_bottom = nullptr;
	size_t scheduler_bytes = 0;
	bool started = false;
	bool done = false;
	bool called = false; /* by World::call(), which passes its error on */
	std::exception_ptr error;

	Task(World &w, std::string n, std::function<void()> r)
		: world(w), name(std::move(n)), run(std::move(r))
	{
	}
	void enter(); /* from the scheduler */
	void leave(); /* to the scheduler */
	static void main();
};

static Task *starting;

void Task::main()
{
	Task &task = *starting;
#ifdef SIM_ASAN
	__sanitizer_finish_switch_fiber(nullptr, &task.scheduler_bottom, &task.scheduler_bytes);
#endif
	try {
		task.run();
	} catch (...) {
		task.error = std::current_exception();
	}
	task.done = true;
	task.leave();
	abort();
}

void Task::enter()
{
	if (!started) {
		started = true;
		starting = this;
		getcontext(&here);
		here.uc_stack.ss_sp = stack.get();
		here.uc_stack.ss_size = STACK_BYTES;
		here.uc_link = nullptr;
		makecontext(&here, &Task::main, 0);
	}
#ifdef SIM_ASAN
	void *fake = nullptr;
	__sanitizer_start_switch_fiber(&fake, stack.get(), STACK_BYTES);
#endif
	swapcontext(&scheduler, &here);
#ifdef SIM_ASAN
	__sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void Task::leave()
{
#ifdef SIM_ASAN
	__sanitizer_start_switch_fiber(done ? nullptr : &fake_stack, scheduler_bottom,
				       scheduler_bytes);
#endif
	swapcontext(&here, &scheduler);
#ifdef SIM_ASAN
	__sanitizer_finish_switch_fiber(fake_stack, &scheduler_bottom, &scheduler_bytes);
#endif
}

/* ---- World: the scheduler --------------------------------------------- */

World::World(uint64_t world_seed, Order world_order)
	: seed(world_seed), order(world_order),
	  at_once_chance(world_order == Order::Random ? 0.1 : 0), rng_(world_seed)
{
	if (order == Order::Fifo)
		inline_io = Inline::Always;
	expect(!the_world, "one world at a time");
	the_world = this;
}

World::~World()
{
	const bool broken = stopped_ || std::uncaught_exceptions();
	if (!broken && !memory_.empty())
		fail(std::to_string(memory_.size()) + " allocations are leaked");
	if (broken)
		power_cut(Cut::Drop);
	for (const auto &task : tasks_)
		expect(task->done, "the task " + task->name + " has not ended");
	the_world = nullptr;
}

World &World::current()
{
	expect(the_world, "no world");
	return *the_world;
}

bool World::chance(double probability)
{
	return probability > 0 && double(rng_() >> 11) / double(1ull << 53) < probability;
}

void World::trace(const std::string &line)
{
	std::string text = "[" + std::to_string(now_ms_) + "] " + line;
	for (char c : text)
		trace_hash_ = (trace_hash_ ^ uint8_t(c)) * 0x100000001b3ull;
	trace_.push_back(std::move(text));
	if (trace_.size() > 4096)
		trace_.pop_front();
}

void World::print_trace(size_t lines) const
{
	for (size_t i = trace_.size() - std::min(lines, trace_.size()); i < trace_.size(); i++)
		fprintf(stderr, "  %s\n", trace_[i].c_str());
}

void World::in_context(Context context, const std::function<void()> &run)
{
	const Context before = context_;
	context_ = context;
	run();
	context_ = before;
}

void World::need_process(const char *what) const
{
	expect(context_ != Context::Irq, std::string(what) + " is for process context only");
}

void World::need_task(const char *what) const
{
	expect(context_ == Context::Task && !locked_kinds,
	       std::string(what) + " waits where nothing may wait");
}

void World::post(Host *host, const std::string &label, Context context, std::function<void()> run,
		 uint64_t delay)
{
	if (stopped_)
		return;
	Event event{ host, label, context, std::move(run) };
	if (delay)
		timed_.emplace(now_ms_ + delay, std::move(event));
	else
		ready_.push_back(std::move(event));
}

void World::cancel(Host &host, const std::string &label)
{
	std::erase_if(ready_, [&](const Event &e) { return e.host == &host && e.label == label; });
	std::erase_if(timed_, [&](const auto &e) {
		return e.second.host == &host && e.second.label == label;
	});
}

bool World::has_event(Host &host, const std::string &label) const
{
	const auto is = [&](const Event &e) {
		return e.host == &host && (label.empty() || e.label == label);
	};
	const auto is_timed = [&](const auto &entry) { return is(entry.second); };
	return std::any_of(ready_.begin(), ready_.end(), is) ||
	       std::any_of(timed_.begin(), timed_.end(), is_timed);
}

/* Runs one event or task that can run at this instant. */
bool World::run_one()
{
	expect(!task_ && context_ == Context::Task, "the scheduler is run from within an event");
	if (stopped_)
		return false;
	std::erase_if(tasks_, [](const auto &task) { return task->done && !task->error; });
	std::vector<Task *> tasks;
	for (const auto &task : tasks_)
		if (!task->done && task->ready())
			tasks.push_back(task.get());
	const size_t choices = ready_.size() + tasks.size();
	if (!choices)
		return false;
	const size_t chosen = order == Order::Random ? random(choices) : 0;
	if (chosen >= ready_.size()) {
		resume(*tasks[chosen - ready_.size()]);
		return true;
	}
	Event event = std::move(ready_[chosen]);
	ready_.erase(ready_.begin() + ptrdiff_t(chosen));
	trace((event.host ? event.host->name + ": " : "") + event.label);
	in_context(event.context, event.run);
	return true;
}

bool World::step()
{
	if (run_one())
		return true;
	if (stopped_ || timed_.empty())
		return false;
	now_ms_ = std::max(now_ms_, timed_.begin()->first);
	while (!timed_.empty() && timed_.begin()->first <= now_ms_) {
		ready_.push_back(std::move(timed_.begin()->second));
		timed_.erase(timed_.begin());
	}
	return true;
}

void World::throw_if_stopped() const
{
	if (stopped_)
		throw PowerCut{};
}

void World::run_until(const std::function<bool()> &done)
{
	const uint64_t limit = now_ms_ + patience_ms;
	const auto patient = [&] {
		const bool result = done();
		expect(result || now_ms_ <= limit, "waited too long");
		return result;
	};
	need_task("run_until");
	if (task_) {
		block(patient);
		return;
	}
	while (!patient()) {
		const bool ran = step();
		throw_if_stopped();
		if (!ran)
			fail("deadlock: something waits, and nothing is left to run");
	}
	throw_if_stopped();
}

void World::run_idle()
{
	for (uint64_t steps = 0; run_one(); steps++)
		expect(steps < 10'000'000, "never idle");
	throw_if_stopped();
}

void World::advance_ms(uint64_t ms)
{
	const uint64_t end = now_ms_ + ms;
	if (task_) {
		post(nullptr, "clock", Context::Irq, [] {}, ms);
		block([this, end] { return now_ms_ >= end; });
		return;
	}
	run_idle();
	while (!timed_.empty() && timed_.begin()->first <= end) {
		step();
		run_idle();
	}
	now_ms_ = end;
}

void World::resume(Task &task)
{
	trace("task " + task.name + (task.started ? " goes on" : " starts"));
	Task *const before = std::exchange(task_, &task);
	task.enter();
	task_ = before;
	context_ = Context::Task;
	if (task.error && !task.called) {
		const std::exception_ptr error = std::exchange(task.error, nullptr);
		std::rethrow_exception(error);
	}
}

/* Lets others run until @ready says true; of a dead world, never comes back. */
void World::block(const std::function<bool()> &ready)
{
	Task &task = *task_;
	if (!stopped_ && ready())
		return;
	task.ready = ready;
	task.leave();
}

void World::yield()
{
	if (!task_ || context_ != Context::Task)
		return;
	task_->ready = [] { return true; };
	task_->leave();
}

void World::spawn(const std::string &name, std::function<void()> run)
{
	if (!stopped_)
		tasks_.push_back(std::make_unique<Task>(*this, name, std::move(run)));
}

void World::call(const std::string &name, const std::function<void()> &run)
{
	need_task("World::call");
	if (task_)
		return run();
	throw_if_stopped();
	Task &task = *tasks_.emplace_back(std::make_unique<Task>(*this, name, run));
	task.called = true;
	resume(task);
	run_until([&task] { return task.done; });
	if (task.error) {
		const std::exception_ptr error = std::exchange(task.error, nullptr);
		std::rethrow_exception(error);
	}
}

/* ---- World: files, faults, power -------------------------------------- */

File &World::add_file(const std::string &path, uint64_t bytes)
{
	auto &file = disk.files[path];
	file = std::make_unique<File>(disk, path, next_inode_++);
	file->set_size(bytes);
	return *file;
}

File &World::file(const std::string &path)
{
	const auto it = disk.files.find(path);
	expect(it != disk.files.end(), "no file " + path);
	return *it->second;
}

void World::add_fd(int fd, const std::string &path, bool writable)
{
	fds_.insert_or_assign(fd, Descriptor{ &file(path), writable });
}

Host &World::add_host(const std::string &name, uint64_t device)
{
	return *hosts_.emplace_back(new Host(*this, name, device));
}

void World::expect_still(Host &host)
{
	expect(!host.in_flight, host.name + ": I/O is in flight where none may be");
	expect(!host.epoch_users[0] && !host.epoch_users[1], host.name + ": an epoch is in use");
	for (const char *label :
	     { "work", "timer0", "timer1", "timer2", "timer3", "event", "drained" })
		expect(!has_event(host, label), host.name + ": " + label + " is pending");
	expect(!host.flushing, host.name + ": a flush runs");
}

void World::end_host(Host &host)
{
	expect_still(host);
	expect(!has_event(host, ""), host.name + ": something is pending");
	expect(!host.open_files, host.name + ": a file was left open");
	expect(!host.ops, host.name + ": an operation was not freed");
	expect(!host.flipping, host.name + ": a flip has not ended");
	host.ended = true;
	host.core = nullptr;
}

Fault &World::fail_nth(Fault fault)
{
	return faults_.emplace_back(std::move(fault));
}

uint64_t World::calls(uint32_t mask) const
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < CALLS; i++)
		if (mask & (1u << i))
			sum += calls_[i];
	return sum;
}

/* Counts one call that could fail, and tells the fault that it meets. */
Fault *World::count_call(uint32_t call, const std::string &path)
{
	Fault *met = nullptr;
	calls_[unsigned(__builtin_ctz(call))]++;
	for (Fault &fault : faults_) {
		const bool can = fault.error || call >= CALL_OP_FIRST;
		if (!can || !(fault.calls & call) || (!fault.path.empty() && fault.path != path))
			continue;
		fault.seen++;
		if (fault.seen != fault.nth && !(fault.sticky && fault.seen > fault.nth))
			continue;
		fault.fired++;
		met = &fault;
	}
	if (met)
		trace("fault " + std::to_string(met->error) + " in call " + std::to_string(call));
	return met;
}

void *World::allocate(size_t bytes, uint32_t call)
{
	expect(bytes && bytes <= PLOOP_ALLOC_MAX, "ph_alloc of " + std::to_string(bytes));
	if (count_call(call, {}))
		return nullptr;
	void *memory = nullptr;
	const size_t align = bytes % 4096 == 0 ? 4096 : bytes > 4096 ? 64 : alignof(max_align_t);
	if (posix_memalign(&memory, align, bytes))
		fail("out of memory");
	memset(memory, 0, bytes);
	memory_[memory] = bytes;
	live_bytes_ += bytes;
	peak_bytes_ = std::max(peak_bytes_, live_bytes_);
	return memory;
}

void World::release(void *memory)
{
	if (!memory)
		return;
	const auto found = memory_.find(memory);
	expect(found != memory_.end(), "freed what was not allocated");
	live_bytes_ -= found->second;
	memory_.erase(found);
	::free(memory);
}

int World::open(Host &host, const char *path, int fd, bool write, ploop_file_facts &facts,
		ploop_file *&handle)
{
	File *file = nullptr;
	bool writable = write;
	if (path) {
		if (const auto it = disk.files.find(path); it != disk.files.end())
			file = it->second.get();
		if (file && write && !file->allow_write)
			return -EACCES;
	} else if (const auto it = fds_.find(fd); it != fds_.end()) {
		file = it->second.file;
		writable = it->second.writable;
	}
	if (Fault *fault = count_call(CALL_OPEN, file ? file->path : ""))
		return fault->error;
	if (!file)
		return -ENOENT;
	if (file->open_error)
		return file->open_error;
	facts = file->facts;
	facts.writable = writable;
	auto opened = std::unique_ptr<ploop_file>(
		new ploop_file{ host, *file, facts.readable, writable });
	handle = opened.get();
	handles_[handle] = std::move(opened);
	host.open_files++;
	trace(host.name + ": opens " + file->path);
	return 0;
}

void World::close(ploop_file *handle)
{
	expect(!handle->pending, "closed with I/O in flight: " + handle->file.path);
	handle->host.open_files--;
	expect(handles_.erase(handle), "closed what is not open");
}

void World::submit(std::shared_ptr<Io> io)
{
	File &file = io->handle->file;
	const uint64_t align = std::max(io->handle->file.facts.dio_align_bytes, 512u);
	const bool direct = io->request && !io->copied && !io->rejected;
	io->id = next_io_++;
	if (stopped_)
		return;
	if (direct && (!io->is_aligned() || chance(file.refusal_chance / 2))) {
		io->rejected = true;
		io->error = -EINVAL;
	} else if (direct && io->bytes > SECTOR && chance(file.refusal_chance / 2)) {
		io->bytes = (1 + random(io->bytes / SECTOR - 1)) * SECTOR;
	}
	if (io->request && io->bytes > align && chance(short_chance))
		io->bytes = (1 + random(io->bytes / align)) * align;
	if (Fault *fault = count_call(io->call, file.path)) {
		io->error = io->error ? io->error : fault->error;
		if (!fault->error)
			io->bytes = std::min(io->bytes, fault->short_bytes);
	}
	if (io->kind == PLOOP_OP_SYNC)
		io->covered = file.completed();
	io->lost_before = file.losses_;
	io->handle->pending++;
	io->handle->host.in_flight++;
	in_flight_.push_back(io);
	trace("start " + io->text());
	if (chance(at_once_chance) && !is_kept_out(*io)) {
		apply(io);
		if (!stopped_)
			complete(io);
		return;
	}
	const auto delay = delay_ms.find(io->call);
	post(&io->handle->host, "apply " + io->text(), Context::Irq,
	     [this, io] { begin(io); }, delay == delay_ms.end() ? 0 : delay->second);
}

bool World::is_kept_out(const Io &io) const
{
	const Io *const part = io.handle->file.part_;
	if (!part || !locks_parts || !io.changes_data())
		return false;
	/* One at a time: two parts of one block must not both begin with the old one. */
	return io.writes_parts() ||
	       (io.blocks_begin() < part->blocks_end() && part->blocks_begin() < io.blocks_end());
}

/* Its turn has come: it is done, or the first step of it. */
void World::begin(const std::shared_ptr<Io> &io)
{
	File &file = io->handle->file;
	if (is_kept_out(*io)) {
		file.kept_out_.push_back(io);
	} else if (io->writes_parts()) {
		io->read_blocks();
		file.part_ = io.get();
		post(&io->handle->host, "write back " + io->text(), Context::Irq,
		     [this, io] { finish(io); }, part_ms);
	} else {
		finish(io);
	}
}

void World::finish(const std::shared_ptr<Io> &io)
{
	File &file = io->handle->file;
	apply(io);
	post(&io->handle->host, "complete " + io->text(), Context::Irq,
	     [this, io] { complete(io); });
	if (file.part_ != io.get())
		return;
	file.part_ = nullptr;
	for (const auto &other : std::exchange(file.kept_out_, {}))
		post(&other->handle->host, "apply " + other->text(), Context::Irq,
		     [this, other] { begin(other); });
}

/* Counts a point at which a power cut may be wanted; true: it is now. */
bool World::point(const Io &io)
{
	points_++;
	if (cut_at_ && points_ >= cut_at_ && !stopped_) {
		trace("power cut at point " + std::to_string(points_) + ": " + io.text());
		stopped_ = true;
	}
	return stopped_;
}

void World::apply(const std::shared_ptr<Io> &io)
{
	if (io->writes() && point(*io))
		return;
	io->applied = true;
	io->result = io->error ? io->run_failing(*this) : io->run();
	if (io->writes())
		point(*io);
}

void World::complete(const std::shared_ptr<Io> &io)
{
	io->handle->pending--;
	io->handle->host.in_flight--;
	io->handle->file.told(io->effects, io->dsync && io->result > 0);
	in_flight_.remove(io);
	trace("end io#" + std::to_string(io->id) + " = " + std::to_string(io->result));
	in_context(io->request ? Context::Irq : Context::Done, [&] { io->done(io->result); });
}

void World::power_cut(Cut cut, uint64_t cut_seed)
{
	/* Never freed: what lies on an abandoned stack is not a leak. */
	static auto *const abandoned = new std::vector<std::unique_ptr<Task>>;
	std::mt19937_64 rng(cut_seed);

	trace("power cut");
	expect(!task_, "power_cut() is for the test's own stack");
	if (cut == Cut::Partial)
		for (const auto &io : in_flight_)
			if (!io->applied && io->writes() && io->kind != PLOOP_OP_SYNC && rng() % 2)
				io->run();
	for (const auto &[path, file] : disk.files)
		file->load(file->crash_image(cut, rng()));
	for (auto &task : tasks_)
		if (!task->done && task->started)
			abandoned->push_back(std::move(task));
	tasks_.clear();
	ready_.clear();
	timed_.clear();
	in_flight_.clear();
	handles_.clear();
	faults_.clear();
	for (const auto &[memory, bytes] : memory_)
		::free(memory);
	memory_.clear();
	live_bytes_ = 0;
	for (const auto &host : hosts_)
		host->ended = true;
	global_locked = false;
	locked_kinds = 0;
	context_ = Context::Task;
	stopped_ = false;
	cut_at_ = 0;
	boot_++;
}

/* ---- Requests --------------------------------------------------------- */

static void poison(Request &request, bool on)
{
	ploop_rq *const part = &request;
#ifdef SIM_ASAN
	if (on)
		ASAN_POISON_MEMORY_REGION(part, sizeof(*part));
	else
		ASAN_UNPOISON_MEMORY_REGION(part, sizeof(*part));
#else
	if (on)
		memset(part, 0xDB, sizeof(*part));
#endif
}

Request::~Request()
{
	poison(*this, false);
}

void Request::prepare(ploop_core *for_core, ploop_rq_op what, uint64_t at, uint32_t sectors,
		      uint8_t rq_flags)
{
	poison(*this, false);
	*static_cast<ploop_rq *>(this) = {};
	core = for_core;
	sector = at;
	nr_sectors = sectors;
	op = uint8_t(what);
	flags = rq_flags;
	ends = 0;
	requeued = false;
	if (what == PLOOP_RQ_READ || what == PLOOP_RQ_WRITE)
		buffer.resize(sectors * SECTOR);
}

} /* namespace sim */

bool ploop_host::logged(const std::string &part) const
{
	return std::any_of(logs.begin(), logs.end(), [&](const auto &log) {
		return log.second.find(part) != std::string::npos;
	});
}

/* ---- The contract ----------------------------------------------------- */

using sim::Context;
using sim::expect;
using sim::World;

void *ph_alloc(size_t bytes)
{
	World::current().need_process("ph_alloc");
	return World::current().allocate(bytes, sim::CALL_ALLOC);
}

void ph_free(void *memory)
{
	World::current().need_process("ph_free");
	World::current().release(memory);
}

bool ph_list_push(ploop_list *list, ploop_node *node)
{
	if (const auto run = std::exchange(sim::beside_push, nullptr))
		run();
	ploop_node *first = __atomic_load_n(&list->first, __ATOMIC_RELAXED);
	do
		node->next = first;
	while (!__atomic_compare_exchange_n(&list->first, &first, node, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
	return !first;
}

ploop_node *ph_list_take(ploop_list *list)
{
	return __atomic_exchange_n(&list->first, nullptr, __ATOMIC_ACQUIRE);
}

void ph_kick(ploop_host *host)
{
	expect(!host->ended, host->name + ": kicked when it was gone");
	if (host->world.stopped() || host->closing || host->quiet)
		return;
	if (std::exchange(host->kicked, true))
		return;
	host->world.post(host, "work", Context::Worker, [host] {
		host->kicked = false;
		pc_work(host->core);
	});
}

void ph_flush_kick(ploop_host *host)
{
	World &world = host->world;
	expect(!host->ended, host->name + ": kicked when it was gone");
	if (world.stopped() || host->closing || host->quiet)
		return;
	host->flush_kicked = true;
	if (std::exchange(host->flushing, true))
		return;
	/* A task, because it may wait. */
	world.spawn(host->name + ": flush", [host] {
		while (std::exchange(host->flush_kicked, false))
			pc_flush(host->core);
		host->flushing = false;
	});
}

static std::string timer_label(ploop_timer which)
{
	return "timer" + std::to_string(which);
}

void ph_timer_arm(ploop_host *host, ploop_timer which, uint32_t delay_ms)
{
	expect(!host->ended, host->name + ": a timer was armed when it was gone");
	if (host->world.stopped() || host->closing || host->quiet)
		return;
	ph_timer_stop(host, which);
	host->world.post(host, timer_label(which), Context::Irq,
			 [host, which] { pc_timer(host->core, which); }, delay_ms);
}

void ph_timer_stop(ploop_host *host, ploop_timer which)
{
	host->world.cancel(*host, timer_label(which));
}

static void deliver_event(ploop_host *host)
{
	host->event_raised = false;
	host->events++;
	host->world.trace(host->name + ": event " + std::to_string(host->events));
	host->on_event();
}

void ph_quiesce(ploop_host *host)
{
	World &world = host->world;
	world.need_task("ph_quiesce");
	/* From here no kick passes. */
	host->closing = true;
	/* Work that is pending may still be run by this, or be cancelled. */
	if (host->kicked && world.chance(0.5))
		world.run_until([host] { return !host->kicked; });
	host->kicked = false;
	world.cancel(*host, "work");
	world.run_until([host] { return !host->flushing; });
	for (int which = 0; which < PLOOP_TIMERS; which++)
		ph_timer_stop(host, ploop_timer(which));
	if (host->event_raised) {
		world.cancel(*host, "event");
		deliver_event(host);
	}
	host->quiet = true;
	host->closing = false;
}

void ph_start(ploop_host *host)
{
	host->world.need_process("ph_start");
	host->quiet = false;
	/* Raised while it was quiet: late, not lost. */
	if (host->event_raised)
		host->world.post(host, "event", Context::Worker, [host] { deliver_event(host); });
}

uint64_t ph_now_ms(void)
{
	return World::current().now_ms() + 1; /* never 0 */
}

void ph_wait_init(ploop_wait *wait)
{
	wait->room[0] = 0x57414954;
	wait->room[1] = 0;
}

void ph_wait_signal(ploop_wait *wait)
{
	expect(wait->room[0] == 0x57414954, "signalled what was not initialised");
	wait->room[1] = 1;
}

void ph_wait(ploop_wait *wait)
{
	World::current().need_task("ph_wait");
	World::current().run_until([wait] { return wait->room[1] == 1; });
	wait->room[1] = 0;
}

constexpr uint64_t LOCK_MAGIC = 0x4c4f434b;

void ph_lock_init(ploop_lock *lock, uint32_t kind)
{
	expect(kind < PLOOP_LOCK_KINDS, "a lock of kind " + std::to_string(kind));
	lock->room[0] = LOCK_MAGIC + kind;
	lock->room[1] = 0;
}

/* Nothing runs beside whoever runs; who would wait here waits for itself. */
void ph_lock(ploop_lock *lock)
{
	World &world = World::current();
	const uint64_t kind = lock->room[0] - LOCK_MAGIC;
	expect(kind < PLOOP_LOCK_KINDS, "locked what is not initialised");
	if (world.stopped())
		return;
	expect(!(world.locked_kinds & (1u << kind)), "a lock of this kind is held already");
	world.locked_kinds |= 1u << kind;
	lock->room[1] = 1;
}

void ph_unlock(ploop_lock *lock)
{
	World &world = World::current();
	if (world.stopped())
		return;
	expect(lock->room[1] == 1, "unlocked what is not locked");
	lock->room[1] = 0;
	world.locked_kinds &= ~(1u << (lock->room[0] - LOCK_MAGIC));
}

void ph_global_lock(void)
{
	World &world = World::current();
	world.need_process("ph_global_lock");
	if (world.global_locked) {
		world.need_task("ph_global_lock");
		world.run_until([&world] { return !world.global_locked; });
	}
	world.global_locked = true;
}

void ph_global_unlock(void)
{
	expect(World::current().global_locked, "unlocked what is not locked");
	World::current().global_locked = false;
}

static void drained(ploop_host *host, bool maybe_at_once)
{
	World &world = host->world;
	if (!host->flipping || host->drained_posted || host->epoch_users[host->epoch ^ 1])
		return;
	host->drained_posted = true;
	const auto run = [host] {
		host->flipping = false;
		host->drained_posted = false;
		pc_epoch_drained(host->core);
	};
	if (maybe_at_once && !world.stopped() && world.chance(world.at_once_chance))
		world.in_context(Context::Irq, run);
	else
		world.post(host, "drained", Context::Irq, run);
}

uint32_t ph_epoch_enter(ploop_host *host)
{
	host->epoch_users[host->epoch]++;
	return host->epoch;
}

void ph_epoch_exit(ploop_host *host, uint32_t epoch)
{
	expect(epoch < 2 && host->epoch_users[epoch], host->name + ": left an epoch not entered");
	host->epoch_users[epoch]--;
	drained(host, true);
}

void ph_epoch_flip(ploop_host *host)
{
	host->world.need_process("ph_epoch_flip");
	expect(!host->flipping, host->name + ": one flip at a time");
	host->flipping = true;
	host->epoch ^= 1;
	drained(host, true);
}

int ph_file_open(ploop_host *host, const char *path, int fd, bool write, ploop_file_facts *facts,
		 ploop_file **file)
{
	host->world.need_process("ph_file_open");
	return host->world.open(*host, path, fd, write, *facts, *file);
}

void ph_file_close(ploop_file *file)
{
	file->host.world.need_process("ph_file_close");
	file->host.world.close(file);
}

uint64_t ph_file_size(ploop_file *file)
{
	file->host.world.need_process("ph_file_size");
	return file->file.size();
}

int64_t ph_file_sync(ploop_file *file)
{
	World &world = file->host.world;
	bool ended = false;
	int64_t ended_with = 0;
	world.need_task("ph_file_sync");

	auto io = std::make_shared<sim::Io>();
	io->handle = file;
	io->call = sim::call_of(PLOOP_OP_SYNC);
	io->kind = PLOOP_OP_SYNC;
	io->done = [&ended, &ended_with](int64_t result) {
		ended = true;
		ended_with = result;
	};
	world.submit(std::move(io));
	world.run_until([&ended] { return ended; });
	return ended_with;
}

int ph_file_path(ploop_file *file, char *text, size_t bytes)
{
	const std::string &path = file->file.path;
	file->host.world.need_process("ph_file_path");
	if (path.size() + 1 > bytes)
		return -ERANGE;
	memcpy(text, path.c_str(), path.size() + 1);
	return 0;
}

namespace {

/* What ph_op_new() gives: the core's operation, and whose it is. */
struct HostOp : ploop_op {
	ploop_host *host;
	bool pending;
};

} /* namespace */

ploop_op *ph_op_new(ploop_host *host)
{
	host->world.need_process("ph_op_new");
	void *const memory = host->world.allocate(sizeof(HostOp), sim::CALL_OP_NEW);
	if (!memory)
		return nullptr;
	HostOp *const op = new (memory) HostOp{};
	op->host = host;
	host->ops++;
	return op;
}

void ph_op_free(ploop_op *op)
{
	if (!op)
		return;
	HostOp *const own = static_cast<HostOp *>(op);
	own->host->world.need_process("ph_op_free");
	expect(!own->pending || own->host->world.stopped(), "freed an operation in flight");
	own->host->ops--;
	own->host->world.release(own);
}

void ph_op_start(ploop_op *op)
{
	HostOp *const own = static_cast<HostOp *>(op);
	World &world = own->host->world;
	world.need_process("ph_op_start");
	expect(!own->pending, "started an operation twice");
	expect(&op->file->host == own->host, "an operation on another instance's file");
	own->pending = true;

	auto io = std::make_shared<sim::Io>();
	io->handle = op->file;
	io->call = sim::call_of(op->kind);
	io->kind = op->kind;
	io->offset = op->offset;
	io->bytes = op->bytes;
	if (op->kind <= PLOOP_OP_WRITE_BUFFERED) {
		expect(op->buffer && op->bytes, "an operation without a buffer");
		io->data = static_cast<uint8_t *>(op->buffer);
	}
	io->done = [own](int64_t result) {
		own->pending = false;
		own->done(own, result);
	};
	world.submit(std::move(io));
}

void ph_rq_io(ploop_rq *rq, ploop_file *file, uint64_t offset, uint32_t skip, uint32_t bytes,
	      uint32_t flags)
{
	sim::Request &request = static_cast<sim::Request &>(*rq);
	World &world = file->host.world;
	const bool write = rq->op == PLOOP_RQ_WRITE;
	expect(request.ends == 0, "I/O for a request that has ended");
	expect(write || rq->op == PLOOP_RQ_READ, "I/O for a request without data");
	expect(bytes && uint64_t(skip) + bytes <= request.buffer.size(),
	       "I/O outside of the request's data");
	expect(!(flags & PLOOP_IO_DSYNC) || (write && !(flags & PLOOP_IO_INLINE)),
	       "PLOOP_IO_DSYNC is for writes in a worker only");
	request.io_pending++;

	auto io = std::make_shared<sim::Io>();
	io->handle = file;
	io->request = true;
	io->call = write ? sim::CALL_RQ_WRITE : sim::CALL_RQ_READ;
	io->kind = write ? PLOOP_OP_WRITE : PLOOP_OP_READ;
	io->offset = offset;
	io->bytes = bytes;
	io->data = request.buffer.data() + skip;
	io->copied = flags & PLOOP_IO_COPIED;
	/* What is copied into the page cache goes to the disk before it ends, see rw.c. */
	io->dsync = write &&
		    (flags & PLOOP_IO_DSYNC || (io->copied && !file->file.facts.dio_align_bytes));
	io->done = [&request](int64_t result) {
		request.io_pending--;
		pc_rq_done(&request, result);
	};
	if (flags & PLOOP_IO_INLINE) {
		expect(world.context() == Context::Map, "PLOOP_IO_INLINE is for pc_map() only");
		if (!file->file.facts.inline_ok || world.inline_io == sim::Inline::Never ||
		    world.is_kept_out(*io) ||
		    (world.inline_io == sim::Inline::Random && world.chance(0.3))) {
			io->rejected = true;
			io->error = world.chance(0.1) ? -EOPNOTSUPP : -EAGAIN;
		}
	}
	world.submit(std::move(io));
}

void ph_rq_zero_fill(ploop_rq *rq)
{
	sim::Request &request = static_cast<sim::Request &>(*rq);
	expect(request.ends == 0 && rq->op == PLOOP_RQ_READ, "zero-fill of no read under way");
	std::fill(request.buffer.begin(), request.buffer.end(), 0);
}

bool ph_rq_is_zero(ploop_rq *rq)
{
	sim::Request &request = static_cast<sim::Request &>(*rq);
	World::current().need_process("ph_rq_is_zero");
	expect(request.ends == 0 && rq->op == PLOOP_RQ_WRITE, "asked for no write's data");
	if (const auto run = std::exchange(sim::beside, nullptr))
		run(rq->sector);
	return std::all_of(request.buffer.begin(), request.buffer.end(),
			   [](uint8_t byte) { return byte == 0; });
}

void ph_rq_end(ploop_rq *rq, int error)
{
	sim::Request &request = static_cast<sim::Request &>(*rq);
	World &world = World::current();
	expect(++request.ends == 1, "a request ended twice");
	expect(!request.io_pending, "a request ended with its I/O in flight");
	expect(error <= PLOOP_END_REQUEUE, "a request ended with " + std::to_string(error));
	request.ended_with = error;
	request.ended_ms = world.now_ms();
	request.requeued = error == PLOOP_END_REQUEUE;
	world.trace("request op " + std::to_string(rq->op) + " " + std::to_string(rq->sector) +
		    "+" + std::to_string(rq->nr_sectors) + " ends with " + std::to_string(error));
	sim::poison(request, true);
	if (request.on_end && !world.stopped())
		std::exchange(request.on_end, nullptr)(request);
}

bool ph_may_requeue(ploop_host *host)
{
	return host->may_requeue();
}

void ph_broken(const char *text)
{
	expect(false, text);
}

void ph_log(ploop_host *host, ploop_log level, const char *text)
{
	host->world.trace(host->name + ": log: " + text);
	host->logs.emplace_back(level, text);
}

void ph_event(ploop_host *host)
{
	if (host->world.stopped())
		return;
	expect(!host->ended, host->name + ": an event was raised when it was gone");
	if (!std::exchange(host->event_raised, true) && !host->quiet)
		host->world.post(host, "event", Context::Worker, [host] { deliver_event(host); });
}

uint64_t ph_device_id(ploop_host *host)
{
	return host->device;
}

void ph_yield(void)
{
	World::current().yield();
}
