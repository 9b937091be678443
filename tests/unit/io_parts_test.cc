// SPDX-License-Identifier: GPL-2.0
// The way of a request, part by part: Submitter, Transfers, NewPlaces, Ranges.
#include <algorithm>

#include "core/io/ranges.h"
#include "core/io/submit.h"
#include "sim/beside.h"
#include "unit/parts.h"

namespace ploop {

namespace {

constexpr uint64_t kCluster = 32768;

// Knows the probe, and tells when a request is about to be parked.
struct WatchedParking : FakeParking {
	void park(ploop_rq *rq) override
	{
		if (on_park)
			on_park();
		FakeParking::park(rq);
	}
	bool holds_back(const ploop_rq *rq) const override
	{
		return outage && (rq == nullptr || !has_mark(rq, kMarkProbe));
	}

	std::function<void()> on_park;
};

// Of the file's clusters those from 1 on hold old bytes; 3 and 4 are for what is mapped.
struct IoBench : Bench {
	explicit IoBench(sim::ImageSpec spec = {.file_clusters = 10},
			 const std::function<void(sim::File &)> &shape = {})
		: Bench(spec, shape)
	{
	}

	// A part of a cluster.
	sim::Request &piece(ploop_rq_op op, uint64_t cluster, uint32_t first, uint32_t sectors,
			    uint8_t flags = 0)
	{
		sim::Request &rq = request(op, cluster, sectors, flags);
		rq.sector += first;
		return rq;
	}
	void map_word(uint32_t cluster, MapState state, uint32_t place)
	{
		EXPECT_TRUE(space.claim(FileCluster(place)));
		set_word(cluster, state, place);
	}
	void fill(uint32_t place, uint8_t byte)
	{
		file.poke(place * kCluster, std::vector<uint8_t>(kCluster, byte));
	}
	uint8_t at_sector(uint32_t place, uint32_t sector) const
	{
		return file.peek(place * kCluster + sector * sim::SECTOR, 1)[0];
	}
	bool survives_cut(uint32_t place) const
	{
		return file.crash_image(sim::Cut::Drop, 0).read(place * kCluster, 1)[0] == 0x5a;
	}
	uint64_t io_calls() const { return world.calls(sim::CALL_RQ_READ | sim::CALL_RQ_WRITE); }
	uint64_t writes() const { return world.calls(sim::CALL_RQ_WRITE); }
	uint64_t ops(ploop_op_kind kind) const { return world.calls(sim::call_of(kind)); }
	uint64_t in_epoch() const { return host.epoch_users[0] + host.epoch_users[1]; }
	// @count more clusters, which are clean.
	void add_clean(uint32_t count)
	{
		file.set_size((space.end() + count) * kCluster);
		space.grow(space.end() + count);
	}

	WatchedParking parking;
	FakeDurability durability;
};

void expect_end(const sim::Request &rq, int error)
{
	EXPECT_EQ(rq.ends, 1);
	EXPECT_EQ(rq.ended_with, error);
}

bool all_are(const sim::Request &rq, uint8_t byte)
{
	return std::all_of(rq.buffer.begin(), rq.buffer.end(),
			   [byte](uint8_t have) { return have == byte; });
}

void no_zeros_honest(sim::File &file)
{
	file.facts.zeros_honest = false;
}

// ---- Transfers -----------------------------------------------------------------

struct TransferBench : IoBench {
	explicit TransferBench(const std::function<void(sim::File &)> &shape = {})
		: IoBench({.file_clusters = 10}, shape)
	{
		on_done = [this](ploop_rq *rq, int64_t result) { transfers.done(rq, result); };
	}
	// At cluster 3 of the file.
	void start(sim::Request &rq, Stage stage = Stage::overwrite, bool try_inline = false)
	{
		const MapWord word = MapWord::at(MapState::durable, DeltaId{}, FileCluster(3));

		state(&rq).epoch = ph_epoch_enter(&host);
		world.in_context(sim::Context::Map,
				 [&] { transfers.start(&rq, word, stage, try_inline); });
	}
	void fail(int error, bool sticky = false)
	{
		world.fail_nth({.calls = sim::CALL_RQ_READ | sim::CALL_RQ_WRITE,
				.error = error,
				.sticky = sticky});
	}

	Transfers transfers{&host, stack, inbox, parking};
};

} // namespace

TEST(Transfers, TheDataLiesInItsClusterWhereItLiesInTheDevices)
{
	TransferBench bench;
	sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 9, 2);

	bench.start(rq);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.at_sector(3, 8), 0);
	EXPECT_EQ(bench.at_sector(3, 9), 0x5a);
	EXPECT_EQ(bench.at_sector(3, 10), 0x5a);
	EXPECT_EQ(bench.at_sector(3, 11), 0);
}

TEST(Transfers, TheDeviceBeginsWhereTheTableSays)
{
	TransferBench bench;

	bench.stack.shape(Geometry(kClusterLogMin), 7, 64);
	sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 0, 0, 1);
	bench.start(rq);
	bench.settle();
	EXPECT_EQ(bench.at_sector(3, 0), 0);
	EXPECT_EQ(bench.at_sector(3, 7), 0x5a);
}

TEST(Transfers, WhatEndsShortGoesOnWithTheRest)
{
	TransferBench bench;

	bench.file.poke(3 * kCluster + 4096, std::vector<uint8_t>(kCluster - 4096, 0x33));
	bench.world.fail_nth({.calls = sim::CALL_RQ_READ, .error = 0, .short_bytes = 4096});
	sim::Request &rq = bench.request(PLOOP_RQ_READ, 5);
	bench.start(rq);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.io_calls(), 2u);
	EXPECT_EQ(rq.buffer[4095], 0);
	EXPECT_EQ(rq.buffer[4096], 0x33);
	EXPECT_EQ(rq.buffer.back(), 0x33);
}

TEST(Transfers, NoProgressIsAnError)
{
	TransferBench bench;

	bench.file.set_size(kCluster);
	sim::Request &rq = bench.request(PLOOP_RQ_READ, 5);
	bench.start(rq);
	bench.settle();
	expect_end(rq, -kEIO);
	EXPECT_EQ(bench.in_epoch(), 0u);
}

TEST(Transfers, AReadIsTriedOnceMoreAfterAnError)
{
	for (const bool again : {false, true}) {
		TransferBench bench;

		bench.fail(-kEIO, again);
		sim::Request &rq = bench.request(PLOOP_RQ_READ, 5);
		bench.start(rq);
		bench.settle();
		expect_end(rq, again ? -kEIO : 0);
		EXPECT_EQ(bench.io_calls(), 2u);
	}
}

TEST(Transfers, AWriteWithoutSpaceParksAndAnyOtherErrorEndsIt)
{
	for (const int error : {-kENOSPC, -kEIO}) {
		TransferBench bench;

		bench.fail(error);
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);
		bench.start(rq);
		bench.settle();
		EXPECT_EQ(bench.parking.parked.size(), error == -kENOSPC ? 1u : 0u);
		EXPECT_EQ(rq.ends, error == -kENOSPC ? 0 : 1);
		EXPECT_EQ(bench.io_calls(), 1u);
		EXPECT_EQ(bench.in_epoch(), 0u);
		EXPECT_EQ(bench.parking.proved, 0u);
	}
}

TEST(Transfers, AReadNeverParks)
{
	TransferBench bench;

	bench.fail(-kENOSPC, true);
	sim::Request &rq = bench.request(PLOOP_RQ_READ, 5);
	bench.start(rq);
	bench.settle();
	expect_end(rq, -kENOSPC);
	EXPECT_TRUE(bench.parking.parked.empty());
}

