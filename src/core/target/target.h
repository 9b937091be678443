// SPDX-License-Identifier: GPL-2.0
// One instance of the target: its parts, the way of a request through them, and
// the life cycle.
//
// Who runs what. pc_map() and the ends of I/O run in any context, many at a
// time: they read the map and the gate, submit, and push what needs a decision
// to the inbox. Everything else is the worker's: one thread at a time, never
// waiting, so that the parts need no lock. Constructor, resume and the end of
// suspend run in process context when the worker is quiet, or wait for it.
#pragma once

#include "base/atomics.h"
#include "base/request.h"
#include "commit/committer.h"
#include "commit/freer.h"
#include "format/table_line.h"
#include "io/range_walker.h"
#include "io/writer.h"
#include "map/image.h"
#include "map/map.h"
#include "map/space.h"
#include "nospace/low_space.h"
#include "nospace/outage.h"
#include "target/registry.h"

namespace ploop {

enum class Mode : uint8_t {
	rw,
	nospace, // requests that need space wait
	failed,	 // the map could not be written: every write and flush fails
	ro,	 // the table is read-only
};

enum class Suspending : uint8_t { none, noflush, flush };

// Two groups of members begin a cache line of their own, which the checker counts as waste.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
class Target {
public:
	explicit Target(ploop_host *host)
		: host_(host), image_(host), writer_(*this), committer_(*this), freer_(*this),
		  walker_(*this), outage_(*this), low_space_(*this)
	{
	}
	Target(const Target &) = delete;
	Target &operator=(const Target &) = delete;
	~Target();

	// ---- The contract's calls, see include/ploop/target.h ----

	Status construct(const ploop_table &table, unsigned int argc, char **argv, Text &error);
	void limits(ploop_limits &limits) const;
	Status preresume();
	void resume();
	void presuspend(bool noflush);
	void presuspend_undo();
	void postsuspend();
	uint32_t map_limit(uint64_t sector) const;
	void map(ploop_rq *rq);
	void io_done(ploop_rq *rq, int64_t result);
	void epoch_drained() { signal(kSignalDrained); }
	void timer(ploop_timer which);
	void work();
	int message(unsigned int argc, char **argv, Text &reply);
	void status(ploop_status kind, Text &text) const;

	// ---- For the parts ----

	// Any context: the worker looks at the request.
	void to_worker(ploop_rq *rq, Stage stage);
	// Any context but irq: the worker handles the end of the operation.
	void operation_ended(ploop_node *node);

	// The worker's, all of them.
	// Dispatches the request (again), after what is being done now.
	void again(ploop_rq *rq) { ready_.push(rq); }
	// Starts the I/O of a request on a cluster. Its stage says what the end means.
	void submit(ploop_rq *rq, FileCluster cluster, bool try_inline);
	// The request was served; a FUA one waits for its commit, any other ends.
	void finish(ploop_rq *rq, Status status);
	// The map could not be written: from now on nothing is promised any more.
	void fail(Status status);
	void set_mode(Mode mode);
	// Writes fail with this error until a commit has succeeded.
	void latch(Status status) { gate_.store_release(status.code()); }
	void open_gate();
	Status gate() const { return Status::from(gate_.load_acquire()); }
	void raise_enospc();
	void raise_lowspace(uint64_t free_mib);
	// Is the image on a block device that others have made larger? If so, the
	// space there is known now.
	bool extend_to_device();

	// The worker: not between the end of a suspend and the next resume.
	bool may_touch_files() const { return stop_ != Stop::done; }
	bool failed() const { return mode() == Mode::failed; }
	Mode mode() const { return static_cast<Mode>(mode_.load_relaxed()); }
	Suspending suspending() const
	{
		return static_cast<Suspending>(suspending_.load_relaxed());
	}
	bool stopping() const { return stop_ != Stop::none; }
	uint64_t position(const ploop_rq *rq) const { return rq->sector + skip_sectors_; }

