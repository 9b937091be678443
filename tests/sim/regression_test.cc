// SPDX-License-Identifier: GPL-2.0
// Faults that were found by reading, one test each; every one failed before its fix.
#include <gtest/gtest.h>

#include "sim/fixture.h"

namespace sim {

TEST(Regression, ParkAfterExpiryWakesTheWorker)
{
	Rig rig;
	rig.world.disk.copy_on_write = true;
	rig.world.inline_io = Inline::Always;
	rig.start("enospc_timeout_s=2 enospc_retry_ms=60000");
	rig.io.write(0, 64);
	rig.io.flush();
	rig.io.wait_all();
	rig.world.advance_ms(6000);
	rig.fill();
	auto first = rig.io.write(640, 8);
	rig.world.advance_ms(2500);
	EXPECT_EQ(first->error, -ENOSPC);
	auto second = rig.io.write(0, 8); // an overwrite, on a host that copies on write
	rig.world.advance_ms(30000);
	EXPECT_TRUE(second->done) << "neither timed out nor probed: " << rig.device.status();
	rig.free_space();
	rig.world.advance_ms(120000);
	EXPECT_TRUE(second->done) << "nor after space came back";
	rig.device.message("retry_enospc");
	rig.world.advance_ms(1000);
	rig.stop();
}

TEST(Regression, SecondUnwrittenMapAfterAdoption)
{
	ImageSpec spec;
	spec.entries = 4096;
	Rig rig(1, spec);
	rig.world.disk.copy_on_write = true;
	ASSERT_EQ(rig.device.create("6 /img", 256 * 64), 0) << rig.device.error;
	std::vector<uint8_t> data(4096, 1);
	EXPECT_EQ(rig.device.write(0, data), 0);
	rig.fill();
	EXPECT_EQ(rig.device.suspend(true), 0);
	ASSERT_TRUE(rig.has_word("dirty-suspended"));
	EXPECT_EQ(rig.device.load("6 /img", 4096 * 64), 0) << rig.device.error;
	rig.free_space();
	EXPECT_EQ(rig.device.resume(true), 0);
	EXPECT_EQ(rig.device.write(3000 * 64, data), 0);
	rig.fill();
	EXPECT_EQ(rig.device.suspend(true), 0);
	ASSERT_TRUE(rig.has_word("dirty-suspended"));
	rig.free_space();
	EXPECT_EQ(rig.device.resume(true), 0);
	std::vector<uint8_t> back;
	EXPECT_EQ(rig.device.read(3000 * 64, 8, back), 0);
	EXPECT_EQ(back, data);
	rig.stop();
}

TEST(Regression, CommitTimerDuringTheStop)
{
	for (uint32_t delay = 1; delay < 12; delay++) {
		Rig rig;
		rig.world.at_once_chance = 0;
		rig.start();
		rig.write(0, 8);
		rig.world.advance_ms(4990 - rig.world.now_ms());
		rig.world.delay_ms[call_of(PLOOP_OP_SYNC)] = delay;
		rig.stop();
	}
}

TEST(Regression, ExpireTimerStorm)
{
	Rig rig;
	rig.start_uncommitted_on_cow("enospc_timeout_s=5");
	rig.fill();
	rig.world.advance_ms(5500);
	EXPECT_EQ(rig.device.message("error_if_no_space"), 0);
	rig.world.run_idle();
	EXPECT_EQ(rig.device.message("queue_if_no_space"), 0);
	rig.world.run_idle();
	unsigned steps = 0;
	const uint64_t end = rig.world.now_ms() + 20000;
	while (rig.world.now_ms() < end && steps < 100000 && rig.world.step())
		steps++;
	EXPECT_LT(steps, 1000u) << "at " << rig.world.now_ms();
	rig.free_space();
	rig.stop();
}

TEST(Regression, BackgroundCommitThatGaveUpIsTriedAgain)
{
	Rig rig;
	rig.start_uncommitted_on_cow("error_if_no_space");
	rig.fill();
	rig.world.advance_ms(6000);
	rig.free_space();
	rig.world.advance_ms(600000);
	EXPECT_EQ(rig.field("dirty_bat_pages"), 0u) << rig.device.status();
	rig.write(64, 8); // the same page
	rig.world.advance_ms(600000);
	EXPECT_EQ(rig.field("dirty_bat_pages"), 0u) << rig.device.status();
	rig.stop();
}

TEST(Regression, ExtensionDoesNotLeakATailAtEachSuspend)
{
	ImageSpec spec;
	spec.file_clusters = 3;
	spec.extension = 2 * 64;
	Rig rig(1, spec);
	rig.start();
	for (unsigned i = 0; i < 10; i++) {
		for (unsigned j = 0; j < 9; j++)
			rig.io.write(64 * (i * 9 + j), 8);
		rig.io.wait_all();
		rig.device.suspend();
		rig.device.resume();
	}
	rig.stop();
	EXPECT_LE(rig.report().leaked, 4u);
}

TEST(Regression, ReadOnlyTableDoesNotWriteAnUnwrittenMap)
{
	Rig rig;
	rig.start_and_suspend_unwritten();
	EXPECT_EQ(rig.device.load("6 /img", rig.sectors, true), 0);
	const uint64_t before = rig.world.calls(call_of(PLOOP_OP_WRITE_BUFFERED));
	EXPECT_EQ(rig.device.resume(true), -EROFS);
	EXPECT_EQ(rig.world.calls(call_of(PLOOP_OP_WRITE_BUFFERED)), before);
	EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
	EXPECT_EQ(rig.device.resume(true), 0);
	rig.stop();
	EXPECT_EQ(rig.report().text(), "");
}

TEST(Regression, AdoptionAfterAnErrorThatIsForEver)
{
	Rig rig;
	rig.start_and_suspend_unwritten();
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC)});
	EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
	EXPECT_EQ(rig.device.resume(true), -EIO);
	EXPECT_EQ(rig.device.resume(true), -EIO); // never retried
	EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
	// The next table begins from what is on the disk, without the lost entries.
	EXPECT_EQ(rig.device.resume(true), 0);
	EXPECT_EQ(rig.field("used"), 0u);
	rig.stop();
}

