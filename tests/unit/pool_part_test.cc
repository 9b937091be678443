// SPDX-License-Identifier: GPL-2.0
// The pool alone: what is handed out, when, and how there comes to be more.
#include <algorithm>

#include "unit/parts.h"

namespace ploop {

namespace {

constexpr uint32_t kBytes = 32768;

// A file with clusters that nobody uses, and that hold somebody's old bytes.
sim::ImageSpec with_clusters(uint32_t count)
{
	sim::ImageSpec spec;

	spec.file_clusters = count;
	return spec;
}

void fill(sim::File &file)
{
	const std::vector<uint8_t> old(file.size() - kBytes, 0xaa);

	file.poke(kBytes, old);
}

void make_device(sim::File &file)
{
	fill(file);
	file.facts.block_device = true;
}

struct PoolBench : Bench {
	explicit PoolBench(const sim::ImageSpec &spec = {},
			   const std::function<void(sim::File &)> &shape = {})
		: Bench(spec, shape)
	{
		EXPECT_TRUE(pool.create().ok());
		modes.begin(Mode::rw);
		pool.open();
		on_round = [this] {
			if ((std::exchange(signals, 0) & kSignalFree) != 0)
				pool.reclaim();
			pool.run();
		};
		on_timer = [this](ploop_timer which) {
			if (which == PLOOP_TIMER_FREE)
				inbox.signal(kSignalFree);
		};
		run(); // as a resume has the worker do
	}

	void run()
	{
		inbox.kick();
		settle();
	}
	// Somebody waits: what is told, if all goes at once.
	std::vector<int> want()
	{
		pool.want();
		run();
		return std::exchange(user.refills, {});
	}
	// All that is at hand, in the order in which it comes.
	std::vector<uint32_t> take_all()
	{
		std::vector<uint32_t> all;
		FileCluster cluster;

		while (pool.take(cluster))
			all.push_back(cluster.raw());
		return all;
	}
	bool take_one() { return pool.take(taken); }
	uint64_t file_clusters() const { return file.size() / kBytes; }
	void delay(ploop_op_kind kind, uint32_t ms) { world.delay_ms[sim::call_of(kind)] = ms; }
	void fail(ploop_op_kind kind, int error, bool sticky = true)
	{
		world.fail_nth({.calls = sim::call_of(kind), .error = error, .sticky = sticky});
	}

