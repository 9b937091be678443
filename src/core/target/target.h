// SPDX-License-Identifier: GPL-2.0
// One instance of the target: its parts, put together, and its life.
//
// Who runs what. pc_map() and the ends of I/O run in any context, many at a
// time: they read the map and the gate, submit, and push what needs a decision
// to the inbox. Everything else is the worker's: one thread at a time, never
// waiting, so that the parts need no lock. Constructor, resume and the end of
// suspend run in process context when the worker is quiet, or wait for it.
#pragma once

#include "format/table_line.h"
#include "io/submit.h"
#include "target/registry.h"
#include "target/stop.h"

namespace ploop {

// Two groups of members begin a cache line of their own, which the checker counts as waste.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
class Target {
public:
	explicit Target(ploop_host *host);
	Target(const Target &) = delete;
	Target &operator=(const Target &) = delete;
	~Target();

	// The contract's calls, see include/ploop/target.h.

	Status construct(const ploop_table &table, unsigned int argc, char **argv, Text &error);
	void limits(ploop_limits &limits) const;
	Status preresume();
	void resume();
	void presuspend(bool noflush);
	void presuspend_undo();
	void postsuspend();
	uint32_t map_limit(uint64_t sector) const
	{
		return stack_.geometry().cluster_sectors() -
		       stack_.geometry().sector_in_cluster(sector + stack_.skip_sectors());
	}
	void map(ploop_rq *rq) { submitter_.map(rq); }
	void io_done(ploop_rq *rq, int64_t result) { transfers_.done(rq, result); }
	void epoch_drained() { inbox_.signal(kSignalDrained); }
	void timer(ploop_timer which);
	void flush() { flushes_.run(); }
	void work();
	int message(unsigned int argc, char **argv, Text &reply);
	void status(ploop_status kind, Text &text) const;

private:
	// Of one run of the worker; then it begins anew.
	static constexpr unsigned int kPassesMost = 16;
	static constexpr unsigned int kDispatchesMost = 1024;

	// What status shows of the worker's parts, as of its last run.
	struct Counters {
		Atomic<uint64_t> used_clusters;
		Atomic<uint64_t> quarantined;
	};

	// The worker's round (work.cc).
	void handle_signals();
	bool take_inboxes();
	void run_parts();
	void dispatch(ploop_rq *rq);
	void publish_counters();

	// The life (target.cc).
	void set_options(const ploop_table &table, const TableLine &line);
	Status create_parts();
	Status explain_parts(Status status, Text &error) const;
	Status start(Text &error);
	Status hear_of_earlier_writes(Text &error);
	Status write_unwritten(Text &error);
	Status mark_in_use(Text &error);

	// Messages (message.cc).
	int image_name(Text &reply);
	int get_event(Text &reply);
	Status change_policy(unsigned int argc, char **argv);

	// Read on the I/O path, by everybody; written on rare occasions only.
	ploop_host *host_;
	DeltaStack stack_;
	Policy policy_;
	Gate gate_;
	Map map_;
	Submitter submitter_;
	Transfers transfers_;

	// Written by many.
	Inbox inbox_;
	Modes modes_;
	DirtyPages dirty_;
	Alarm alarm_;

	// The worker's.
	alignas(kCacheLine) Space space_;
	Pool pool_;
	Endings endings_;
	NewPlaces new_places_;
	Ranges ranges_;
	Quarantine quarantine_;
	Committer committer_;
	Flushes flushes_;
	Outage outage_;
	LowSpace low_space_;
	Stop stop_;
	Counters counters_;

	// Process context's, while the worker is quiet.
	FileClaim claim_;
	DeviceShared *device_ = nullptr;
	bool running_ = false;
};

} // namespace ploop

// What the contract's opaque handle points to.
struct ploop_core {
	explicit ploop_core(ploop_host *host) : target(host) {}
	ploop::Target target;
};