TEST(Regression, ATableSwapDoesNotForgetAMapThatCouldNotBeWritten)
{
	for (const bool known : {false, true}) {
		Rig rig;
		rig.start();
		rig.write(0, 64);
		rig.world.advance_ms(100); // no other sync is under way
		rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC)});
		if (known) {
			EXPECT_EQ(rig.device.flush(), -EIO);
		}
		EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
		// The next table would read zeros where something was acknowledged.
		EXPECT_EQ(rig.device.resume(), -EIO);
		rig.world.clear_faults();
		EXPECT_EQ(rig.device.resume(), -EIO);
		EXPECT_TRUE(rig.has_word("mode=failed"));
		// Whoever has been told may go on with what there is.
		EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
		EXPECT_EQ(rig.device.resume(), 0);
		EXPECT_LE(rig.field("used"), 1u);
		rig.stop();
	}
}

TEST(Regression, GrowthThatIsTooLargeTriesLess)
{
	Rig rig;
	rig.start();
	for (unsigned i = 0; i < 7; i++)
		rig.io.write(64 * i, 8);
	rig.io.wait_all();
	// The step is too large; one cluster would fit.
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_TRUNCATE), .error = -EFBIG});
	for (unsigned i = 7; i < 20; i++) {
		auto bio = rig.write(64 * i, 8);
		EXPECT_EQ(bio->error, 0) << i;
	}
	rig.stop();
}

TEST(Regression, OverwriteThatMeetsEnospcWhileRemoveDrains)
{
	Rig rig;
	rig.world.disk.copy_on_write = true;
	rig.start();
	rig.io.write(0, 64);
	rig.io.flush();
	rig.io.wait_all();
	rig.fill();
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[CALL_RQ_WRITE] = 100;
	auto bio = rig.io.write(0, 8);
	rig.stop();
	EXPECT_TRUE(bio->done);
}

TEST(Regression, NoMemoryToWriteAnUnwrittenMapIsNotForEver)
{
	Rig rig;
	rig.start_and_suspend_unwritten();
	rig.world.fail_nth({.calls = CALL_ALLOC | CALL_OP_NEW, .error = -ENOMEM});
	EXPECT_EQ(rig.device.resume(true), -ENOMEM);
	EXPECT_EQ(rig.device.resume(true), 0) << rig.device.status();
	rig.stop();
}

TEST(Regression, MarkThatCouldNotBeTakenBackIsTakenBackByTheNextTable)
{
	for (uint64_t seed = 1; seed < 12; seed++) {
		Rig rig(seed);
		rig.start();
		rig.write(0, 8);
		rig.io.flush();
		rig.io.wait_all();
		rig.world.fail_nth({.calls = call_of(PLOOP_OP_WRITE_BUFFERED),
				    .error = -ENOSPC,
				    .sticky = true});
		EXPECT_EQ(rig.device.suspend(true), 0);
		EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
		rig.world.clear_faults();
		EXPECT_EQ(rig.device.resume(true), 0);
		rig.stop();
		EXPECT_EQ(rig.report().in_use, 0u) << seed;
	}
}