	FileCluster taken;
	FakePoolUser user;
	Pool pool{&host, inbox, policy, modes, stack, space, user};
};

using Told = std::vector<int>;
using Clusters = std::vector<uint32_t>;

} // namespace

// ---- When more is made ---------------------------------------------------------

TEST(PoolAlone, MakesNothingBeforeSomebodyTakes)
{
	PoolBench bench;

	bench.run();
	EXPECT_EQ(bench.began(), "");
	EXPECT_FALSE(bench.take_one());
	EXPECT_TRUE(bench.host.kicked) << "the worker does not hear that nothing is left";
	bench.settle();
	EXPECT_EQ(bench.began(), "truncate sync");
	EXPECT_TRUE(bench.take_one());
	EXPECT_TRUE(bench.user.refills.empty()) << "told though nobody waits";
}

TEST(PoolAlone, EachGrowthIsOneStepTwiceAsLongAsTheLast)
{
	PoolBench bench;

	EXPECT_FALSE(bench.take_one());
	bench.settle();
	for (uint64_t clusters = 2; clusters <= 128; clusters *= 2) {
		EXPECT_EQ(bench.file_clusters(), clusters);
		EXPECT_EQ(bench.began(), "truncate sync");
		EXPECT_EQ(bench.take_all().size(), clusters / 2);
		bench.settle();
	}
}

TEST(PoolAlone, AStepIsNoLongerThan128MiB)
{
	sim::ImageSpec spec;

	spec.cluster_sectors = 131072; // 64 MiB
	spec.entries = 64;
	PoolBench bench(spec);
	std::vector<size_t> steps;
	for (unsigned i = 0; i < 4; i++) {
		EXPECT_EQ(bench.want(), Told{0});
		steps.push_back(bench.take_all().size());
	}
	bench.settle();
	EXPECT_LE(*std::max_element(steps.begin(), steps.end()), 4u) << "one at hand, one ahead";
	EXPECT_EQ(bench.file.size() % (64 << 20), 0u);
	bench.began();
	const uint64_t before = bench.file.size();
	EXPECT_EQ(bench.take_all().size(), 2u);
	bench.settle();
	EXPECT_EQ(bench.file.size() - before, 128u << 20);
	EXPECT_EQ(bench.began(), "truncate sync");
}

// Half a step is left: the next one begins, and who takes does not wait.
TEST(PoolAlone, RefillsAheadOfNeed)
{
	PoolBench bench;

	for (unsigned i = 0; i < 3; i++) {
		EXPECT_EQ(bench.want(), Told{0});
		bench.take_all();
	}
	bench.settle();
	bench.began();
	ASSERT_EQ(bench.pool.at_hand(), 8u);
	EXPECT_TRUE(bench.take_one());
	bench.run();
	EXPECT_EQ(bench.began(), "truncate sync");
	EXPECT_EQ(bench.pool.at_hand(), 7u + 16u);
}

TEST(PoolAlone, MakesNothingAheadWhenItMayNot)
{
	PoolBench bench;

	bench.user.may_try = false;
	EXPECT_FALSE(bench.take_one());
	bench.settle();
	EXPECT_EQ(bench.began(), "") << "sent to a host that is known to have no space";
	bench.user.may_try = true;
	bench.pool.set_ahead(false);
	bench.run();
	EXPECT_EQ(bench.began(), "") << "made ahead in a suspend";
	EXPECT_EQ(bench.want(), Told{0}) << "but who waits is served";
	bench.take_all();
	bench.settle();
	EXPECT_EQ(bench.began(), "truncate sync");
}

// ---- What is clean -------------------------------------------------------------

TEST(PoolAlone, AGrowthIsHandedOutOnlyWhenItIsDurable)
{
	PoolBench bench;

	bench.delay(PLOOP_OP_SYNC, 20);
	EXPECT_EQ(bench.want(), Told{});
	EXPECT_EQ(bench.file_clusters(), 2u);
	EXPECT_FALSE(bench.take_one()) << "a power cut would leave an entry beyond the end";
	EXPECT_FALSE(bench.pool.idle());
	bench.world.advance_ms(20);
	EXPECT_EQ(bench.user.refills, Told{0});
	ASSERT_TRUE(bench.take_one());
	EXPECT_GE(bench.file.crash_image(sim::Cut::Drop, 0).size(),
		  uint64_t{bench.taken.raw() + 1} * kBytes);
	EXPECT_TRUE(bench.pool.idle());
}

TEST(PoolAlone, AFreeClusterIsHandedOutOnlyWhenItsPunchIsDurable)
{
	PoolBench bench(with_clusters(4), fill);

	bench.delay(PLOOP_OP_SYNC, 20);
	EXPECT_EQ(bench.want(), Told{});
	EXPECT_EQ(bench.began_where(), "punch 32768+98304 sync 0+0");
	EXPECT_EQ(bench.pool.held(), 3u);
	EXPECT_EQ(bench.byte_of(1), 0);
	EXPECT_EQ(bench.durable_byte_of(1), 0xaa);
	EXPECT_FALSE(bench.take_one()) << "a power cut would show somebody's old bytes";
	bench.world.advance_ms(20);
	EXPECT_EQ(bench.user.refills, Told{0});
	EXPECT_EQ(bench.take_all(), (Clusters{1, 2, 3}));
	for (uint32_t place : {1, 2, 3})
		EXPECT_EQ(bench.durable_byte_of(place), 0);
}

TEST(PoolAlone, WhatTheFileHasIsUsedBeforeItGrows)
{
	PoolBench bench(with_clusters(3), fill);

	ASSERT_TRUE(bench.space.claim(FileCluster(2)));
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.take_all(), (Clusters{1}));
	EXPECT_EQ(bench.file_clusters(), 3u);
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began(), "punch sync truncate sync");
	EXPECT_EQ(bench.take_all(), (Clusters{3, 4}));
}