TEST(Transfers, WhatIsNotAlignedIsCopiedAtOnce)
{
	for (const uint32_t align : {4096u, 0u}) {
		TransferBench bench([align](sim::File &file) {
			file.facts.dio_align_bytes = align;
			file.facts.inline_ok = true;
		});
		sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 1, 8);

		bench.world.inline_io = sim::Inline::Never;
		bench.start(rq, Stage::overwrite, true);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.io_calls(), 1u) << "direct I/O was tried, or I/O inline";
		EXPECT_EQ(bench.at_sector(3, 1), 0x5a);
	}
}

TEST(Transfers, WhatDirectIORefusesIsCopied)
{
	for (const int error : {-kEINVAL, -kEOPNOTSUPP, -kEAGAIN}) {
		TransferBench bench;

		bench.fail(error);
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);
		bench.start(rq);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.io_calls(), 2u);
	}
}

// The host refuses I/O inline but from the submitter's context.
TEST(Transfers, WhatWouldWaitInlineIsDoneByTheHostsWorker)
{
	for (const ploop_rq_op op : {PLOOP_RQ_READ, PLOOP_RQ_WRITE}) {
		TransferBench bench;
		sim::Request &rq = bench.request(op, 5);

		bench.world.inline_io = sim::Inline::Never;
		bench.start(rq, Stage::overwrite, true);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.io_calls(), 2u);
	}
}

TEST(Transfers, InlineIsNotTriedWhereTheHostCannot)
{
	TransferBench bench([](sim::File &file) { file.facts.inline_ok = false; });
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);

	bench.start(rq, Stage::overwrite, true);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.io_calls(), 1u);
}

TEST(Transfers, AWriteInlineIsNotRepeatedAfterAnErrorThatIsItsOwn)
{
	for (const int error : {-kENOSPC, -kEIO}) {
		TransferBench bench;

		bench.fail(error);
		bench.start(bench.request(PLOOP_RQ_WRITE, 5), Stage::overwrite, true);
		bench.settle();
		EXPECT_EQ(bench.io_calls(), 1u);
	}
}

TEST(Transfers, FirstDataIsTheWorkersWhateverItsEnd)
{
	for (const int error : {0, -kENOSPC, -kEIO}) {
		TransferBench bench;

		if (error != 0)
			bench.fail(error);
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);
		bench.start(rq, Stage::first_data);
		bench.settle();
		ASSERT_EQ(bench.to_worker, std::vector<ploop_rq *>{&rq});
		EXPECT_EQ(stage_of(&rq), Stage::data_done);
		EXPECT_EQ(state(&rq).error, error);
		EXPECT_TRUE(bench.parking.parked.empty());
	}
}

TEST(Transfers, TheEndOfAProbeIsTheWorkersUnlessItParks)
{
	for (const int error : {0, -kENOSPC, -kEIO}) {
		TransferBench bench;

		if (error != 0)
			bench.fail(error);
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);
		set_mark(&rq, kMarkProbe);
		bench.start(rq);
		bench.settle();
		EXPECT_EQ(rq.ends, 0);
		EXPECT_EQ(bench.parking.parked.size(), error == -kENOSPC ? 1u : 0u);
		if (error == -kENOSPC)
			continue;
		ASSERT_EQ(bench.to_worker, std::vector<ploop_rq *>{&rq});
		EXPECT_EQ(stage_of(&rq), Stage::ended);
		EXPECT_EQ(state(&rq).error, error);
	}
}

TEST(Transfers, AForcedWriteWaitsForACommitUnlessItIsDurableByItself)
{
	for (const bool by_itself : {false, true}) {
		TransferBench bench;
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5, 64, PLOOP_RQ_FUA);

		if (by_itself)
			set_mark(&rq, kMarkDurable);
		bench.start(rq);
		bench.settle();
		EXPECT_EQ(bench.survives_cut(3), by_itself);
		EXPECT_EQ(rq.ends, by_itself ? 1 : 0);
		EXPECT_EQ(bench.to_worker.size(), by_itself ? 0u : 1u);
		if (by_itself)
			continue;
		EXPECT_EQ(stage_of(&rq), Stage::commit);
	}
}

// The error may be that of its sync, which a commit has to tell to all.
TEST(Transfers, AnErrorOfADurableWriteIsLeftToTheCommit)
{
	TransferBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5, 64, PLOOP_RQ_FUA);

	bench.fail(-kEIO);
	set_mark(&rq, kMarkDurable);
	bench.start(rq);
	bench.settle();
	ASSERT_EQ(bench.to_worker, std::vector<ploop_rq *>{&rq});
	EXPECT_EQ(stage_of(&rq), Stage::commit);
	EXPECT_EQ(bench.byte_of(3), 0x5a);
}

TEST(Transfers, OnlyTheDataOfANewClusterProvesSpace)
{
	TransferBench bench;
	sim::Request &old = bench.request(PLOOP_RQ_WRITE, 5);
	sim::Request &first = bench.request(PLOOP_RQ_WRITE, 6);

	set_mark(&first, kMarkFirst);
	bench.start(old);
	bench.settle();
	EXPECT_EQ(bench.parking.proved, 0u);
	bench.start(first);
	bench.settle();
	EXPECT_EQ(bench.parking.proved, 1u);
}

TEST(Transfers, TheEpochIsLeftWhenTheDataHasEnded)
{
	TransferBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_READ, 5);

	bench.start(rq);
	EXPECT_EQ(bench.in_epoch(), 1u);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.in_epoch(), 0u);
}

// When an epoch has drained, all that its requests had to say has been said.
TEST(Transfers, WhatItHasToSayIsThereBeforeTheEpochIsLeft)
{
	for (const Stage stage : {Stage::first_data, Stage::overwrite}) {
		TransferBench bench;
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5, 64, PLOOP_RQ_FUA);
		bool drained = false;

		bench.at_drain = [&] {
			drained = true;
			EXPECT_TRUE(bench.inbox.take_requests());
		};
		bench.start(rq, stage);
		ph_epoch_flip(&bench.host);
		bench.world.at_once_chance = 1; // of the drain, which is seen where it happens
		bench.settle();
		EXPECT_TRUE(drained);
	}
	TransferBench bench;
	bench.fail(-kENOSPC);
	bench.parking.on_park = [&] { EXPECT_EQ(bench.in_epoch(), 1u); };
	bench.start(bench.request(PLOOP_RQ_WRITE, 5));
	bench.settle();
	EXPECT_EQ(bench.parking.parked.size(), 1u);
}

// ---- Submitter -----------------------------------------------------------------

namespace {

// The clean clusters are those from 10 on.
struct SubmitBench : IoBench {
	explicit SubmitBench(uint32_t clean = 4, const std::function<void(sim::File &)> &shape = {})
		: IoBench({.file_clusters = 10}, shape)
	{
		EXPECT_TRUE(pool.create().ok());
		add_clean(clean);
		pool.open();
		pool.set_ahead(false);
		pool.run();
		on_done = [this](ploop_rq *rq, int64_t result) { transfers.done(rq, result); };
	}
	void submit(sim::Request &rq)
	{
		world.in_context(sim::Context::Map, [&] { submitter.map(&rq); });
	}
	// Left to the worker, with nothing held.
	void expect_handed_over(sim::Request &rq, Stage stage)
	{
		EXPECT_EQ(in_epoch(), 0u);
		settle();
		ASSERT_EQ(to_worker, std::vector<ploop_rq *>{&rq});
		EXPECT_EQ(stage_of(&rq), stage);
		EXPECT_EQ(rq.ends, 0);
		EXPECT_EQ(io_calls(), 0u);
	}

	FakePoolUser user;
	Pool pool{&host, inbox, policy, modes, stack, space, user};
	Transfers transfers{&host, stack, inbox, parking};
	Submitter submitter{&host, policy,    gate,  stack,   map,	 dirty,
			    pool,  transfers, inbox, parking, durability};
};

} // namespace

TEST(Submitter, AReadOfAHoleIsZerosWithoutIO)
{
	SubmitBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_READ, 5);

	bench.submit(rq);
	expect_end(rq, 0);
	EXPECT_TRUE(all_are(rq, 0));
	EXPECT_EQ(bench.in_epoch(), 0u);
	bench.settle();
	EXPECT_EQ(bench.io_calls(), 0u);
	EXPECT_TRUE(bench.to_worker.empty());
}