TEST(Regression, MarkWhoseSyncFailedIsOurs)
{
	Rig rig;
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC), .error = -EIO});
	EXPECT_NE(rig.device.create("6 /img", rig.sectors), 0);
	EXPECT_EQ(rig.device.resume(), 0);
	rig.stop();
	EXPECT_EQ(rig.report().in_use, 0u);
}

TEST(Regression, AFlushWaitsItsOwnTimeout)
{
	Rig rig;
	rig.start_uncommitted_on_cow("enospc_timeout_s=5");
	rig.fill();
	rig.world.advance_ms(9900);
	auto flush = rig.io.flush();
	rig.world.advance_ms(6000);
	EXPECT_EQ(flush->error, -ENOSPC);
	EXPECT_GE(flush->ended_ms - flush->begun_ms, 5000u);
	rig.free_space();
	rig.stop();
}

// A signal must not wait for the end of a load that has none.
TEST(Regression, TheWorkerComesUpForBreath)
{
	ImageSpec spec;
	spec.entries = 4096;
	Rig rig(1, spec);
	rig.start();
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[CALL_RQ_WRITE] = 10;
	unsigned ended = 0;
	for (uint64_t cluster = 0; cluster < 4000; cluster++)
		rig.device.submit(PLOOP_RQ_WRITE, cluster * 64, 8, 0,
				  Model::pattern(1, cluster * 64, 8), [&](Bio &) { ended++; });
	rig.world.advance_ms(5);
	EXPECT_EQ(ended, 0u);
	// Each that ends lets another begin, in the same run of the worker.
	rig.world.at_once_chance = 1;
	rig.world.run_until([&] { return ended > 0; });
	EXPECT_LT(ended, 2000u);
	rig.world.run_until([&] { return ended == 4000; });
	rig.stop();
}

TEST(Regression, ClustersThatFailedOnceAreTriedAgain)
{
	ImageSpec spec;
	spec.file_clusters = 6;
	Rig rig(1, spec);
	rig.file.facts.block_device = true;
	rig.start();
	rig.world.fail_nth({.calls = CALL_RQ_WRITE, .error = -EIO, .sticky = true});
	for (unsigned i = 0; i < 5; i++)
		EXPECT_EQ(rig.write(64 * i, 8)->error, -EIO);
	rig.world.clear_faults();
	for (unsigned i = 0; i < 5; i++)
		EXPECT_EQ(rig.write(64 * i, 8)->error, 0);
	EXPECT_FALSE(rig.has_word("mode=nospace"));
	rig.stop();
}

TEST(Regression, ALatchIsLiftedWithoutBeingAsked)
{
	Rig rig;
	rig.start("error_if_no_space");
	rig.write(0, 64);
	rig.io.flush();
	rig.io.wait_all();
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC), .error = -ENOSPC, .sticky = true});
	EXPECT_EQ(rig.device.flush(), -ENOSPC);
	EXPECT_EQ(rig.write(0, 8)->error, -ENOSPC);
	rig.world.advance_ms(11000); // the round of the timer fails, too
	rig.world.clear_faults();
	rig.world.advance_ms(11000);
	EXPECT_EQ(rig.write(0, 8)->error, 0);
	rig.stop();
}

TEST(Regression, AWriteThatWaitsBesideACommitHasItsTimeout)
{
	Rig rig;
	rig.start_uncommitted_on_cow("enospc_timeout_s=5 enospc_retry_ms=60000");
	rig.fill();
	rig.world.advance_ms(6000); // the commit of the timer waits, and no flush with it
	ASSERT_TRUE(rig.has_word("mode=nospace"));
	auto late = rig.io.write(0, 8); // an overwrite: it parks in any context
	rig.world.advance_ms(4999);
	EXPECT_FALSE(late->done);
	EXPECT_EQ(rig.field("parked"), 1u);
	rig.world.advance_ms(1);
	EXPECT_EQ(late->error, -ENOSPC);
	rig.free_space();
	rig.stop();
}

// A device whose next commit writes the pages 0, 1 and 2 of the BAT.
void dirty_three_pages(Rig &rig)
{
	rig.start();
	for (const uint32_t cluster : {0u, 1500u, 2500u})
		rig.write(uint64_t{cluster} * kClusterSectors, 8);
	EXPECT_EQ(rig.field("dirty_bat_pages"), 3u);
}

ImageSpec three_pages()
{
	ImageSpec spec;
	spec.entries = 3000;
	return spec;
}

