/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A simulated host: it implements include/ploop/host.h for the tests.
 *
 * Everything is single-threaded and driven by one seeded scheduler in virtual
 * time, so a run is replayed exactly by its seed. Files have a durable image
 * and a log of effects that a power cut may keep, drop or tear.
 */
#ifndef TESTS_SIM_HOST_H
#define TESTS_SIM_HOST_H

#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "ploop/host.h"
#include "ploop/target.h"

namespace sim {

class World;
class File;
struct Io;
struct Request;
using Host = ::ploop_host;

constexpr uint64_t SECTOR = 512;
constexpr uint64_t UNIT = 4096; /* what space is given out in */

/* Thrown out of the run functions (never through the core, see World::call). */
struct PowerCut {
};

/* Prints why and the trace of the current world, and aborts. */
[[noreturn]] void fail(const std::string &why);

/* ---- Disk and files --------------------------------------------------- */

/* A set of integers, kept as disjoint half-open ranges. */
class Ranges {
public:
	void add(uint64_t from, uint64_t to);
	void remove(uint64_t from, uint64_t to);
	uint64_t missing(uint64_t from, uint64_t to) const;
	uint64_t count() const { return count_; }

private:
	std::map<uint64_t, uint64_t> ranges_;
	uint64_t count_ = 0;
};

using KeepSector = std::function<bool(uint64_t sector)>;

/* The content of a file: sparse, any size. */
class Image {
public:
	uint64_t size() const { return size_; }
	void resize(uint64_t bytes);
	/* What lies beyond the end reads as zeros. */
	void read(uint64_t offset, std::span<uint8_t> data) const;
	std::vector<uint8_t> read(uint64_t offset, uint64_t bytes) const;
	/* Writes what lies within the size; only the sectors that @keep names, if given. */
	void write(uint64_t offset, std::span<const uint8_t> data, const KeepSector &keep = {});
	void zero(uint64_t offset, uint64_t bytes, const KeepSector &keep = {});
	/* Gives back the whole units of the range, after zero(). */
	void release(uint64_t offset, uint64_t bytes);
	void allocate(uint64_t offset, uint64_t bytes);
	const Ranges &allocated() const { return allocated_; }
	bool operator==(const Image &other) const;

private:
	using Page = std::array<uint8_t, UNIT>;
	uint64_t size_ = 0;
	std::map<uint64_t, Page> pages_;
	Ranges allocated_;
};

/* One change of a file that may not be durable yet. */
struct Effect {
	enum Kind { Write, Zero, Punch, Allocate, Size } kind;
	uint64_t id = 0;
	uint64_t offset = 0;
	uint64_t bytes = 0;
	std::vector<uint8_t> data;
	uint64_t size = 0;      /* the file's size after it */
	bool grows = false;     /* it changed the size */
	bool cached = false;    /* in the page cache: lost by a sync without space */
	bool completed = false; /* its caller was told */
	bool durable = false;   /* a power cut keeps it */
	bool lost = false;      /* a sync failed to write it and has told so: none covers it now */
};

/* The space that all files of a world share. */
struct Disk {
	uint64_t capacity = UINT64_MAX; /* bytes; may be changed at any time */
	uint64_t quota = UINT64_MAX;    /* the same, for a quota (EDQUOT is told as ENOSPC) */
	bool short_writes = false;      /* a write that fits in part is short, not -ENOSPC */
	bool copy_on_write = false;     /* overwrites and syncs need spare space too */
	std::map<std::string, std::unique_ptr<File>> files;

	uint64_t used() const;
	uint64_t free() const;
};

enum class Cut {
	Drop,    /* only what is durable survives */
	Keep,    /* all that was applied survives */
	Partial, /* any subset of the rest, by sectors, of writes in flight too */
};

/* How a file takes direct I/O. */
enum class Direct {
	Sectors,
	Blocks,    /* of 4 KiB: who writes parts of them reads, changes and writes them whole */
	Sometimes, /* of 4 KiB; some are refused, some end off their alignment */
	Never,     /* all goes through the page cache */
};

/*
 * The page cache is here for files without direct I/O only. Of others nothing is in it but
 * what somebody else has read there, and the contract has no way to put more there: that
 * is the host's affair alone, and tests/vm/io.sh looks at it. What somebody else has there
 * cannot be told from what is on the disk either, as direct transfers and punches write it
 * back, or drop it, first. A direct write that the file system has done through the page
 * cache is like any other: a sync makes it durable, or loses it.
 */
class File {
public:
	File(Disk &disk, std::string path, uint64_t inode);
	/* Before it is opened. */
	void take_direct(Direct how);

