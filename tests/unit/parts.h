// SPDX-License-Identifier: GPL-2.0
// What tests of single parts stand on: a file with an image on the simulated host, and
// what every part is given. The host's calls come to the test, not to a target.
#ifndef TESTS_UNIT_PARTS_H
#define TESTS_UNIT_PARTS_H

#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/mode.h"
#include "core/base/policy.h"
#include "core/commit/upward.h"
#include "core/io/upward.h"
#include "core/map/delta_stack.h"
#include "core/map/dirty_pages.h"
#include "core/map/map.h"
#include "core/map/operation.h"
#include "core/map/pool.h"
#include "core/map/space.h"
#include "sim/host.h"
#include "sim/image.h"

namespace ploop {

// The first cluster of the image is its header and BAT; all others are free.
struct Bench {
	explicit Bench(sim::ImageSpec spec = {}, const std::function<void(sim::File &)> &shape = {})
		: file(sim::add_image(world, "/img", spec)), host(world.add_host("part", 1))
	{
		world.at_once_chance = 0;
		host.core = reinterpret_cast<ploop_core *>(this);
		if (shape)
			shape(file);
		ph_start(&host);
		const uint32_t log = static_cast<uint32_t>(std::countr_zero(spec.cluster_sectors));
		stack.shape(Geometry(log), 0, spec.virtual_sectors());
		world.call("open", [&] { open(); });
		EXPECT_TRUE(map.allocate(spec.entries).ok());
		EXPECT_TRUE(dirty.allocate(map.pages()).ok());
		EXPECT_TRUE(space.allocate(1000).ok());
		space.reset(stack.top().clusters_now(), stack.top().bat_clusters());
		began();
	}

	void open()
	{
		char buffer[PLOOP_ERROR_BYTES];
		Text error(buffer, sizeof(buffer));
		DeltaName name;

		name.path = "/img";
		EXPECT_TRUE(stack.top().open(name, true, error).ok()) << buffer;
		EXPECT_TRUE(stack.top().read_header(stack.geometry(), stack.sectors(), error).ok())
			<< buffer;
	}

	// A request as the submitter's part of the core leaves it; its data is not zero.
	sim::Request &request(ploop_rq_op op, uint64_t cluster, uint32_t sectors = 64,
			      uint8_t flags = 0)
	{
		requests.push_back(std::make_unique<sim::Request>());
		sim::Request &rq = *requests.back();
		rq.prepare(host.core, op, cluster * 64, sectors, flags);
		std::fill(rq.buffer.begin(), rq.buffer.end(), 0x5a);
		state(&rq).epoch = kNoEpoch;
		state(&rq).slot = kNoSlot;
		return rq;
	}

	// The operations that have begun since this was asked last, oldest first: "punch sync".
	std::string began(bool where = false);
	// The same with their places in bytes: "punch 32768+65536 sync 0+0".
	std::string began_where() { return began(true); }

	void another_sync_fails(Errno error) { modes.sync_ended(Status::error(error)); }

	// All that happens until nothing does any more, but for timers.
	void settle() { world.run_idle(); }
	// One round of the worker.
	void round()
	{
		const uint32_t came = inbox.take_signals();

		signals |= came;
		if ((came & kSignalDrained) != 0 && on_drained)
			on_drained();
		ploop_node *node = inbox.take_operations();
		while (node != nullptr) {
			ploop_node *const next = node->next;
			Operation::ended(node);
			node = next;
		}
		inbox.take_requests();
		while (inbox.has_ready()) {
			ploop_rq *const rq = inbox.next();
			to_worker.push_back(rq);
			if (on_request)
				on_request(rq);
		}
		if (on_round)
			on_round();
	}

	MapWord word(uint32_t cluster) const { return map.get(VirtualCluster(cluster)); }
	void set_word(uint32_t cluster, MapState state, uint32_t place)
	{
		map.set(VirtualCluster(cluster), MapWord::at(state, DeltaId{}, FileCluster(place)));
	}
	// What a power cut would leave of a BAT entry.
	uint32_t durable_entry(uint32_t cluster) const
	{
		const auto bytes = file.crash_image(sim::Cut::Drop, 0).read(64 + cluster * 4, 4);
		return bytes[0] | uint32_t{bytes[1]} << 8;
	}
	// The first byte of a file's cluster, and what a power cut would leave of it.
	uint8_t byte_of(uint32_t place) const { return file.peek(uint64_t{place} * 32768, 1)[0]; }
	uint8_t durable_byte_of(uint32_t place) const
	{
		const sim::Image image = file.crash_image(sim::Cut::Drop, 0);
		return image.read(uint64_t{place} * 32768, 1)[0];
	}
	uint64_t syncs() const { return world.calls(sim::call_of(PLOOP_OP_SYNC)); }
	void fill_disk() { world.disk.capacity = world.disk.used(); }
	void free_disk() { world.disk.capacity = UINT64_MAX; }

	// What reached the worker, and what the test does with it.
	uint32_t signals = 0;
	std::vector<ploop_rq *> to_worker;
	std::function<void(ploop_rq *)> on_request;
	std::function<void()> on_round;
	std::function<void()> on_drained; // the worker hears of it
	std::function<void()> at_drain;	  // it happens, in whoever leaves the epoch last
	std::function<void()> on_flush;
	std::function<void(ploop_timer)> on_timer;
	std::function<void(ploop_rq *, int64_t)> on_done;

	sim::World world{1, sim::Order::Fifo};
	sim::File &file;
	sim::Host &host;
	std::vector<std::unique_ptr<sim::Request>> requests;
	uint64_t last_io = 0; // that began() has told of
	DeltaStack stack{&host};
	Inbox inbox{&host};
	Policy policy;
	Gate gate;
	Modes modes{&host, gate, inbox};
	Map map;
	Space space;
	DirtyPages dirty{&host};
};

// ---- What is above a part ------------------------------------------------------

struct FakeParking : Parking {
	void park(ploop_rq *rq) override { parked.push_back(rq); }
	bool holds_back(const ploop_rq *) const override { return outage; }
	void space_proved() override { proved++; }
	void tried(Status status) override { outcomes.push_back(status.code()); }

	bool outage = false;
	unsigned proved = 0;
	std::vector<ploop_rq *> parked;
	std::vector<int> outcomes;
};

struct FakeDurability : Durability {
	void flush(ploop_rq *rq) override { flushes.push_back(rq); }
	void join(ploop_rq *rq) override { joined.push_back(rq); }

	std::vector<ploop_rq *> flushes;
	std::vector<ploop_rq *> joined;
};

struct FakeUnmapped : Unmapped {
	bool add(FileCluster cluster) override
	{
		if (has_memory)
			clusters.push_back(cluster.raw());
		return has_memory;
	}

	bool has_memory = true;
	std::vector<uint32_t> clusters;
};

struct FakeWatcher : CommitWatcher {
	void commit_ended(Status status) override { ends.push_back(status.code()); }
	void flush_waits() override { waiting++; }
	void tell_ended() override { told++; }
	void commit_proves_space() override { proved++; }
	void space_came() override { came++; }

	std::vector<int> ends;
	unsigned waiting = 0;
	unsigned told = 0;
	unsigned proved = 0;
	unsigned came = 0;
};

struct FakePoolUser : PoolUser {
	void pool_refilled(Status status) override { refills.push_back(status.code()); }
	bool pool_may_try() const override { return may_try; }

	bool may_try = true;
	std::vector<int> refills;
};

} // namespace ploop

#endif