// A want of memory passes; to fail the device for it would lose what it could keep.
TEST(Regression, WantOfMemoryForAPageOfTheMapIsNotForEver)
{
	for (const ploop_op_kind kind : {PLOOP_OP_WRITE, PLOOP_OP_WRITE_BUFFERED}) {
		Rig rig(1, three_pages());
		dirty_three_pages(rig);
		const Fault &fault =
			rig.world.fail_nth({.calls = call_of(kind), .error = -ENOMEM});
		EXPECT_EQ(rig.device.flush(), 0);
		EXPECT_EQ(fault.fired, 1u);
		rig.stop_in_order();
	}
}

TEST(Regression, AFlushThatEndsWithEnospcIsTold)
{
	Rig rig;
	rig.start_uncommitted_on_cow("error_if_no_space");
	rig.fill();
	EXPECT_EQ(rig.device.flush(), -ENOSPC);
	EXPECT_TRUE(rig.has_word("event_ENOSPC"));
	EXPECT_EQ(rig.field("enospc_errors"), 1u);
	rig.free_space();
	rig.stop();
}

TEST(Regression, AnInterruptedSuspendTakesNoMoreBack)
{
	Rig rig;
	rig.start();
	rig.fill();
	std::vector<BioPtr> bios;
	for (unsigned i = 0; i < 30; i++)
		bios.push_back(rig.io.write(64 * i, 8));
	rig.world.advance_ms(500);
	unsigned asked = 0;
	auto &may_requeue = rig.device.host().may_requeue;
	auto before = may_requeue;
	may_requeue = [&] { return ++asked <= 10 && before(); };
	EXPECT_EQ(rig.device.suspend(true, [&] { return asked > 10; }), -EINTR);
	EXPECT_EQ(rig.device.requeue_lost, 0u);
	may_requeue = before;
	rig.world.advance_ms(500);
	EXPECT_TRUE(rig.has_word("mode=nospace"));
	EXPECT_EQ(rig.field("parked"), 30u);
	rig.free_space();
	rig.io.wait_all();
	for (const BioPtr &bio : bios)
		EXPECT_EQ(bio->error, 0);
	rig.stop_in_order();
}

TEST(Regression, WhatAnUndoneSuspendHasEndedIsLogged)
{
	Rig rig;
	rig.start();
	rig.write(64 * 9, 8);
	rig.fill();
	std::vector<BioPtr> bios;
	for (unsigned i = 0; i < 5; i++)
		bios.push_back(rig.io.write(64 * i, 8));
	rig.world.advance_ms(50);
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[CALL_RQ_READ] = 1000;
	rig.io.read(64 * 9, 8);
	const auto all_ended = [&] {
		return std::all_of(bios.begin(), bios.end(), [](auto &bio) { return bio->done; });
	};
	EXPECT_EQ(rig.device.suspend(false, all_ended), -EINTR);
	rig.world.advance_ms(10);
	EXPECT_TRUE(rig.device.host().logged("5 requests ended with ENOSPC"));
	rig.free_space();
	rig.stop();
}

// A commit is all that waits, and the list of the parked is quiet: whoever parks
// next has a timeout, too.
TEST(Regression, TheTimeoutOfWhoComesAfterTheLastExpired)
{
	Rig rig;
	rig.start_uncommitted_on_cow("enospc_timeout_s=2 enospc_retry_ms=60000");
	rig.world.advance_ms(4500);
	rig.fill();
	auto first = rig.io.write(0, 8); // an overwrite
	rig.world.advance_ms(2500); // the commit of the timer waits, the write has ended
	EXPECT_EQ(first->error, -ENOSPC);
	EXPECT_TRUE(rig.has_word("mode=nospace"));
	rig.world.advance_ms(500);
	auto second = rig.io.write(0, 8);
	rig.world.advance_ms(1999);
	EXPECT_FALSE(second->done);
	rig.world.advance_ms(1);
	EXPECT_TRUE(second->done);
	EXPECT_EQ(second->error, -ENOSPC);
	rig.free_space();
	rig.stop();
}