	const std::string path;
	/* What ph_file_open() tells. */
	ploop_file_facts facts{};
	bool allow_write = true;
	int open_error = 0;
	uint32_t unsupported = 0; /* bits 1 << enum ploop_op_kind: -EOPNOTSUPP */
	double refusal_chance = 0; /* that a direct transfer of a request is not done as it is */

	/* For tests: straight to now and durable, no accounting of faults. */
	void poke(uint64_t offset, std::span<const uint8_t> data);
	void set_size(uint64_t bytes);
	std::vector<uint8_t> peek(uint64_t offset, uint64_t bytes) const;

	const Image &now() const { return now_; }
	/* What a power cut now would leave. */
	Image crash_image(Cut cut, uint64_t seed) const;
	/* Replaces the content; all of it is durable. */
	void load(Image image);
	/* Is everything that was applied durable? */
	bool clean() const { return log_.empty(); }
	uint64_t size() const { return now_.size(); }
	/* What its disk can still give, in bytes. */
	uint64_t space_left() const { return disk_.free(); }

private:
	friend class World;
	friend struct Disk;
	friend struct Io;

	int64_t write(uint64_t offset, std::span<const uint8_t> data, bool buffered,
		      std::vector<uint64_t> &effects);
	int64_t change(Effect effect, std::vector<uint64_t> &effects);
	int64_t reserve(Effect::Kind kind, uint64_t offset, uint64_t bytes, bool keep_size,
			std::vector<uint64_t> &effects);
	bool takes_space(uint64_t offset, uint64_t bytes, bool data);
	std::vector<uint64_t> completed() const;
	void told(const std::vector<uint64_t> &effects, bool durable);
	int64_t sync(const std::vector<uint64_t> &covered, uint64_t lost_before, int error);
	void settle();
	void drop_lost_pages();
	Effect *find(uint64_t id);

	Disk &disk_;
	Image now_;
	Image durable_;
	std::deque<Effect> log_; /* over durable_, in the order they were applied */
	uint64_t next_effect_ = 1;
	uint64_t pinned_ = 0; /* units of old copies that live until the next sync */
	uint64_t losses_ = 0; /* syncs that lost data */
	int lost_with_ = 0;   /* the error of the last of them */
	Io *part_ = nullptr;  /* a write of parts of blocks, which it has read */
	std::vector<std::shared_ptr<Io>> kept_out_; /* by that */
};

/* ---- Faults ----------------------------------------------------------- */

enum Call : uint32_t {
	CALL_ALLOC = 1u << 0,
	CALL_OP_NEW = 1u << 1,
	CALL_OPEN = 1u << 2,
	CALL_OP_FIRST = 1u << 3, /* and on, by enum ploop_op_kind */
	CALL_OP_LAST = CALL_OP_FIRST << PLOOP_OP_FREE_SPACE,
	CALL_RQ_READ = CALL_OP_LAST << 1,
	CALL_RQ_WRITE = CALL_RQ_READ << 1,
	CALL_ALL = (CALL_RQ_WRITE << 1) - 1,
};
constexpr unsigned CALLS = unsigned(std::popcount(uint32_t(CALL_ALL)));

constexpr uint32_t call_of(ploop_op_kind kind)
{
	return CALL_OP_FIRST << kind;
}

struct Fault {
	uint32_t calls = CALL_ALL; /* which calls count, and can fail */
	uint64_t nth = 1;          /* of those, counted from now */
	int error = -EIO;          /* 0: the result is short instead, see short_bytes */
	bool sticky = false;       /* every later one fails too */
	uint64_t short_bytes = 0;  /* most that is read or written */
	std::string path = {};     /* only this file's, if not empty */
	uint64_t seen = 0;
	uint64_t fired = 0;
};

/* ---- The world -------------------------------------------------------- */

enum class Order { Random, Fifo };
enum class Inline { Never, Always, Random };
/* Where the core is called; what it may do depends on that. */
enum class Context { Task, Map, Worker, Done, Irq };

struct Task;

class World {
public:
	explicit World(uint64_t seed = 1, Order order = Order::Random);
	~World();
	World(const World &) = delete;
	World &operator=(const World &) = delete;
	static World &current();