TEST(Submitter, AMappedReadGoesToItsPlace)
{
	for (const MapState now : {MapState::fresh, MapState::unsynced, MapState::syncing,
				   MapState::in_round, MapState::durable}) {
		SubmitBench bench;
		sim::Request &rq = bench.piece(PLOOP_RQ_READ, 5, 3, 2);

		bench.fill(3, 0x33);
		bench.map_word(5, now, 3);
		bench.submit(rq);
		EXPECT_EQ(bench.in_epoch(), 1u);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_TRUE(all_are(rq, 0x33));
		EXPECT_EQ(bench.dirty.count(), 0u);
		EXPECT_EQ(bench.in_epoch(), 0u);
	}
}

TEST(Submitter, BehindASlotTheOldPlaceStaysReadable)
{
	SubmitBench bench;
	sim::Request &over_hole = bench.request(PLOOP_RQ_READ, 5);
	sim::Request &over_data = bench.request(PLOOP_RQ_READ, 6);

	bench.fill(3, 0x33);
	bench.map_word(6, MapState::durable, 3);
	bench.map.set(VirtualCluster(5), MapWord{}.with_slot(1));
	bench.map.set(VirtualCluster(6), bench.word(6).with_slot(2));
	bench.submit(over_hole);
	bench.submit(over_data);
	bench.settle();
	expect_end(over_hole, 0);
	expect_end(over_data, 0);
	EXPECT_TRUE(all_are(over_hole, 0));
	EXPECT_TRUE(all_are(over_data, 0x33));
}

TEST(Submitter, AFirstWritePublishesACleanCluster)
{
	SubmitBench bench;
	sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);

	bench.submit(rq);
	EXPECT_EQ(bench.word(5), MapWord::at(MapState::fresh, DeltaId{}, FileCluster(10)));
	EXPECT_EQ(bench.pool.at_hand(), 3u);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.at_sector(10, 3), 0x5a);
	EXPECT_TRUE(bench.to_worker.empty());
	EXPECT_EQ(bench.parking.proved, 1u);
}

TEST(Submitter, ThePageIsMarkedBeforeTheDataIsSubmitted)
{
	for (const bool published_before : {false, true}) {
		SubmitBench bench;
		bool marked = false;

		// Who published it has not marked the page yet.
		if (published_before)
			bench.map_word(5, MapState::fresh, 3);
		bench.world.at_once_chance = 1; // the data ends where it begins
		bench.on_done = [&](ploop_rq *rq, int64_t result) {
			marked = bench.dirty.test(0) && bench.dirty.count() == 1;
			bench.transfers.done(rq, result);
		};
		bench.submit(bench.request(PLOOP_RQ_WRITE, 5));
		bench.settle();
		EXPECT_TRUE(marked);
	}
}

TEST(Submitter, AnOverwriteMarksNothing)
{
	for (const MapState now :
	     {MapState::unsynced, MapState::syncing, MapState::in_round, MapState::durable}) {
		SubmitBench bench;
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);

		bench.map_word(5, now, 3);
		bench.submit(rq);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.byte_of(3), 0x5a);
		EXPECT_EQ(bench.dirty.count(), 0u);
		EXPECT_EQ(bench.pool.at_hand(), 4u);
		EXPECT_EQ(bench.word(5).state, now);
	}
}

TEST(Submitter, WhoPublishesTooLateWritesIntoTheOthersCluster)
{
	SubmitBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);

	sim::beside = [&](uint64_t) { bench.map_word(5, MapState::fresh, 3); };
	bench.submit(rq);
	EXPECT_EQ(bench.pool.at_hand(), 4u) << "its clean cluster is lost";
	EXPECT_TRUE(bench.dirty.test(0));
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.word(5).cluster.raw(), 3u);
	EXPECT_EQ(bench.byte_of(3), 0x5a);
	EXPECT_EQ(bench.byte_of(10), 0);
}

TEST(Submitter, WhoFindsASlotInsteadLeavesItToTheWorker)
{
	for (const bool late : {false, true}) {
		SubmitBench bench;
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);
		const auto slot = [&](uint64_t) {
			bench.map.set(VirtualCluster(5), MapWord{}.with_slot(1));
		};

		if (late)
			sim::beside = slot;
		else
			slot(0);
		bench.submit(rq);
		bench.expect_handed_over(rq, Stage::fresh);
		EXPECT_EQ(bench.pool.at_hand(), 4u);
	}
}

TEST(Submitter, WithoutACleanClusterTheWorkerHasIt)
{
	SubmitBench bench(0);
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);

	bench.submit(rq);
	bench.expect_handed_over(rq, Stage::fresh);
	EXPECT_EQ(bench.word(5), MapWord{});
}

TEST(Submitter, WhereACrashMayShowOldBytesTheWorkerPreparesThePlace)
{
	SubmitBench bench(4, no_zeros_honest);
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);

	bench.submit(rq);
	bench.expect_handed_over(rq, Stage::fresh);
	EXPECT_EQ(bench.word(5), MapWord{});
	EXPECT_EQ(bench.pool.at_hand(), 4u);
}

TEST(Submitter, ZerosTakeNoSpaceInAHole)
{
	SubmitBench bench;
	sim::Request &zeros = bench.request(PLOOP_RQ_WRITE, 5);
	sim::Request &forced = bench.request(PLOOP_RQ_WRITE, 5, 64, PLOOP_RQ_FUA);
	sim::Request &unknown = bench.request(PLOOP_RQ_WRITE, 5, 64, PLOOP_RQ_FUA);

	for (sim::Request *rq : {&zeros, &forced, &unknown})
		std::fill(rq->buffer.begin(), rq->buffer.end(), 0);
	bench.parking.outage = true;
	bench.submit(zeros);
	expect_end(zeros, 0);
	bench.submit(forced);
	expect_end(forced, 0);
	EXPECT_EQ(bench.in_epoch(), 0u);
	bench.dirty.mark(VirtualCluster(5));
	bench.submit(unknown); // the disk may still have data there, which a discard took
	bench.expect_handed_over(unknown, Stage::commit);
	EXPECT_EQ(bench.word(5), MapWord{});
	EXPECT_EQ(bench.pool.at_hand(), 4u);
}

TEST(Submitter, InAnOutageAFirstWriteWaitsUntried)
{
	SubmitBench bench;
	sim::Request &first = bench.request(PLOOP_RQ_WRITE, 5);
	sim::Request &over = bench.request(PLOOP_RQ_WRITE, 6);

	bench.map_word(6, MapState::durable, 3);
	bench.parking.outage = true;
	bench.parking.on_park = [&] {
		EXPECT_EQ(bench.in_epoch(), 1u) << "the push comes before the epoch is left";
	};
	bench.submit(first);
	EXPECT_EQ(bench.parking.parked, std::vector<ploop_rq *>{&first});
	EXPECT_TRUE(has_mark(&first, kMarkUntried));
	EXPECT_EQ(bench.in_epoch(), 0u);
	EXPECT_EQ(bench.pool.at_hand(), 4u);
	EXPECT_EQ(bench.word(5), MapWord{});
	bench.submit(over);
	bench.settle();
	expect_end(over, 0);
}

TEST(Submitter, AShutGateStopsWritesAndNoReads)
{
	SubmitBench bench;
	sim::Request &write = bench.request(PLOOP_RQ_WRITE, 6);
	sim::Request &read = bench.request(PLOOP_RQ_READ, 6);

	bench.map_word(6, MapState::durable, 3);
	bench.gate.shut(Status::error(kENOSPC));
	bench.submit(write);
	expect_end(write, -kENOSPC);
	bench.submit(read);
	bench.settle();
	expect_end(read, 0);
	EXPECT_EQ(bench.writes(), 0u);
}