// It comes back into an outage that began with another, later request.
TEST(Regression, TheTimeoutOfWhoParksAgain)
{
	Rig rig;
	rig.world.disk.copy_on_write = true;
	rig.start("enospc_timeout_s=5 enospc_retry_ms=60000");
	for (unsigned i = 0; i < 3; i++)
		rig.write(64 * i, 64);
	rig.io.flush();
	rig.io.wait_all();
	rig.fill();
	rig.world.at_once_chance = 0;
	auto probe = rig.io.write(0, 8);
	rig.world.advance_ms(1);
	auto again = rig.io.write(64, 8);
	rig.world.advance_ms(1000);
	EXPECT_EQ(rig.field("parked"), 2u);
	rig.free_space();
	rig.world.delay_ms[CALL_RQ_WRITE] = 1000;
	EXPECT_EQ(rig.device.message("retry_enospc"), 0);
	rig.world.run_until([&] { return probe->done; });
	EXPECT_FALSE(again->done);
	rig.fill();
	rig.world.delay_ms[CALL_RQ_WRITE] = 0;
	auto later = rig.io.write(128, 8);
	rig.world.run_until([&] { return rig.field("parked") == 1; });
	rig.world.run_until([&] { return again->done; });
	EXPECT_EQ(again->error, -ENOSPC);
	EXPECT_EQ(again->ended_ms - again->begun_ms, 5000u);
	rig.free_space();
	EXPECT_EQ(rig.device.message("retry_enospc"), 0);
	rig.io.wait_all();
	EXPECT_EQ(later->error, 0);
	rig.stop();
}

// A round of several batches: the page of what is unmapped meanwhile is written
// by it, and so is not dirty afterwards.
TEST(Regression, WhatIsUnmappedDuringARoundLeavesTheQuarantine)
{
	constexpr uint32_t pages = 20;
	ImageSpec spec;
	spec.entries = pages * 1024;
	Rig rig(1, spec);
	rig.start();
	for (uint64_t page = 0; page < pages; page++)
		rig.io.write((page * 1024 + 8) * kClusterSectors, 64);
	rig.io.wait_all();
	EXPECT_EQ(rig.field("dirty_bat_pages"), pages);
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[call_of(PLOOP_OP_SYNC)] = 100;
	rig.world.run_until([&] { return rig.field("dirty_bat_pages") < pages; });
	rig.io.discard(((pages - 1) * 1024 + 8) * kClusterSectors, 64);
	rig.world.advance_ms(50);
	EXPECT_EQ(rig.field("quarantined"), 1u);
	EXPECT_GT(rig.field("dirty_bat_pages"), 0u);
	rig.world.advance_ms(2000);
	EXPECT_EQ(rig.field("dirty_bat_pages"), 0u);
	rig.world.advance_ms(10000);
	EXPECT_EQ(rig.field("quarantined"), 0u);
	rig.stop_in_order();
}

// Clusters that were discarded are given back by the next commit. Whoever needs
// space meanwhile waits for that, and nobody hears of an outage.
TEST(Regression, SpaceInTheQuarantineIsNoWantOfSpace)
{
	for (const char *policy : {"", "error_if_no_space"}) {
		Rig rig;
		rig.start(policy);
		for (unsigned i = 0; i < 10; i++)
			rig.io.write(64 * i, 64);
		rig.io.wait_all();
		rig.fill();
		rig.io.discard(0, 64 * 10, true);
		rig.io.wait_all();
		const uint64_t before = rig.world.now_ms();
		std::vector<BioPtr> bios;
		for (unsigned i = 20; i < 30; i++)
			bios.push_back(rig.io.write(64 * i, 64));
		rig.io.wait_all();
		for (const BioPtr &bio : bios)
			EXPECT_EQ(bio->error, 0) << policy;
		EXPECT_EQ(rig.world.now_ms(), before);
		EXPECT_EQ(rig.field("enospc_events"), 0u);
		EXPECT_TRUE(rig.has_word("mode=rw"));
		// When that is used up, too, the policy decides.
		auto more = rig.io.write(64 * 40, 64);
		rig.world.run_idle();
		EXPECT_EQ(rig.field("enospc_events"), 1u);
		EXPECT_EQ(more->done, *policy != 0);
		rig.free_space();
		rig.io.wait_all();
		EXPECT_EQ(more->error, *policy != 0 ? -ENOSPC : 0);
		rig.stop_in_order();
	}
}

// What is discarded in portions comes back in portions. Whoever gets nothing of the first
// one waits for the others that were there when it came.
TEST(Regression, EachPortionOfTheQuarantineIsWaitedFor)
{
	for (const char *policy : {"", "error_if_no_space"}) {
		Rig rig;
		rig.start(policy);
		rig.write(0, 64 * 4);
		rig.io.flush();
		rig.io.wait_all();
		rig.fill();
		rig.world.at_once_chance = 0;
		rig.world.delay_ms[call_of(PLOOP_OP_SYNC)] = 50;
		rig.world.delay_ms[call_of(PLOOP_OP_PUNCH)] = 70;
		auto discard = rig.io.discard(0, 64, true);
		rig.world.run_until([&] { return discard->done; });
		auto flush = rig.io.flush();
		rig.world.run_until([&] { return flush->done; });
		rig.io.discard(64, 64, true);
		rig.world.advance_ms(10);
		EXPECT_EQ(rig.field("quarantined"), 2u) << policy;
		auto first = rig.io.write(64 * 9, 64), second = rig.io.write(64 * 10, 64);
		rig.io.wait_all();
		EXPECT_EQ(first->error, 0) << policy;
		EXPECT_EQ(second->error, 0) << policy;
		EXPECT_EQ(rig.field("enospc_events"), 0u) << policy;
		EXPECT_EQ(rig.field("enospc_errors"), 0u) << policy;
		rig.stop_in_order();
	}
}