	const uint64_t seed;
	const Order order;
	Disk disk;

	/* Knobs, free to change at any time. */
	Inline inline_io = Inline::Random;
	double at_once_chance;    /* that I/O ends before the call that starts it returns */
	double short_chance = 0;  /* that the I/O of a request is short */
	uint64_t part_ms = 0;     /* between the two steps of who writes parts of blocks */
	bool locks_parts = true;  /* nobody else writes those blocks meanwhile */
	std::map<uint32_t, uint32_t> delay_ms; /* by Call: virtual time that I/O takes */
	uint64_t patience_ms = 3600 * 1000;    /* longer virtual waits are failures */

	File &add_file(const std::string &path, uint64_t bytes = 0);
	File &file(const std::string &path);
	/* A descriptor for the table line. */
	void add_fd(int fd, const std::string &path, bool writable);
	Host &add_host(const std::string &name, uint64_t device);
	/* The instance is destroyed: asserts that nothing of it is left. */
	void end_host(Host &host);
	/* Asserts that the files are not used: nothing of the host is in flight. */
	void expect_still(Host &host);

	uint64_t now_ms() const { return now_ms_; }
	uint64_t random() { return rng_(); }
	uint64_t random(uint64_t below) { return rng_() % below; }
	bool chance(double probability);

	/* Runs one runnable event, or advances to the next timer; false: nothing is left. */
	bool step();
	/* Fails if there is nothing to run, or after patience_ms. In a task, waits. */
	void run_until(const std::function<bool()> &done);
	/* Runs until nothing is runnable; virtual time stands still. */
	void run_idle();
	/* Runs all that happens in the next @ms. */
	void advance_ms(uint64_t ms);
	/* A task of its own, with a stack: it may wait while others run. */
	void spawn(const std::string &name, std::function<void()> run);
	/*
	 * Runs @run as a task, and all others until it ends. A power cut abandons
	 * the stack of the task, and PowerCut is thrown from here.
	 */
	void call(const std::string &name, const std::function<void()> &run);
	/* Has @run called soon, by the scheduler. */
	void post(Host *host, const std::string &label, Context context, std::function<void()> run,
		  uint64_t delay_ms = 0);

	Fault &fail_nth(Fault fault);
	void clear_faults() { faults_.clear(); }
	uint64_t calls(uint32_t mask) const; /* how many there were */

	/*
	 * Every write-like call has two points: before and after it takes effect.
	 * The world stops at the @n-th from now.
	 */
	void cut_at(uint64_t n) { cut_at_ = points_ + n; }
	uint64_t points() const { return points_; }
	bool stopped() const { return stopped_; }
	/* Ends all that runs, frees all memory, and leaves files for a new start. */
	void power_cut(Cut cut, uint64_t cut_seed = 0);
	/* Counts power cuts. */
	uint64_t boot() const { return boot_; }
	size_t live_allocations() const { return memory_.size(); }
	/* The most memory that was taken at any time. */
	uint64_t peak_bytes() const { return peak_bytes_; }

	void trace(const std::string &line);
	uint64_t trace_hash() const { return trace_hash_; }
	void print_trace(size_t lines = 200) const;
	const std::deque<std::string> &trace_lines() const { return trace_; }

	uint64_t next_device_id() { return ++devices_; }