TEST(Submitter, AReadOnlyTableIsNotWritten)
{
	SubmitBench bench;
	sim::Request &write = bench.request(PLOOP_RQ_WRITE, 6);
	sim::Request &read = bench.request(PLOOP_RQ_READ, 6);

	bench.map_word(6, MapState::durable, 3);
	bench.policy.read_only = true;
	bench.submit(write);
	expect_end(write, -kEROFS);
	bench.submit(read);
	bench.settle();
	expect_end(read, 0);
	EXPECT_EQ(bench.writes(), 0u);
}

TEST(Submitter, FlushesAndRangesAreOthers)
{
	SubmitBench bench;
	sim::Request &flush = bench.request(PLOOP_RQ_FLUSH, 0, 0);
	sim::Request &discard = bench.request(PLOOP_RQ_DISCARD, 5);
	sim::Request &zeroes = bench.request(PLOOP_RQ_WRITE_ZEROES, 5);

	for (sim::Request *rq : {&flush, &discard, &zeroes})
		bench.submit(*rq);
	bench.settle();
	EXPECT_EQ(bench.durability.flushes, std::vector<ploop_rq *>{&flush});
	EXPECT_EQ(bench.to_worker, (std::vector<ploop_rq *>{&discard, &zeroes}));
}

TEST(Submitter, AForcedOverwriteIsOneWriteWhereEntryAndHostAllowIt)
{
	struct Case {
		MapState state;
		bool fua;
		bool one_write;
	};
	for (const Case &c : {Case{MapState::durable, true, true},
			      {MapState::durable, false, false},
			      {MapState::in_round, true, false},
			      {MapState::fresh, true, false}}) {
		SubmitBench bench(4, [&c](sim::File &file) { file.facts.fua = c.fua; });
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5, 64, PLOOP_RQ_FUA);

		bench.map_word(5, c.state, 3);
		bench.submit(rq);
		bench.settle();
		EXPECT_EQ(rq.ends, c.one_write ? 1 : 0);
		EXPECT_EQ(bench.survives_cut(3), c.one_write);
		if (c.one_write)
			continue;
		ASSERT_EQ(bench.to_worker, std::vector<ploop_rq *>{&rq});
		EXPECT_EQ(stage_of(&rq), Stage::commit);
	}
}

// Refused inline, it is tried a second time.
TEST(Submitter, InlineIsForWhatWasWrittenBeforeAndIfTheRequestAllowsIt)
{
	struct Case {
		ploop_rq_op op;
		MapState state;
		uint8_t flags;
		uint64_t tries;
	};
	for (const Case &c : {Case{PLOOP_RQ_WRITE, MapState::durable, PLOOP_RQ_INLINE, 2},
			      {PLOOP_RQ_WRITE, MapState::durable, 0, 1},
			      {PLOOP_RQ_WRITE, MapState::fresh, PLOOP_RQ_INLINE, 1},
			      {PLOOP_RQ_READ, MapState::fresh, PLOOP_RQ_INLINE, 2},
			      {PLOOP_RQ_READ, MapState::fresh, 0, 1}}) {
		SubmitBench bench;
		sim::Request &rq = bench.request(c.op, 5, 64, c.flags);

		bench.world.inline_io = sim::Inline::Never;
		bench.map_word(5, c.state, 3);
		bench.submit(rq);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.io_calls(), c.tries);
	}
}

// It was zeroed, and has no holes.
TEST(Submitter, InlineIsForFirstWritesToADevice)
{
	SubmitBench bench(4, [](sim::File &file) { file.facts.block_device = true; });
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5, 64, PLOOP_RQ_INLINE);

	bench.world.inline_io = sim::Inline::Never;
	bench.map_word(5, MapState::fresh, 3);
	bench.submit(rq);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.io_calls(), 2u);
}

// ---- NewPlaces -----------------------------------------------------------------

namespace {

struct Layout {
	uint32_t clean = 4;	    // the file's last clusters
	uint32_t file_clusters = 1; // before those: all but the first hold old bytes
	bool honest = true;
};

struct PlacesBench : IoBench {
	explicit PlacesBench(Layout layout = {}, sim::ImageSpec spec = {})
		: IoBench(with(spec, layout),
			  [&](sim::File &file) { file.facts.zeros_honest = layout.honest; })
	{
		for (uint32_t i = 1; i < layout.file_clusters; i++)
			fill(i, 0x77);
		EXPECT_TRUE(pool.create().ok());
		if (layout.clean > 0)
			add_clean(layout.clean);
		pool.open();
		pool.set_ahead(false);
		pool.run();
		on_done = [this](ploop_rq *rq, int64_t result) { transfers.done(rq, result); };
		on_request = [this](ploop_rq *rq) { dispatch(rq); };
		on_round = [this] { run_parts(); };
	}
	static sim::ImageSpec with(sim::ImageSpec spec, const Layout &layout)
	{
		spec.file_clusters = layout.file_clusters;
		return spec;
	}
	void dispatch(ploop_rq *rq)
	{
		switch (stage_of(rq)) {
		case Stage::fresh:
			return is_write(rq) ? new_places.start(rq) : on_range(rq);
		case Stage::data_done:
			return new_places.data_done(rq);
		case Stage::lost:
			return new_places.lost(rq);
		default:
			ADD_FAILURE() << "a stage that no part here gives";
		}
	}
	void run_parts()
	{
		new_places.run();
		if (run_ranges)
			run_ranges();
		pool.run();
		if (inbox.has_ready())
			inbox.kick();
	}
	// As the worker does, but for the rest of its round.
	void start(sim::Request &rq)
	{
		new_places.start(&rq);
		inbox.kick();
	}
	void slow_writes() { world.delay_ms[sim::CALL_RQ_WRITE] = 10; }
	// Clusters that are neither free nor kept at hand.
	uint64_t nr_taken() const { return space.nr_used() - pool.held(); }
	uint64_t nr_clean() const { return space.nr_clean() + pool.at_hand(); }

	std::function<void(ploop_rq *)> on_range;
	std::function<void()> run_ranges;
	Endings endings{parking, durability};
	Pool pool{&host, inbox, policy, modes, stack, space, new_places};
	Transfers transfers{&host, stack, inbox, parking};
	NewPlaces new_places{&host, gate,      stack, map,     space,  dirty,
			     pool,  transfers, inbox, parking, endings};
};

struct FakePlaceUser : PlaceUser {
	void allocated(ploop_rq *rq, Status status) override
	{
		rqs.push_back(rq);
		ends.push_back(status.code());
	}

	std::vector<ploop_rq *> rqs;
	std::vector<int> ends;
};

} // namespace

TEST(NewPlaces, WhereZerosAreHonestTheWordComesBeforeTheData)
{
	PlacesBench bench;
	sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);

	bench.start(rq);
	EXPECT_EQ(bench.word(5), MapWord::at(MapState::fresh, DeltaId{}, FileCluster(1)));
	EXPECT_TRUE(bench.dirty.test(0));
	EXPECT_TRUE(bench.new_places.idle()) << "the epoch alone knows of its data";
	EXPECT_TRUE(bench.new_places.has_begun());
	EXPECT_FALSE(bench.new_places.has_begun());
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.at_sector(1, 3), 0x5a);
	EXPECT_EQ(bench.parking.proved, 1u);
}

TEST(NewPlaces, ElseTheWordFollowsTheData)
{
	PlacesBench bench({.honest = false});
	sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);

	bench.start(rq);
	EXPECT_EQ(bench.word(5).state, MapState::slot);
	EXPECT_FALSE(bench.word(5).has_place()) << "until the data is there it reads as a hole";
	EXPECT_EQ(bench.dirty.count(), 0u);
	EXPECT_FALSE(bench.new_places.idle());
	rq.on_end = [&](sim::Request &) {
		EXPECT_EQ(bench.word(5).state, MapState::unsynced)
			<< "a write that was told to have succeeded is mapped";
		EXPECT_TRUE(bench.dirty.test(0));
		EXPECT_TRUE(bench.map.may_have_unsynced());
	};
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.word(5).cluster.raw(), 1u);
	EXPECT_EQ(bench.at_sector(1, 3), 0x5a);
	EXPECT_TRUE(bench.new_places.idle());
	EXPECT_EQ(bench.parking.proved, 1u);
}