// What it waited for has come, but others were served with less: it is tried before an
// outage begins, though more is being freed.
TEST(Regression, WhoseHopeEndsIsTriedFirst)
{
	for (const char *policy : {"", "error_if_no_space"}) {
		Rig rig;
		rig.start(policy);
		rig.write(0, 64 * 4);
		rig.io.flush();
		rig.io.wait_all();
		rig.fill();
		rig.world.at_once_chance = 0;
		rig.world.delay_ms[call_of(PLOOP_OP_PUNCH)] = 500;
		auto discard = rig.io.discard(0, 64, true);
		rig.world.run_until([&] { return discard->done; });
		auto flush = rig.io.flush();
		rig.world.run_until([&] { return flush->done; });
		auto waits = rig.io.write(64 * 9, 64);
		rig.world.advance_ms(10);
		auto later = rig.io.discard(128, 64, true);
		rig.world.run_until([&] { return later->done; });
		rig.io.flush();
		rig.world.advance_ms(10);
		EXPECT_EQ(rig.field("parked"), 1u) << policy;
		EXPECT_EQ(rig.field("quarantined"), 2u) << policy;
		rig.world.run_until([&] { return waits->done; });
		EXPECT_EQ(waits->error, 0) << policy;
		EXPECT_EQ(rig.field("enospc_events"), 0u) << policy;
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

// A commit that fails keeps what it would have freed, and not what is past it.
TEST(Regression, AFailedCommitLeavesTheHopeForWhatWasCommitted)
{
	Rig rig;
	rig.start("error_if_no_space");
	rig.write(0, 64 * 4);
	rig.io.flush();
	rig.io.wait_all();
	rig.fill();
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[call_of(PLOOP_OP_PUNCH)] = 500;
	auto discard = rig.io.discard(0, 64, true);
	rig.world.run_until([&] { return discard->done; });
	auto flush = rig.io.flush();
	rig.world.run_until([&] { return flush->done; });
	rig.io.discard(64, 64, true);
	rig.world.advance_ms(10);
	EXPECT_EQ(rig.field("quarantined"), 2u);
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC), .error = -ENOSPC});
	auto waits = rig.io.write(64 * 9, 64);
	rig.world.advance_ms(100);
	EXPECT_EQ(rig.field("parked"), 1u);
	rig.world.run_until([&] { return waits->done; });
	EXPECT_EQ(waits->error, 0);
	EXPECT_EQ(rig.field("enospc_events"), 0u);
	rig.io.wait_all();
	rig.stop_in_order();
}

// Each cluster of a write-zeroes is a want of space of its own.
TEST(Regression, ZeroesHopeForEachOfTheirClusters)
{
	Rig rig;
	rig.start("error_if_no_space falloc_new_clu");
	rig.write(0, 64 * 4);
	rig.io.flush();
	rig.io.wait_all();
	rig.world.run_idle();
	rig.fill();
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[call_of(PLOOP_OP_SYNC)] = 50;
	// As many clusters as are ready are had without asking the host.
	rig.io.write_zeroes(64 * 40, uint32_t(64 * rig.clean_clusters()), PLOOP_RQ_NOUNMAP);
	rig.io.wait_all();
	rig.io.discard(0, 64, true);
	auto zeroes = rig.io.write_zeroes(64 * 9, 64 * 2, PLOOP_RQ_NOUNMAP);
	rig.world.run_until([&] { return rig.field("parked") == 1; });
	rig.io.discard(64, 64, true);
	rig.io.wait_all();
	EXPECT_EQ(zeroes->error, 0);
	EXPECT_EQ(rig.field("enospc_events"), 0u);
	rig.stop_in_order();
}