	/* For the ph_ functions and for Device. */
	Context context() const { return context_; }
	void in_context(Context context, const std::function<void()> &run);
	void need_process(const char *what) const;
	void need_task(const char *what) const;
	void *allocate(size_t bytes, uint32_t call);
	void release(void *memory);
	void submit(std::shared_ptr<Io> io);
	/* Is a part of what it writes being written, so that it has to wait? */
	bool is_kept_out(const Io &io) const;
	int open(Host &host, const char *path, int fd, bool write, ploop_file_facts &facts,
		 ploop_file *&handle);
	void close(ploop_file *handle);
	void cancel(Host &host, const std::string &label);
	bool has_event(Host &host, const std::string &label) const;
	void yield();
	bool global_locked = false;
	uint32_t locked_kinds = 0; /* of ph_lock(), a bit each */

private:
	friend struct Task;
	struct Event {
		Host *host;
		std::string label;
		Context context;
		std::function<void()> run;
	};
	struct Descriptor {
		File *file;
		bool writable;
	};

	bool run_one();
	void resume(Task &task);
	void block(const std::function<bool()> &ready);
	bool point(const Io &io);
	Fault *count_call(uint32_t call, const std::string &path);
	void begin(const std::shared_ptr<Io> &io);
	void finish(const std::shared_ptr<Io> &io);
	void apply(const std::shared_ptr<Io> &io);
	void complete(const std::shared_ptr<Io> &io);
	void throw_if_stopped() const;

	std::mt19937_64 rng_;
	uint64_t now_ms_ = 0;
	std::deque<Event> ready_;
	std::multimap<uint64_t, Event> timed_;
	std::list<std::unique_ptr<Task>> tasks_;
	Task *task_ = nullptr;
	Context context_ = Context::Task;
	std::list<std::unique_ptr<Host>> hosts_;
	std::map<int, Descriptor> fds_;
	std::map<ploop_file *, std::unique_ptr<ploop_file>> handles_;
	std::list<std::shared_ptr<Io>> in_flight_;
	std::map<void *, size_t> memory_;
	uint64_t live_bytes_ = 0;
	uint64_t peak_bytes_ = 0;
	std::list<Fault> faults_;
	std::array<uint64_t, CALLS> calls_{};
	uint64_t points_ = 0;
	uint64_t cut_at_ = 0;
	uint64_t next_io_ = 1;
	uint64_t next_inode_ = 1;
	uint64_t boot_ = 0;
	uint64_t devices_ = 0;
	bool stopped_ = false;
	std::deque<std::string> trace_;
	uint64_t trace_hash_ = 0xcbf29ce484222325ull;
};

/* ---- Requests --------------------------------------------------------- */

/*
 * A request of a test. Between ph_rq_end() and the next prepare() the core's
 * part of it may not be touched; with ASan it cannot be.
 */
struct Request : ploop_rq {
	std::vector<uint8_t> buffer;
	int ends = 0; /* how often it ended, since prepare() */
	int ended_with = 0;
	uint64_t ended_ms = 0;
	bool requeued = false;
	unsigned io_pending = 0;
	/* Called last by ph_rq_end(); may delete the request. */
	std::function<void(Request &)> on_end;

	Request() = default;
	Request(const Request &) = delete;
	Request &operator=(const Request &) = delete;
	~Request();
	/* Fills the host's part; the rest begins as zero, as the contract says. */
	void prepare(ploop_core *for_core, ploop_rq_op what, uint64_t at, uint32_t sectors,
		     uint8_t rq_flags);
	bool ended() const { return ends == 1; }
};

} /* namespace sim */

/* What the contract calls the host's side of an instance. */
struct ploop_host {
	ploop_host(sim::World &w, std::string n, uint64_t d)
		: world(w), name(std::move(n)), device(d)
	{
	}

	sim::World &world;
	std::string name;
	uint64_t device; /* equal for all instances of one device */
	ploop_core *core = nullptr; /* set by who called pc_construct() */
	std::function<bool()> may_requeue = [] { return false; };
	std::function<void()> on_event = [] {};
	std::vector<std::pair<ploop_log, std::string>> logs;
	uint64_t events = 0; /* delivered */

	bool quiet = true;
	bool closing = false; /* on the way there */
	bool ended = false;
	bool kicked = false;
	bool flush_kicked = false;
	bool flushing = false;
	bool event_raised = false;
	unsigned open_files = 0;
	unsigned ops = 0;
	unsigned in_flight = 0;
	uint64_t epoch_users[2] = {};
	uint32_t epoch = 0;
	bool flipping = false;
	bool drained_posted = false;

	bool logged(const std::string &part) const;
};

#endif