TEST(NewPlaces, AnOpenSlotLetsMoreWritersIn)
{
	PlacesBench bench({.honest = false});
	sim::Request &first = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);
	sim::Request &second = bench.piece(PLOOP_RQ_WRITE, 5, 9, 1);

	bench.start(first);
	bench.start(second);
	EXPECT_EQ(bench.writes(), 2u);
	bench.settle();
	expect_end(first, 0);
	expect_end(second, 0);
	EXPECT_EQ(bench.at_sector(1, 3), 0x5a);
	EXPECT_EQ(bench.at_sector(1, 9), 0x5a);
	EXPECT_EQ(bench.nr_taken(), 1u);
}

TEST(NewPlaces, ASlotIsOpenToThoseWhoCameWhileItsFirstWriterFailed)
{
	PlacesBench bench({.honest = false});
	sim::Request &first = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);
	sim::Request &second = bench.piece(PLOOP_RQ_WRITE, 5, 9, 1);

	bench.world.fail_nth({.calls = sim::CALL_RQ_WRITE});
	bench.start(first);
	bench.start(second);
	bench.settle();
	expect_end(first, -kEIO);
	expect_end(second, 0);
	EXPECT_EQ(bench.word(5).state, MapState::unsynced);
	EXPECT_TRUE(bench.new_places.idle());
}

// Its cluster holds old bytes until all of it is written.
TEST(NewPlaces, AnExclusiveSlotHoldsASecondWriterUntilTheFirstIsDone)
{
	PlacesBench bench({.clean = 0, .file_clusters = 4});
	sim::Request &first = bench.request(PLOOP_RQ_WRITE, 5);
	sim::Request &second = bench.piece(PLOOP_RQ_WRITE, 5, 9, 1);

	bench.slow_writes();
	std::fill(second.buffer.begin(), second.buffer.end(), 0x66);
	bench.start(first);
	EXPECT_EQ(bench.word(5).state, MapState::slot);
	bench.start(second);
	bench.settle();
	EXPECT_EQ(bench.writes(), 1u);
	EXPECT_FALSE(bench.new_places.idle());
	bench.world.advance_ms(10);
	expect_end(first, 0);
	EXPECT_EQ(bench.writes(), 2u);
	bench.world.advance_ms(10);
	expect_end(second, 0);
	EXPECT_EQ(bench.word(5), MapWord::at(MapState::unsynced, DeltaId{}, FileCluster(1)));
	EXPECT_EQ(bench.at_sector(1, 8), 0x5a);
	EXPECT_EQ(bench.at_sector(1, 9), 0x66);
	EXPECT_EQ(bench.ops(PLOOP_OP_PUNCH), 0u) << "what a write covers need not be clean";
	EXPECT_TRUE(bench.new_places.idle());
}

TEST(NewPlaces, APartialWriteWaitsForACleanCluster)
{
	PlacesBench bench({.clean = 0, .file_clusters = 4});
	sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);

	bench.start(rq);
	EXPECT_EQ(bench.writes(), 0u);
	EXPECT_FALSE(bench.new_places.idle());
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.at_sector(1, 2), 0);
	EXPECT_EQ(bench.at_sector(1, 3), 0x5a);
	EXPECT_TRUE(bench.new_places.idle());
}

TEST(NewPlaces, WhoWaitedBehindAWriterThatFailedBeginsAnew)
{
	PlacesBench bench({.clean = 0, .file_clusters = 4});
	sim::Request &first = bench.request(PLOOP_RQ_WRITE, 5);
	sim::Request &second = bench.request(PLOOP_RQ_WRITE, 5);

	bench.world.fail_nth({.calls = sim::CALL_RQ_WRITE});
	bench.start(first);
	bench.start(second);
	bench.settle();
	expect_end(first, -kEIO);
	expect_end(second, 0);
	EXPECT_EQ(bench.word(5).state, MapState::unsynced);
	EXPECT_EQ(bench.nr_taken(), 1u);
}

TEST(NewPlaces, ASlotWhoseWritersAllFailedGivesThePlaceBack)
{
	for (const int error : {-kEIO, -kENOSPC}) {
		PlacesBench bench({.clean = 1, .honest = false});
		sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);
		ploop::Run run;

		bench.world.fail_nth({.calls = sim::CALL_RQ_WRITE, .error = error});
		bench.start(rq);
		bench.settle();
		EXPECT_EQ(bench.parking.parked.size(), error == -kENOSPC ? 1u : 0u);
		if (error == -kEIO)
			expect_end(rq, -kEIO);
		EXPECT_EQ(bench.word(5), MapWord{});
		EXPECT_EQ(bench.dirty.count(), 0u);
		EXPECT_TRUE(bench.new_places.idle());
		EXPECT_EQ(bench.nr_taken(), 0u);
		EXPECT_EQ(bench.nr_clean(), 0u) << "some of the data may be in it";
		EXPECT_EQ(bench.space.take_dirty(1, run), error == -kENOSPC)
			<< "what cannot be written is not for the next one";
	}
}

TEST(NewPlaces, WithoutASlotAWriteWaitsForOne)
{
	PlacesBench bench({.clean = 100, .honest = false});

	for (uint32_t i = 0; i < 66; i++)
		bench.start(bench.piece(PLOOP_RQ_WRITE, 1 + i, 0, 1));
	EXPECT_EQ(bench.writes(), 64u);
	EXPECT_EQ(bench.nr_taken(), 64u) << "who waits keeps no cluster";
	bench.settle();
	for (const auto &rq : bench.requests)
		expect_end(*rq, 0);
	EXPECT_EQ(bench.nr_taken(), 66u);
	EXPECT_TRUE(bench.new_places.idle());
}

// Both wait for a cluster; the second finds that the first has mapped the place.
TEST(NewPlaces, WhoWaitedFindsOutAnewWhatTheClusterIs)
{
	for (const bool honest : {true, false}) {
		PlacesBench bench({.clean = 0, .honest = honest});
		sim::Request &first = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);
		sim::Request &second = bench.piece(PLOOP_RQ_WRITE, 5, 9, 1);

		bench.start(first);
		bench.start(second);
		bench.settle();
		expect_end(first, 0);
		expect_end(second, 0);
		EXPECT_EQ(bench.nr_taken(), 1u);
		EXPECT_EQ(bench.at_sector(1, 3), 0x5a);
		EXPECT_EQ(bench.at_sector(1, 9), 0x5a);
	}
}

TEST(NewPlaces, WhenNoClusterCanBeMadeWantOfSpaceParksAndAnyOtherErrorEnds)
{
	for (const int error : {-kENOSPC, -kEIO}) {
		PlacesBench bench({.clean = 0});
		sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);

		bench.world.fail_nth(
			{.calls = sim::call_of(PLOOP_OP_TRUNCATE), .error = error, .sticky = true});
		bench.start(rq);
		bench.settle();
		EXPECT_EQ(bench.parking.parked.size(), error == -kENOSPC ? 1u : 0u);
		if (error == -kEIO)
			expect_end(rq, -kEIO);
		EXPECT_TRUE(bench.new_places.idle());
		EXPECT_EQ(bench.word(5), MapWord{});
	}
}