// The file is a whole number of clusters at every instant.
TEST(PoolAlone, SpaceIsReservedBehindTheEndBeforeTheSizeIsSet)
{
	PoolBench bench;

	bench.policy.fallocate_new.store_relaxed(true);
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "reserve 32768+32768 truncate 65536+0 sync 0+0");
	bench.file.unsupported = 1u << PLOOP_OP_RESERVE;
	bench.take_all();
	EXPECT_EQ(bench.want(), Told{0}) << "not every file system can reserve";
	EXPECT_EQ(bench.began(), "reserve truncate sync");
}

TEST(PoolAlone, ToZeroInsteadOfPunchingKeepsTheSpaceAndIsDoneStepByStep)
{
	PoolBench bench(with_clusters(8), fill);

	bench.policy.fallocate_new.store_relaxed(true);
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "zero 32768+32768 sync 0+0");
	EXPECT_EQ(bench.take_all(), (Clusters{1}));
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "zero 65536+65536 sync 0+0");
	EXPECT_EQ(bench.durable_byte_of(2), 0);
}

TEST(PoolAlone, ZerosAreWrittenWhereTheFileCannotPunch)
{
	PoolBench bench(with_clusters(2), fill);

	bench.file.unsupported = 1u << PLOOP_OP_PUNCH;
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "punch 32768+32768 write-zeroes 32768+32768 sync 0+0");
	EXPECT_EQ(bench.take_all(), (Clusters{1}));
	EXPECT_EQ(bench.durable_byte_of(1), 0);
}

TEST(PoolAlone, WhatWasMadeUnderAnotherPolicyIsMadeAnew)
{
	PoolBench bench;

	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.pool.at_hand(), 1u);
	bench.began();
	bench.policy.fallocate_new.store_relaxed(true);
	bench.pool.forget_clean();
	EXPECT_FALSE(bench.take_one()) << "it has no space of its own";
	EXPECT_EQ(bench.space.nr_used(), 0u);
	bench.pool.set_ahead(false);
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "zero 32768+32768 sync 0+0");
	EXPECT_EQ(bench.take_all(), (Clusters{1}));
}

TEST(PoolAlone, TheStepUnderWayIsOfTheOtherPolicy)
{
	PoolBench bench;

	bench.delay(PLOOP_OP_SYNC, 20);
	bench.want();
	bench.policy.fallocate_new.store_relaxed(true);
	bench.pool.forget_clean();
	bench.world.advance_ms(100);
	EXPECT_EQ(bench.user.refills, Told{0});
	ASSERT_TRUE(bench.take_one());
	const uint64_t first = uint64_t{bench.taken.raw()} * kBytes / sim::UNIT;
	EXPECT_EQ(bench.file.now().allocated().missing(first, first + kBytes / sim::UNIT), 0u)
		<< "it has no space of its own";
}

// What another sync is told of may be this growth.
TEST(PoolAlone, AnErrorThatAnotherSyncIsToldCountsToo)
{
	PoolBench bench;

	bench.delay(PLOOP_OP_SYNC, 20);
	bench.want();
	bench.world.advance_ms(10);
	bench.another_sync_fails(kENOSPC);
	bench.world.advance_ms(10);
	EXPECT_EQ(bench.user.refills, Told{-ENOSPC});
	EXPECT_FALSE(bench.take_one());
}

// ---- What comes back -------------------------------------------------------------

TEST(PoolAlone, WhatWasNotUsedIsHandedOutAgain)
{
	PoolBench bench;

	EXPECT_EQ(bench.want(), Told{0});
	ASSERT_TRUE(bench.take_one());
	EXPECT_TRUE(bench.pool.put_back(bench.taken));
	EXPECT_EQ(bench.take_all(), (Clusters{bench.taken.raw()}));
	bench.began();
	bench.pool.set_ahead(false);
	bench.pool.give(bench.taken);
	bench.run();
	EXPECT_EQ(bench.take_all(), (Clusters{bench.taken.raw()}));
	bench.settle();
	EXPECT_EQ(bench.began(), "") << "it is clean still";
}