// A slow request holds the quarantine back. Meanwhile nothing is synced for it again and
// again, and who has made space elsewhere need not wait for it.
TEST(Regression, WhoWaitsForTheQuarantineIsTriedWhenTold)
{
	for (const char *message : {"retry_enospc", "enospc_retry_ms 50"}) {
		Rig rig;
		rig.start();
		rig.write(0, 64 * 4);
		rig.fill();
		rig.world.at_once_chance = 0;
		rig.world.delay_ms[CALL_RQ_READ] = 3000;
		rig.world.delay_ms[call_of(PLOOP_OP_SYNC)] = 1;
		auto slow = rig.io.read(0, 64);
		rig.world.advance_ms(1);
		auto discard = rig.io.discard(64, 64, true);
		rig.world.run_until([&] { return discard->done; });
		auto waits = rig.io.write(64 * 9, 64);
		rig.world.advance_ms(1000);
		EXPECT_FALSE(slow->done || waits->done);
		const uint64_t syncs = rig.world.calls(call_of(PLOOP_OP_SYNC));
		rig.world.advance_ms(1000);
		EXPECT_EQ(rig.world.calls(call_of(PLOOP_OP_SYNC)), syncs);
		EXPECT_EQ(rig.field("parked"), 1u);
		rig.free_space();
		EXPECT_EQ(rig.device.message(message), 0);
		rig.world.run_until([&] { return waits->done; });
		EXPECT_FALSE(slow->done);
		EXPECT_EQ(waits->error, 0);
		EXPECT_EQ(rig.field("enospc_events"), 0u);
		rig.io.wait_all();
		rig.stop_in_order();
	}
}

// Messages that change something else do not carry the policy out.
TEST(Regression, AnotherMessageEndsNobodyWhoWaitsForTheQuarantine)
{
	for (const char *message : {"low_water 1", "enospc_timeout_s 60"}) {
		Rig rig;
		rig.start("error_if_no_space");
		rig.write(0, 64);
		rig.world.advance_ms(100); // no other sync is under way
		rig.fill();
		rig.world.at_once_chance = 0;
		rig.world.delay_ms[call_of(PLOOP_OP_SYNC)] = 1000;
		auto discard = rig.io.discard(0, 64, true);
		rig.world.run_until([&] { return discard->done; });
		auto waits = rig.io.write(64 * 9, 64);
		rig.world.advance_ms(100);
		EXPECT_EQ(rig.field("parked"), 1u);
		EXPECT_EQ(rig.device.message(message), 0);
		rig.io.wait_all();
		EXPECT_EQ(waits->error, 0) << message;
		EXPECT_EQ(rig.field("enospc_events"), 0u) << message;
		rig.stop_in_order();
	}
}

// The file may have as many clusters as are mapped, and as many again in quarantine.
TEST(Regression, AFullQuarantineIsNoWantOfSpace)
{
	for (const char *policy : {"", "error_if_no_space"}) {
		Rig rig;
		rig.start(policy);
		for (unsigned round = 0; round < 12; round++) {
			for (unsigned i = 0; i < 256; i++)
				EXPECT_EQ(rig.io.write(64 * i, 64)->error, 0);
			rig.io.wait_all();
			rig.io.discard(0, rig.sectors, true);
			rig.io.wait_all();
		}
		EXPECT_LT(rig.world.now_ms(), 5000u);
		EXPECT_EQ(rig.field("enospc_events"), 0u);
		EXPECT_EQ(rig.field("enospc_errors"), 0u);
		rig.stop_in_order();
	}
}

// The commit that would give the space back has none itself.
TEST(Regression, AQuarantineThatCannotEmptyIsAnOutage)
{
	for (const char *policy : {"", "error_if_no_space"}) {
		Rig rig;
		rig.world.disk.copy_on_write = true;
		rig.start(policy);
		rig.write(0, 64 * 4);
		rig.io.flush();
		rig.io.wait_all();
		rig.fill();
		rig.io.discard(0, 64, true);
		rig.io.wait_all();
		auto waits = rig.io.write(64 * 9, 64);
		rig.world.run_idle();
		EXPECT_TRUE(rig.has_word("event_ENOSPC"));
		EXPECT_EQ(waits->done, *policy != 0);
		rig.free_space();
		rig.io.wait_all();
		EXPECT_EQ(waits->error, *policy != 0 ? -ENOSPC : 0);
		rig.stop_in_order();
	}
}

// ... or fails for ever.
TEST(Regression, AQuarantineWhoseCommitFailsLeavesNobodyWaiting)
{
	Rig rig;
	rig.start();
	rig.write(0, 64);
	rig.fill();
	rig.io.discard(0, 64, true);
	rig.io.wait_all();
	rig.world.fail_nth({.calls = call_of(PLOOP_OP_SYNC)});
	auto waits = rig.io.write(64 * 9, 64);
	rig.io.wait_all();
	EXPECT_EQ(waits->error, -EIO);
	EXPECT_TRUE(rig.has_word("mode=failed"));
	rig.stop();
}