TEST(NewPlaces, InAnOutageTheProbeAloneTries)
{
	PlacesBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);
	sim::Request &over = bench.request(PLOOP_RQ_WRITE, 7);
	sim::Request &probe = bench.request(PLOOP_RQ_WRITE, 6);
	const PoolUser &user = bench.new_places;

	EXPECT_TRUE(user.pool_may_try());
	bench.map_word(7, MapState::durable, 100);
	bench.parking.outage = true;
	EXPECT_FALSE(user.pool_may_try());
	set_mark(&probe, kMarkProbe);
	bench.start(rq);
	EXPECT_EQ(bench.parking.parked, std::vector<ploop_rq *>{&rq});
	EXPECT_TRUE(has_mark(&rq, kMarkUntried));
	EXPECT_EQ(bench.nr_clean(), 4u);
	bench.start(over);
	bench.start(probe);
	EXPECT_EQ(bench.word(6).state, MapState::fresh);
	EXPECT_EQ(bench.writes(), 2u);
	EXPECT_EQ(bench.parking.parked.size(), 1u);
	bench.on_request = [](ploop_rq *ended) { end_request(ended, state(ended).error); };
	bench.settle();
	expect_end(over, 0);
	expect_end(probe, 0);
}

TEST(NewPlaces, TheOutcomeOfAProbeInASlotIsTold)
{
	PlacesBench bench({.honest = false});
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);

	set_mark(&rq, kMarkProbe);
	bench.start(rq);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.parking.outcomes, std::vector<int>{0});
}

TEST(NewPlaces, ZerosTakeNoSpaceInAHole)
{
	PlacesBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5);
	sim::Request &forced = bench.request(PLOOP_RQ_WRITE, 5, 64, PLOOP_RQ_FUA);

	for (sim::Request *zeros : {&rq, &forced})
		std::fill(zeros->buffer.begin(), zeros->buffer.end(), 0);
	bench.parking.outage = true;
	bench.start(rq);
	expect_end(rq, 0);
	bench.start(forced);
	EXPECT_EQ(bench.durability.joined, std::vector<ploop_rq *>{&forced});
	EXPECT_EQ(bench.word(5), MapWord{});
	EXPECT_EQ(bench.nr_taken(), 0u);
	bench.settle();
}

TEST(NewPlaces, AForcedWriteInASlotWaitsForItsCommit)
{
	PlacesBench bench({.honest = false});
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE, 5, 64, PLOOP_RQ_FUA);

	bench.start(rq);
	bench.settle();
	EXPECT_EQ(rq.ends, 0);
	EXPECT_EQ(bench.durability.joined, std::vector<ploop_rq *>{&rq});
	EXPECT_TRUE(bench.dirty.test(0));
}

TEST(NewPlaces, WhoPublishesTooLateGivesItsCleanClusterBack)
{
	for (const bool honest : {true, false}) {
		PlacesBench bench({.honest = honest});
		sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);

		sim::beside = [&](uint64_t) { bench.map_word(5, MapState::fresh, 100); };
		bench.start(rq);
		EXPECT_EQ(bench.nr_clean(), 4u);
		EXPECT_EQ(bench.nr_taken(), 1u) << "but for that of the other";
		EXPECT_TRUE(bench.dirty.test(0));
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.at_sector(100, 3), 0x5a);
		EXPECT_TRUE(bench.new_places.idle());
	}
}

TEST(NewPlaces, WhatALoserBringsBackIsCleanAndItBeginsAnew)
{
	PlacesBench bench({.clean = 1});
	sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);
	FileCluster place;

	ASSERT_TRUE(bench.pool.take(place));
	bench.map_word(5, MapState::fresh, 100);
	state(&rq).place = place.raw();
	bench.inbox.send(&rq, Stage::lost);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.at_sector(100, 3), 0x5a);
	EXPECT_EQ(bench.nr_clean(), 1u);
	EXPECT_EQ(bench.nr_taken(), 1u);
}

TEST(NewPlaces, AShutGateEndsAWrite)
{
	PlacesBench bench;
	sim::Request &hole = bench.request(PLOOP_RQ_WRITE, 5);
	sim::Request &mapped = bench.request(PLOOP_RQ_WRITE, 6);

	bench.map_word(6, MapState::durable, 100);
	bench.gate.shut(Status::error(kENOSPC));
	bench.start(hole);
	bench.start(mapped);
	bench.settle();
	expect_end(hole, -kENOSPC);
	expect_end(mapped, -kENOSPC);
	EXPECT_EQ(bench.writes(), 0u);
	EXPECT_TRUE(bench.parking.parked.empty());
}

TEST(NewPlaces, WhatIsMappedMeanwhileIsWrittenWhereItIs)
{
	for (const MapState now : {MapState::fresh, MapState::unsynced, MapState::syncing,
				   MapState::in_round, MapState::durable}) {
		PlacesBench bench;
		sim::Request &rq = bench.piece(PLOOP_RQ_WRITE, 5, 3, 1);

		bench.map_word(5, now, 100);
		bench.start(rq);
		EXPECT_EQ(bench.in_epoch(), 1u);
		EXPECT_EQ(bench.dirty.test(0), now == MapState::fresh)
			<< "who published it may not have marked the page yet";
		EXPECT_TRUE(bench.new_places.has_begun());
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.at_sector(100, 3), 0x5a);
		EXPECT_EQ(bench.in_epoch(), 0u);
	}
}

TEST(NewPlaces, AHoleGetsAPlaceWithoutData)
{
	PlacesBench bench;
	FakePlaceUser user;
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE_ZEROES, 5);

	bench.new_places.allocate(&rq, VirtualCluster(5), user);
	EXPECT_EQ(user.rqs, std::vector<ploop_rq *>{&rq});
	EXPECT_EQ(user.ends, std::vector<int>{0});
	EXPECT_EQ(bench.word(5), MapWord::at(MapState::fresh, DeltaId{}, FileCluster(1)));
	EXPECT_TRUE(bench.dirty.test(0));
	bench.new_places.allocate(&rq, VirtualCluster(5), user); // somebody else was first
	EXPECT_EQ(user.ends, (std::vector<int>{0, 0}));
	EXPECT_EQ(bench.word(5).cluster.raw(), 1u);
	EXPECT_EQ(bench.nr_taken(), 1u);
	EXPECT_EQ(bench.nr_clean(), 3u);
	bench.settle();
}

TEST(NewPlaces, WhoWantsAPlaceIsToldThatThereIsNoneAndIsNotParked)
{
	for (const bool outage : {false, true}) {
		PlacesBench bench({.clean = 0});
		FakePlaceUser user;
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE_ZEROES, 5);

		bench.parking.outage = outage;
		bench.world.fail_nth({.calls = sim::call_of(PLOOP_OP_TRUNCATE), .error = -ENOSPC});
		bench.new_places.allocate(&rq, VirtualCluster(5), user);
		bench.inbox.kick();
		EXPECT_EQ(user.rqs.size(), outage ? 1u : 0u);
		bench.settle();
		EXPECT_EQ(user.rqs, std::vector<ploop_rq *>{&rq});
		EXPECT_EQ(user.ends, std::vector<int>{-kENOSPC});
		EXPECT_EQ(has_mark(&rq, kMarkUntried), outage);
		EXPECT_EQ(bench.ops(PLOOP_OP_TRUNCATE), outage ? 0u : 1u);
		EXPECT_TRUE(bench.parking.parked.empty());
		EXPECT_TRUE(bench.new_places.idle());
	}
}

// ---- Ranges --------------------------------------------------------------------

namespace {

// Looks whether the cluster is still mapped when it is handed over.
struct WatchedUnmapped : FakeUnmapped {
	bool add(FileCluster cluster) override
	{
		if (on_add)
			on_add();
		return FakeUnmapped::add(cluster);
	}

	std::function<void()> on_add;
};

// Clusters 3 to 9 of the file hold old bytes.
struct RangesBench : PlacesBench {
	explicit RangesBench(Layout layout = {.file_clusters = 10}, sim::ImageSpec spec = {})
		: PlacesBench(layout, spec)
	{
		EXPECT_TRUE(ranges.create().ok());
		on_range = [this](ploop_rq *rq) { ranges.start(rq); };
		run_ranges = [this] { ranges.run(); };
	}
	void send(sim::Request &rq) { inbox.send(&rq, Stage::fresh); }
	void slow_zeroing()
	{
		for (const ploop_op_kind kind : {PLOOP_OP_PUNCH, PLOOP_OP_ZERO})
			world.delay_ms[sim::call_of(kind)] = 10;
	}