	static constexpr uint32_t kCommitDelayMs = 5000;
	// Of one run of the worker; then it begins anew.
	static constexpr unsigned int kPassesMost = 16;
	static constexpr size_t kCacheLine = 64;

private:
	friend class Writer;
	friend class Committer;
	friend class Freer;
	friend class RangeWalker;
	friend class Outage;
	friend class LowSpace;

	enum Signal : uint32_t {
		kSignalRetryTimer = 1,
		kSignalCommitTimer = 2,
		kSignalRetryNow = 4,
		kSignalSuspend = 8,
		kSignalUndone = 16,
		kSignalDrained = 32,
		kSignalStop = 64,
		kSignalExpire = 128,
		kSignalSpace = 256,
		kSignalPolicy = 512,
	};

	// The way to stillness, in order; see advance_stop().
	enum class Stop : uint8_t {
		none,
		quiet,	 // until nothing is under way
		drain,	 // until I/O of the submitters' has ended too
		commit,	 // the last commit
		freeing, // the quarantine empties
		trim,	 // the file loses its free tail
		mark,	 // the in-use mark is taken back
		sync,
		settle, // until the quarantine is still, after a commit that failed
		done,	// nothing may begin until the next resume
	};

	struct Counters {
		Atomic<uint64_t> used_clusters;
		Atomic<uint64_t> quarantined;
		Atomic<uint64_t> retries;
		Atomic<uint64_t> dirty_pages;
		Atomic<int> last_error;
	};

	void signal(Signal signal);
	int image_name(Text &reply);
	int get_event(Text &reply);
	Status change_policy(unsigned int argc, char **argv);
	void read(ploop_rq *rq);
	void write(ploop_rq *rq);
	void io_ended(ploop_rq *rq, Status status);
	void continue_io(ploop_rq *rq);
	void dispatch(ploop_rq *rq);
	void handle_signals();
	bool take_inboxes();
	void run_parts();
	void publish_counters();
	Status create_parts();
	Status start(Text &error);
	Status hear_of_earlier_writes(Text &error);
	Status write_unwritten(Text &error);
	Status mark_in_use(Text &error);
	bool quiet() const;
	void begin_stop();
	void advance_stop();
	void stop_drained();
	void stop_committed();
	void stop_trim();
	void stop_mark();
	void stop_sync();
	void stop_failed(Status status);
	bool is_closed() const;
	void stop_done(Status status);
	static void on_stop(Target &target, Operation &operation, int64_t result);

	ploop_host *host_;
	Image image_;
	Geometry geometry_;
	uint64_t virtual_sectors_ = 0; // of the device, the skipped part included
	uint64_t skip_sectors_ = 0;
	DeviceShared *device_ = nullptr;
	bool read_only_ = false;
	Atomic<bool> fallocate_new_;
	Atomic<bool> error_if_no_space_;
	Atomic<uint32_t> retry_ms_;
	Atomic<uint32_t> timeout_s_;

	// Read on the I/O path, by everybody; written on rare occasions only.
	Atomic<int> gate_;
	Map map_;

	// Pushed to by everybody, taken by the worker. On a line of its own, or each
	// push would take that of the map and the gate from all who read them.
	alignas(kCacheLine) ploop_list inbox_ = {};
	ploop_list operations_ = {};
	Atomic<uint32_t> signals_;
	Atomic<uint8_t> suspending_;
	Atomic<uint8_t> mode_;
	Counters counters_;

	// The worker's.
	alignas(kCacheLine) Space space_;
	RequestQueue ready_;
	Writer writer_;
	Committer committer_;
	Freer freer_;
	RangeWalker walker_;
	Outage outage_;
	LowSpace low_space_;
	bool overwritten_ = false; // mapped I/O was begun since the last flip of a stop
	Stop stop_ = Stop::none;
	Status stop_status_;
	ploop_wait stop_wait_ = {};
	Operation stop_operation_;
	uint32_t *mark_buffer_ = nullptr;

	// Process context's, while the worker is quiet.
	FileClaim claim_;
	bool running_ = false;
	bool marked_by_us_ = false;
};

} // namespace ploop

// What the contract's opaque handle points to.
struct ploop_core {
	explicit ploop_core(ploop_host *host) : target(host) {}
	ploop::Target target;
};