TEST(PoolAlone, WhoCannotPutBackIsTold)
{
	PoolBench bench;

	while (bench.space.nr_clean() == 0) {
		EXPECT_EQ(bench.want(), Told{0});
		const Clusters all = bench.take_all();
		bench.settle();
		for (uint32_t cluster : all)
			bench.pool.give(FileCluster(cluster));
		bench.run();
	}
	ASSERT_EQ(bench.pool.at_hand(), 256u);
	const uint64_t clean = bench.space.nr_clean();
	ASSERT_TRUE(bench.take_one());
	EXPECT_TRUE(bench.pool.put_back(bench.taken));
	ASSERT_TRUE(bench.take_one());
	bench.run(); // its place is taken by another
	EXPECT_EQ(bench.space.nr_clean(), clean - 1);
	EXPECT_FALSE(bench.pool.put_back(bench.taken));
	bench.pool.give(bench.taken);
	EXPECT_EQ(bench.space.nr_clean(), clean);
	EXPECT_EQ(bench.space.nr_used(), bench.pool.held()) << "a cluster has got lost";
}

// ---- The end ----------------------------------------------------------------------

TEST(PoolAlone, AClosedOneGivesNothingAndIsTrimmedThen)
{
	PoolBench bench;

	for (unsigned i = 0; i < 3; i++) {
		EXPECT_EQ(bench.want(), Told{0});
		bench.take_one();
	}
	bench.settle();
	const uint64_t held = bench.pool.held();
	const uint64_t used = bench.space.nr_used();
	ASSERT_GT(held, 0u);
	bench.began();
	EXPECT_DEATH(bench.pool.empty(), "nobody takes what is trimmed");
	bench.pool.close();
	EXPECT_FALSE(bench.take_one());
	EXPECT_EQ(bench.want(), Told{});
	EXPECT_EQ(bench.began(), "") << "a step begins in a pool that is closed";
	bench.pool.empty();
	EXPECT_EQ(bench.pool.held(), 0u);
	EXPECT_EQ(bench.space.nr_used(), used - held);
	EXPECT_EQ(bench.space.nr_clean(), bench.space.nr_free());
	bench.pool.open();
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began(), "") << "what was trimmed from memory is in the file still";
}

TEST(PoolAlone, AStepThatEndsInAClosedPoolLeavesItsClustersFree)
{
	PoolBench bench(with_clusters(4), fill);

	bench.delay(PLOOP_OP_SYNC, 20);
	bench.want();
	bench.pool.close();
	bench.world.advance_ms(20);
	EXPECT_TRUE(bench.pool.idle());
	EXPECT_EQ(bench.user.refills, Told{});
	bench.pool.empty();
	EXPECT_EQ(bench.space.nr_used(), 0u);
	EXPECT_EQ(bench.space.nr_clean(), 3u);
}

// ---- Want of space, and other errors -----------------------------------------------

TEST(PoolAlone, ThereMayBeRoomForLess)
{
	PoolBench bench;

	bench.policy.fallocate_new.store_relaxed(true);
	for (unsigned i = 0; i < 2; i++) {
		EXPECT_EQ(bench.want(), Told{0});
		bench.take_all();
	}
	bench.settle();
	bench.take_all();
	bench.began();
	bench.world.disk.capacity = bench.world.disk.used() + kBytes;
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began(), "reserve reserve reserve reserve truncate sync")
		<< "8, 4, 2, and 1";
	EXPECT_EQ(bench.take_all().size(), 1u);
	bench.settle();
	EXPECT_EQ(bench.began(), "reserve reserve");
	EXPECT_EQ(bench.user.refills, Told{});
}