	WatchedUnmapped unmapped;
	Ranges ranges{&host, inbox, policy,	gate,	 stack,	  map,
		      space, dirty, new_places, parking, endings, unmapped};
};

constexpr uint8_t kKeep = PLOOP_RQ_NOUNMAP;

} // namespace

TEST(Ranges, WholeClustersAreUnmapped)
{
	for (const ploop_rq_op op : {PLOOP_RQ_DISCARD, PLOOP_RQ_WRITE_ZEROES}) {
		RangesBench bench;
		sim::Request &rq = bench.request(op, 5, 3 * 64);

		bench.map_word(5, MapState::durable, 3);
		bench.map_word(7, MapState::fresh, 4);
		bench.unmapped.on_add = [&] {
			EXPECT_TRUE(bench.word(7).has_place())
				<< "it is remembered before it is unmapped";
		};
		bench.send(rq);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.unmapped.clusters, (std::vector<uint32_t>{3, 4}));
		for (const uint32_t cluster : {5u, 6u, 7u})
			EXPECT_EQ(bench.word(cluster), MapWord{});
		EXPECT_TRUE(bench.dirty.test(0));
		EXPECT_EQ(bench.ops(PLOOP_OP_PUNCH), 0u);
		EXPECT_TRUE(bench.ranges.idle());
		EXPECT_EQ(bench.in_epoch(), 0u);
	}
}

TEST(Ranges, APartOfAClusterIsNotDiscarded)
{
	RangesBench bench;
	sim::Request &rq = bench.piece(PLOOP_RQ_DISCARD, 5, 32, 32 + 64 + 32);

	for (const uint32_t cluster : {5u, 6u, 7u})
		bench.map_word(cluster, MapState::durable, cluster - 2);
	bench.send(rq);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.unmapped.clusters, std::vector<uint32_t>{4});
	EXPECT_EQ(bench.word(5).cluster.raw(), 3u);
	EXPECT_EQ(bench.word(7).cluster.raw(), 5u);
	EXPECT_EQ(bench.at_sector(3, 32), 0x77);
	EXPECT_EQ(bench.at_sector(5, 0), 0x77);
}

TEST(Ranges, APartOfAClusterIsZeroedInPlace)
{
	RangesBench bench;
	sim::Request &rq = bench.piece(PLOOP_RQ_WRITE_ZEROES, 5, 8, 16);

	bench.map_word(5, MapState::fresh, 3);
	bench.send(rq);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.at_sector(3, 7), 0x77);
	EXPECT_EQ(bench.at_sector(3, 8), 0);
	EXPECT_EQ(bench.at_sector(3, 23), 0);
	EXPECT_EQ(bench.at_sector(3, 24), 0x77);
	EXPECT_EQ(bench.word(5).cluster.raw(), 3u);
	EXPECT_TRUE(bench.dirty.test(0)) << "who published it may not have marked the page yet";
	EXPECT_TRUE(bench.unmapped.clusters.empty());
	EXPECT_EQ(bench.ops(PLOOP_OP_PUNCH), 1u);
}

TEST(Ranges, TheImagesLastClusterIsWholeIfItIsShort)
{
	RangesBench bench({.file_clusters = 10}, {.entries = 8, .sectors = 7 * 64 + 32});
	sim::Request &rq = bench.request(PLOOP_RQ_DISCARD, 7, 32);

	bench.map_word(7, MapState::durable, 3);
	bench.send(rq);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.word(7), MapWord{});
	EXPECT_EQ(bench.unmapped.clusters, std::vector<uint32_t>{3});
}

TEST(Ranges, WithoutMemoryADiscardIsNothingAndZerosAreWritten)
{
	for (const ploop_rq_op op : {PLOOP_RQ_DISCARD, PLOOP_RQ_WRITE_ZEROES}) {
		RangesBench bench;
		sim::Request &rq = bench.request(op, 5);

		bench.map_word(5, MapState::durable, 3);
		bench.unmapped.has_memory = false;
		bench.send(rq);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.word(5).cluster.raw(), 3u);
		EXPECT_EQ(bench.at_sector(3, 63), op == PLOOP_RQ_DISCARD ? 0x77 : 0);
		EXPECT_EQ(bench.dirty.count(), 0u);
	}
}

TEST(Ranges, ZerosThatKeepTheirSpaceStayMapped)
{
	RangesBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE_ZEROES, 5, 64, kKeep);

	bench.map_word(5, MapState::durable, 3);
	bench.send(rq);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.word(5).cluster.raw(), 3u);
	EXPECT_TRUE(bench.unmapped.clusters.empty());
	EXPECT_EQ(bench.at_sector(3, 0), 0);
	EXPECT_EQ(bench.at_sector(3, 63), 0);
	EXPECT_EQ(bench.ops(PLOOP_OP_ZERO), 1u);
	EXPECT_EQ(bench.ops(PLOOP_OP_PUNCH), 0u);
}

TEST(Ranges, AHoleGetsItsSpaceIfThePolicySaysSoAndZerosAreToKeepIt)
{
	struct Case {
		ploop_rq_op op;
		uint8_t flags;
		bool policy;
		bool gets;
	};
	for (const Case &c : {Case{PLOOP_RQ_WRITE_ZEROES, kKeep, true, true},
			      {PLOOP_RQ_WRITE_ZEROES, kKeep, false, false},
			      {PLOOP_RQ_WRITE_ZEROES, 0, true, false},
			      {PLOOP_RQ_DISCARD, kKeep, true, false}}) {
		RangesBench bench;
		sim::Request &rq = bench.request(c.op, 5, 2 * 64, c.flags);

		bench.policy.fallocate_new.store_relaxed(c.policy);
		bench.send(rq);
		bench.settle();
		expect_end(rq, 0);
		for (const uint32_t cluster : {5u, 6u})
			EXPECT_EQ(bench.word(cluster).state,
				  c.gets ? MapState::fresh : MapState::hole);
		EXPECT_EQ(bench.nr_taken(), c.gets ? 2u : 0u);
		EXPECT_EQ(bench.dirty.test(0), c.gets);
	}
}

TEST(Ranges, WhatTheHostCannotZeroIsWritten)
{
	for (const uint8_t flags : {uint8_t{0}, kKeep}) {
		RangesBench bench;
		sim::Request &rq = bench.piece(PLOOP_RQ_WRITE_ZEROES, 5, 8, 16, flags);

		bench.file.unsupported = 1u << PLOOP_OP_ZERO | 1u << PLOOP_OP_PUNCH;
		bench.map_word(5, MapState::durable, 3);
		bench.send(rq);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.at_sector(3, 8), 0);
		EXPECT_EQ(bench.ops(PLOOP_OP_WRITE_ZEROES), 1u);
	}
}

TEST(Ranges, DataOnItsWayIntoASlotIsLeftAlone)
{
	for (const ploop_rq_op op : {PLOOP_RQ_DISCARD, PLOOP_RQ_WRITE_ZEROES}) {
		RangesBench bench;
		sim::Request &rq = bench.request(op, 5, 64, kKeep);
		const MapWord slot = MapWord{}.with_slot(1);

		bench.policy.fallocate_new.store_relaxed(true);
		bench.map.set(VirtualCluster(5), slot);
		bench.send(rq);
		bench.settle();
		expect_end(rq, 0);
		EXPECT_EQ(bench.word(5), slot);
	}
}