TEST(Regression, SuspendsWhileTheQuarantineIsWaitedFor)
{
	for (const bool noflush : {false, true}) {
		Rig rig;
		rig.start();
		rig.write(0, 64);
		rig.fill();
		rig.io.discard(0, 64, true);
		rig.io.wait_all();
		rig.world.at_once_chance = 0;
		rig.world.delay_ms[call_of(PLOOP_OP_SYNC)] = 1000;
		auto first = rig.io.write(64 * 9, 64), second = rig.io.write(64 * 10, 64);
		rig.world.advance_ms(10);
		EXPECT_EQ(rig.field("parked"), 2u);
		EXPECT_EQ(rig.device.suspend(noflush), 0);
		EXPECT_EQ(first->done, !noflush);
		rig.free_space();
		EXPECT_EQ(rig.device.resume(true), 0);
		rig.io.wait_all();
		EXPECT_EQ(first->error, noflush ? 0 : -ENOSPC);
		rig.stop_in_order();
	}
}

// Nobody reads with get_event: watchers learn of the second want of space, too.
TEST(Regression, EachWantOfSpaceIsToldWithErrorIfNoSpace)
{
	Rig rig;
	rig.start("error_if_no_space");
	for (unsigned round = 1; round <= 3; round++) {
		rig.fill();
		for (unsigned i = 0; i < 5; i++) {
			EXPECT_EQ(rig.write(64 * (10 * round + i), 64)->error, -ENOSPC);
			EXPECT_EQ(rig.field("enospc_events"), round);
		}
		EXPECT_EQ(rig.device.events, round);
		rig.free_space();
		EXPECT_EQ(rig.write(64 * 10 * round, 64)->error, 0);
	}
	// Who reads learns that it still lasts.
	rig.fill();
	rig.write(64 * 100, 64);
	std::string reply;
	EXPECT_EQ(rig.device.message("get_event", &reply), 1);
	EXPECT_EQ(rig.device.message("get_event", &reply), 0);
	rig.write(64 * 101, 64);
	EXPECT_EQ(rig.device.message("get_event", &reply), 1);
	rig.stop();
}

// The host cannot write one place, and has no other: those who wait go on waiting.
TEST(Regression, ABadPlaceIsNotGivenToAllWhoWait)
{
	constexpr uint64_t cluster_bytes = kClusterSectors * SECTOR;
	ImageSpec spec;
	spec.file_clusters = 2;
	Rig rig(1, spec);
	rig.file.facts.block_device = true;
	rig.start();
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[CALL_RQ_WRITE] = 10;
	rig.world.fail_nth({.calls = CALL_RQ_WRITE, .sticky = true});
	auto first = rig.io.write(0, 64);
	std::vector<BioPtr> bios;
	for (unsigned i = 1; i <= 5; i++)
		bios.push_back(rig.io.write(64 * i, 64));
	rig.world.advance_ms(20000);
	EXPECT_EQ(first->error, -EIO);
	EXPECT_EQ(rig.field("parked"), 5u);
	rig.world.clear_faults();
	rig.file.set_size(10 * cluster_bytes);
	rig.io.wait_all();
	for (const BioPtr &bio : bios)
		EXPECT_EQ(bio->error, 0);
	rig.stop();
}

// There was no space for the in-use mark; that nothing is to be taken back is no
// unwritten change.
TEST(Regression, AMarkThatNeverWasIsNotUnwritten)
{
	unsigned without = 0;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		Rig rig(seed);
		rig.start();
		rig.write(0, 64);
		EXPECT_EQ(rig.device.suspend(), 0);
		rig.world.fail_nth({.calls = call_of(PLOOP_OP_WRITE_BUFFERED),
				    .error = -ENOSPC,
				    .sticky = true});
		EXPECT_EQ(rig.device.resume(), 0);
		rig.io.read(0, 64);
		rig.io.wait_all();
		EXPECT_EQ(rig.device.suspend(), 0);
		EXPECT_FALSE(rig.has_word("dirty-suspended")) << rig.device.status();
		// A write that fails may have had its effect all the same.
		without += rig.report().in_use == 0;
		rig.world.clear_faults();
		EXPECT_EQ(rig.device.resume(), 0);
		rig.stop();
		EXPECT_EQ(rig.io.problem, "");
	}
	EXPECT_GT(without, 0u);
}

} // namespace sim