TEST(PoolAlone, WhoWaitsIsToldThatThereIsNoSpaceAndNobodyElse)
{
	PoolBench bench;

	bench.policy.fallocate_new.store_relaxed(true);
	bench.fill_disk();
	EXPECT_FALSE(bench.take_one());
	bench.settle();
	EXPECT_EQ(bench.began(), "reserve");
	EXPECT_EQ(bench.user.refills, Told{}) << "nobody waits";
	EXPECT_FALSE(bench.take_one());
	bench.run();
	EXPECT_EQ(bench.began(), "") << "tried ahead of need, though there is no space";
	EXPECT_EQ(bench.want(), Told{-ENOSPC});
	EXPECT_EQ(bench.began(), "reserve");
	bench.run();
	EXPECT_EQ(bench.began(), "") << "nobody waits any more";
	bench.free_disk();
	EXPECT_EQ(bench.want(), Told{0});
	bench.began();
	bench.take_all();
	bench.settle();
	EXPECT_EQ(bench.began(), "reserve truncate sync") << "there is space: ahead again";
}

TEST(PoolAlone, ASyncWithoutSpaceLeavesTheClustersDirty)
{
	PoolBench bench(with_clusters(3), fill);

	bench.policy.fallocate_new.store_relaxed(true);
	bench.fail(PLOOP_OP_SYNC, -ENOSPC);
	EXPECT_EQ(bench.want(), Told{-ENOSPC});
	EXPECT_FALSE(bench.modes.failed());
	EXPECT_FALSE(bench.take_one());
	EXPECT_EQ(bench.space.nr_used(), 0u);
	EXPECT_EQ(bench.space.nr_clean(), 0u);
	bench.settle();
	bench.world.clear_faults();
	bench.began();
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "zero 32768+32768 sync 0+0") << "the same once more";
}

TEST(PoolAlone, AGrowthWhoseSyncFailsIsNone)
{
	PoolBench bench;

	bench.fail(PLOOP_OP_SYNC, -EIO, false);
	EXPECT_EQ(bench.want(), Told{-EIO});
	EXPECT_TRUE(bench.modes.failed()) << "the others do not hear of it";
	EXPECT_EQ(bench.space.end(), 1u);
	EXPECT_FALSE(bench.take_one());
	bench.settle();
}

TEST(PoolAlone, AFileThatIsTooLargeIsToldOnce)
{
	PoolBench bench;

	bench.fail(PLOOP_OP_TRUNCATE, -EFBIG);
	EXPECT_EQ(bench.want(), Told{-EFBIG});
	EXPECT_EQ(bench.want(), Told{-EFBIG});
	ASSERT_EQ(bench.host.logs.size(), 1u);
	EXPECT_TRUE(bench.host.logged("cannot grow beyond 1 clusters"));
	bench.world.clear_faults();
	EXPECT_EQ(bench.want(), Told{0});
	bench.take_all();
	bench.fail(PLOOP_OP_TRUNCATE, -EFBIG);
	EXPECT_EQ(bench.want(), Told{-EFBIG});
	EXPECT_EQ(bench.host.logs.size(), 2u) << "it could grow meanwhile, and now cannot";
}

// On a device there is nothing else: what cannot be written is tried again at last.
TEST(PoolAlone, WhatCannotBeWrittenIsAvoided)
{
	PoolBench bench(with_clusters(3), make_device);

	bench.fail(PLOOP_OP_PUNCH, -EIO, false);
	EXPECT_EQ(bench.want(), Told{-EIO});
	EXPECT_EQ(bench.began_where(), "punch 32768+32768");
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "punch 65536+32768 sync 0+0");
	EXPECT_EQ(bench.take_all(), (Clusters{2}));
	bench.user.may_try = false;
	EXPECT_EQ(bench.want(), Told{-ENOSPC});
	EXPECT_EQ(bench.began(), "") << "those who wait end one after the other with its error";
	bench.user.may_try = true;
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "punch 32768+32768 sync 0+0");
}

TEST(PoolAlone, TheImageEndsAtTheLimitOfTheDevice)
{
	PoolBench bench(with_clusters(999));

	bench.space.claim_all();
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.take_all(), (Clusters{999}));
	bench.settle();
	bench.began();
	EXPECT_EQ(bench.want(), Told{-ENOSPC});
	EXPECT_EQ(bench.began(), "");
	EXPECT_EQ(bench.file_clusters(), 1000u);
}