TEST(Ranges, FourAreUnderWayAtATime)
{
	RangesBench bench;
	std::vector<sim::Request *> rqs;

	bench.slow_zeroing();
	for (uint32_t i = 0; i < 6; i++) {
		bench.map_word(5 + i, MapState::durable, 3 + i);
		rqs.push_back(&bench.request(PLOOP_RQ_WRITE_ZEROES, 5 + i, 64, kKeep));
		bench.send(*rqs.back());
	}
	bench.settle();
	EXPECT_EQ(bench.ops(PLOOP_OP_ZERO), 4u);
	EXPECT_FALSE(bench.ranges.idle());
	bench.world.advance_ms(10);
	EXPECT_EQ(bench.ops(PLOOP_OP_ZERO), 6u);
	for (uint32_t i = 0; i < 6; i++)
		EXPECT_EQ(rqs[i]->ends, i < 4 ? 1 : 0);
	bench.world.advance_ms(10);
	expect_end(*rqs[5], 0);
	EXPECT_TRUE(bench.ranges.idle());
}

TEST(Ranges, OneThatWaitsForTheHostHoldsUpNoOther)
{
	RangesBench bench;
	sim::Request &slow = bench.request(PLOOP_RQ_WRITE_ZEROES, 5, 64, kKeep);
	sim::Request &quick = bench.request(PLOOP_RQ_DISCARD, 6);

	bench.slow_zeroing();
	bench.map_word(5, MapState::durable, 3);
	bench.map_word(6, MapState::durable, 4);
	bench.send(slow);
	bench.send(quick);
	bench.settle();
	EXPECT_EQ(slow.ends, 0);
	expect_end(quick, 0);
	bench.world.advance_ms(10);
	expect_end(slow, 0);
}

// What another unmaps meanwhile is not used again before the zeros are written.
TEST(Ranges, TheEpochIsHeldWhileZerosAreWritten)
{
	RangesBench bench;

	bench.slow_zeroing();
	bench.map_word(5, MapState::durable, 3);
	bench.send(bench.request(PLOOP_RQ_WRITE_ZEROES, 5, 64, kKeep));
	bench.settle();
	EXPECT_EQ(bench.in_epoch(), 1u);
	bench.world.advance_ms(10);
	EXPECT_EQ(bench.in_epoch(), 0u);
}

// Who waits for space must not keep others from freeing some.
TEST(Ranges, TheEpochIsNotHeldWhileAPlaceIsWaitedFor)
{
	RangesBench bench({.clean = 0});
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE_ZEROES, 5, 64, kKeep);

	bench.world.delay_ms[sim::call_of(PLOOP_OP_RESERVE)] = 10;
	bench.policy.fallocate_new.store_relaxed(true);
	bench.send(rq);
	bench.settle();
	EXPECT_EQ(bench.ops(PLOOP_OP_RESERVE), 1u);
	EXPECT_EQ(bench.in_epoch(), 0u);
	EXPECT_FALSE(bench.ranges.idle());
	bench.world.advance_ms(10);
	expect_end(rq, 0);
	EXPECT_EQ(bench.word(5).state, MapState::fresh);
	EXPECT_TRUE(bench.ranges.idle());
}

TEST(Ranges, OneGoIsBounded)
{
	RangesBench bench({.file_clusters = 10}, {.entries = 3000});
	sim::Request &rq = bench.request(PLOOP_RQ_DISCARD, 0, 3000 * 64);

	bench.map_word(1023, MapState::durable, 3);
	bench.map_word(1024, MapState::durable, 4);
	bench.ranges.start(&rq);
	bench.ranges.run();
	EXPECT_EQ(bench.word(1023), MapWord{});
	EXPECT_EQ(bench.word(1024).cluster.raw(), 4u);
	EXPECT_EQ(rq.ends, 0);
	bench.settle(); // it has asked for its next turn
	expect_end(rq, 0);
	EXPECT_EQ(bench.word(1024), MapWord{});
}

TEST(Ranges, WithoutSpaceItParksAndGoesOnWhereItWas)
{
	RangesBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE_ZEROES, 5, 3 * 64, kKeep);

	for (const uint32_t cluster : {5u, 6u, 7u})
		bench.map_word(cluster, MapState::durable, cluster - 2);
	bench.world.fail_nth({.calls = sim::call_of(PLOOP_OP_ZERO), .nth = 2, .error = -ENOSPC});
	bench.send(rq);
	bench.settle();
	EXPECT_EQ(bench.parking.parked, std::vector<ploop_rq *>{&rq});
	EXPECT_TRUE(bench.ranges.idle());
	EXPECT_EQ(bench.in_epoch(), 0u);
	EXPECT_EQ(bench.at_sector(5, 0), 0x77);
	bench.send(rq);
	bench.settle();
	expect_end(rq, 0);
	EXPECT_EQ(bench.at_sector(4, 0), 0);
	EXPECT_EQ(bench.at_sector(5, 63), 0);
	EXPECT_EQ(bench.ops(PLOOP_OP_ZERO), 4u) << "what was done is done again";
}

TEST(Ranges, AnyOtherErrorEndsIt)
{
	RangesBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE_ZEROES, 5, 2 * 64, kKeep);

	bench.map_word(5, MapState::durable, 3);
	bench.map_word(6, MapState::durable, 4);
	bench.world.fail_nth({.calls = sim::call_of(PLOOP_OP_ZERO)});
	bench.send(rq);
	bench.settle();
	expect_end(rq, -kEIO);
	EXPECT_EQ(bench.ops(PLOOP_OP_ZERO), 1u);
	EXPECT_TRUE(bench.parking.parked.empty());
	EXPECT_TRUE(bench.ranges.idle());
	EXPECT_EQ(bench.in_epoch(), 0u);
}

TEST(Ranges, WhereThereIsNoPlaceItParks)
{
	for (const bool outage : {false, true}) {
		RangesBench bench({.clean = 0});
		sim::Request &rq = bench.request(PLOOP_RQ_WRITE_ZEROES, 5, 64, kKeep);

		bench.parking.outage = outage;
		bench.policy.fallocate_new.store_relaxed(true);
		bench.world.fail_nth({.calls = sim::call_of(PLOOP_OP_RESERVE), .error = -ENOSPC});
		bench.send(rq);
		bench.settle();
		EXPECT_EQ(bench.parking.parked, std::vector<ploop_rq *>{&rq});
		EXPECT_EQ(has_mark(&rq, kMarkUntried), outage);
		EXPECT_EQ(bench.ops(PLOOP_OP_RESERVE), outage ? 0u : 1u);
		EXPECT_TRUE(bench.ranges.idle());
	}
}

// It takes no space, promises nothing, and may be what frees space.
TEST(Ranges, ADiscardPassesAGateThatIsShutForWantOfSpace)
{
	for (const int error : {kENOSPC, kEIO}) {
		RangesBench bench;
		sim::Request &discard = bench.request(PLOOP_RQ_DISCARD, 5);
		sim::Request &zeroes = bench.request(PLOOP_RQ_WRITE_ZEROES, 6);
		const bool passes = error == kENOSPC;

		bench.map_word(5, MapState::durable, 3);
		bench.map_word(6, MapState::durable, 4);
		bench.gate.shut(Status::from(-error));
		bench.send(discard);
		bench.send(zeroes);
		bench.settle();
		expect_end(discard, passes ? 0 : -error);
		expect_end(zeroes, -error);
		EXPECT_EQ(bench.word(5).has_place(), !passes);
		EXPECT_TRUE(bench.word(6).has_place());
		EXPECT_TRUE(bench.ranges.idle());
	}
}

TEST(Ranges, ForcedZerosWaitForTheirCommit)
{
	RangesBench bench;
	sim::Request &rq = bench.request(PLOOP_RQ_WRITE_ZEROES, 5, 64, PLOOP_RQ_FUA);

	bench.map_word(5, MapState::durable, 3);
	bench.send(rq);
	bench.settle();
	EXPECT_EQ(rq.ends, 0);
	EXPECT_EQ(bench.durability.joined, std::vector<ploop_rq *>{&rq});
}

} // namespace ploop