// Its size is not ours to set, but may change.
TEST(PoolAlone, ADeviceThatOthersMadeLargerHasMore)
{
	PoolBench bench(with_clusters(2), make_device);

	bench.space.claim_all();
	EXPECT_EQ(bench.want(), Told{-ENOSPC});
	EXPECT_EQ(bench.began(), "");
	EXPECT_FALSE(bench.pool.extend_to_device());
	bench.file.set_size(4 * kBytes);
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "punch 65536+32768 sync 0+0")
		<< "what others left there is not zeros";
	EXPECT_FALSE(bench.pool.extend_to_device());
}

// ---- In the background --------------------------------------------------------------

// Every second cluster is used, so that each free one is a run of its own.
struct ReclaimBench : PoolBench {
	explicit ReclaimBench(uint32_t runs) : PoolBench(with_clusters(2 * runs + 1), fill)
	{
		for (uint32_t i = 0; i < runs; i++)
			EXPECT_TRUE(space.claim(FileCluster(2 + 2 * i)));
		pool.reclaim_later();
	}
	static std::string punches(uint32_t count)
	{
		std::string text;
		for (uint32_t i = 0; i < count; i++)
			text += "punch ";
		return text;
	}
};

TEST(PoolAlone, OldBytesAreGivenBackInTheBackground)
{
	ReclaimBench bench(5);
	const uint64_t used = bench.world.disk.used();

	bench.world.advance_ms(999);
	EXPECT_EQ(bench.began(), "");
	bench.world.advance_ms(1);
	EXPECT_EQ(bench.began(), bench.punches(5) + "sync");
	EXPECT_EQ(bench.world.disk.used(), used - 5 * kBytes);
	EXPECT_EQ(bench.user.refills, Told{}) << "nobody has waited for it";
	EXPECT_EQ(bench.take_all(), (Clusters{1, 3, 5, 7, 9}));
	bench.settle();
	EXPECT_EQ(bench.file_clusters(), 11u + 1u) << "it was nobody's need, which grows by one";
}

TEST(PoolAlone, OneSyncIsFor64RunsAndOthersHaveTheirTurnBetween)
{
	ReclaimBench bench(70);

	bench.world.advance_ms(1000);
	EXPECT_EQ(bench.began(), bench.punches(64) + "sync");
	bench.world.advance_ms(999);
	EXPECT_EQ(bench.began(), "");
	bench.world.advance_ms(1);
	EXPECT_EQ(bench.began(), bench.punches(6) + "sync");
	bench.world.advance_ms(10000);
	EXPECT_EQ(bench.began(), "");
}

TEST(PoolAlone, WhoWaitsDoesNotWaitForTheBackground)
{
	ReclaimBench bench(10);

	bench.delay(PLOOP_OP_PUNCH, 10);
	bench.world.advance_ms(1015); // in the second
	EXPECT_EQ(bench.want(), Told{});
	bench.world.advance_ms(5);
	EXPECT_EQ(bench.user.refills, Told{0});
	EXPECT_EQ(bench.began(), "punch punch sync");
	bench.world.advance_ms(5000);
	EXPECT_EQ(bench.began(), bench.punches(8) + "sync") << "the rest is given back later";
}

TEST(PoolAlone, TheBackgroundFailsInSilence)
{
	ReclaimBench bench(3);

	bench.fail(PLOOP_OP_PUNCH, -EIO, false);
	bench.world.advance_ms(1000);
	EXPECT_EQ(bench.began(), "punch");
	EXPECT_EQ(bench.user.refills, Told{});
	EXPECT_EQ(bench.pool.held(), 0u);
	EXPECT_EQ(bench.want(), Told{0});
	EXPECT_EQ(bench.began_where(), "punch 98304+32768 sync 0+0") << "it is avoided";
}

TEST(PoolAlone, NothingIsGivenBackWhereThereIsNothing)
{
	PoolBench device(with_clusters(3), make_device);

	device.pool.reclaim_later();
	device.world.advance_ms(5000);
	EXPECT_EQ(device.began(), "") << "a device has the space that it has";
}

TEST(PoolAlone, NothingIsGivenBackInASuspend)
{
	ReclaimBench bench(3);

	bench.pool.set_ahead(false);
	bench.world.advance_ms(5000);
	EXPECT_EQ(bench.began(), "");
}

} // namespace ploop
