// SPDX-License-Identifier: GPL-2.0
// Faults that were found by reading, one test each; every one failed before its fix.
#include <gtest/gtest.h>

#include "sim/fixture.h"

namespace sim {

namespace {

void fill(Rig &rig)
{
	rig.world.disk.capacity = rig.world.disk.used();
}
void free_space(Rig &rig)
{
	rig.world.disk.capacity = UINT64_MAX;
}
uint64_t field(Rig &rig, const std::string &name)
{
	const std::string text = rig.device.status();
	const size_t at = text.find(" " + name + "=");
	return at == std::string::npos ? ~0ull : std::stoull(text.substr(at + name.size() + 2));
}

} // namespace

TEST(Regression, ParkAfterExpiryWakesTheWorker)
{
	Rig rig(1);
	rig.world.disk.copy_on_write = true;
	rig.world.inline_io = Inline::Always;
	rig.start("enospc_timeout_s=2 enospc_retry_ms=60000");
	rig.io.write(0, 64);
	rig.io.flush();
	rig.io.wait_all();
	rig.world.advance_ms(6000);
	fill(rig);
	auto first = rig.io.write(640, 8);
	rig.world.advance_ms(2500);
	EXPECT_EQ(first->error, -ENOSPC);
	auto second = rig.io.write(0, 8); // an overwrite, on a host that copies on write
	rig.world.advance_ms(30000);
	EXPECT_TRUE(second->done) << "neither timed out nor probed: " << rig.device.status();
	free_space(rig);
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
	fill(rig);
	EXPECT_EQ(rig.device.suspend(true), 0);
	ASSERT_NE(rig.device.status().find("dirty-suspended"), std::string::npos);
	EXPECT_EQ(rig.device.load("6 /img", 4096 * 64), 0) << rig.device.error;
	free_space(rig);
	EXPECT_EQ(rig.device.resume(true), 0);
	EXPECT_EQ(rig.device.write(3000 * 64, data), 0);
	fill(rig);
	EXPECT_EQ(rig.device.suspend(true), 0);
	ASSERT_NE(rig.device.status().find("dirty-suspended"), std::string::npos);
	free_space(rig);
	EXPECT_EQ(rig.device.resume(true), 0);
	std::vector<uint8_t> back;
	EXPECT_EQ(rig.device.read(3000 * 64, 8, back), 0);
	EXPECT_EQ(back, data);
	rig.stop();
}

TEST(Regression, CommitTimerDuringTheStop)
{
	for (uint32_t delay = 1; delay < 12; delay++) {
		Rig rig(1);
		rig.world.at_once_chance = 0;
		rig.start();
		rig.io.write(0, 8);
		rig.io.wait_all();
		rig.world.advance_ms(4990 - rig.world.now_ms());
		rig.world.delay_ms[call_of(PLOOP_OP_SYNC)] = delay;
		rig.stop();
	}
}

TEST(Regression, ExpireTimerStorm)
{
	Rig rig(1);
	rig.world.disk.copy_on_write = true;
	rig.start("enospc_timeout_s=5");
	rig.io.write(0, 8);
	rig.io.wait_all();
	fill(rig);
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
	free_space(rig);
	rig.stop();
}

TEST(Regression, BackgroundCommitThatGaveUpIsTriedAgain)
{
	Rig rig(1);
	rig.world.disk.copy_on_write = true;
	rig.start("error_if_no_space");
	rig.io.write(0, 8);
	rig.io.wait_all();
	fill(rig);
	rig.world.advance_ms(6000);
	free_space(rig);
	rig.world.advance_ms(600000);
	EXPECT_EQ(field(rig, "dirty_bat_pages"), 0u) << rig.device.status();
	rig.io.write(64, 8); // the same page
	rig.io.wait_all();
	rig.world.advance_ms(600000);
	EXPECT_EQ(field(rig, "dirty_bat_pages"), 0u) << rig.device.status();
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
	Rig rig(1);
	rig.world.disk.copy_on_write = true;
	rig.start();
	rig.io.write(0, 8);
	rig.io.wait_all();
	fill(rig);
	rig.device.suspend(true);
	free_space(rig);
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
	Rig rig(1);
	rig.world.disk.copy_on_write = true;
	rig.start();
	rig.io.write(0, 8);
	rig.io.wait_all();
	fill(rig);
	rig.device.suspend(true);
	free_space(rig);
	Fault fault;
	fault.calls = call_of(PLOOP_OP_SYNC);
	fault.error = -EIO;
	rig.world.fail_nth(fault);
	EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
	EXPECT_EQ(rig.device.resume(true), -EIO);
	EXPECT_EQ(rig.device.resume(true), -EIO); // never retried
	EXPECT_EQ(rig.device.load("6 /img", rig.sectors), 0);
	// The next table begins from what is on the disk, without the lost entries.
	EXPECT_EQ(rig.device.resume(true), 0);
	EXPECT_EQ(field(rig, "used"), 0u);
	rig.stop();
}

TEST(Regression, GrowthThatIsTooLargeTriesLess)
{
	Rig rig(1);
	rig.start();
	for (unsigned i = 0; i < 7; i++)
		rig.io.write(64 * i, 8);
	rig.io.wait_all();
	Fault fault;
	fault.calls = call_of(PLOOP_OP_TRUNCATE);
	fault.error = -EFBIG; // the step is too large; one cluster would fit
	rig.world.fail_nth(fault);
	for (unsigned i = 7; i < 20; i++) {
		auto bio = rig.io.write(64 * i, 8);
		rig.io.wait_all();
		EXPECT_EQ(bio->error, 0) << i;
	}
	rig.stop();
}

TEST(Regression, OverwriteThatMeetsEnospcWhileRemoveDrains)
{
	Rig rig(1);
	rig.world.disk.copy_on_write = true;
	rig.start();
	rig.io.write(0, 64);
	rig.io.flush();
	rig.io.wait_all();
	fill(rig);
	rig.world.at_once_chance = 0;
	rig.world.delay_ms[CALL_RQ_WRITE] = 100;
	auto bio = rig.io.write(0, 8);
	rig.stop();
	EXPECT_TRUE(bio->done);
}

TEST(Regression, NoMemoryToWriteAnUnwrittenMapIsNotForEver)
{
	Rig rig(1);
	rig.world.disk.copy_on_write = true;
	rig.start();
	rig.io.write(0, 8);
	rig.io.wait_all();
	fill(rig);
	rig.device.suspend(true);
	free_space(rig);
	Fault fault;
	fault.calls = CALL_ALLOC | CALL_OP_NEW;
	fault.error = -ENOMEM;
	rig.world.fail_nth(fault);
	EXPECT_EQ(rig.device.resume(true), -ENOMEM);
	EXPECT_EQ(rig.device.resume(true), 0) << rig.device.status();
	rig.stop();
}

TEST(Regression, MarkThatCouldNotBeTakenBackIsTakenBackByTheNextTable)
{
	for (uint64_t seed = 1; seed < 12; seed++) {
		Rig rig(seed);
		rig.start();
		rig.io.write(0, 8);
		rig.io.wait_all();
		rig.io.flush();
		rig.io.wait_all();
		Fault fault;
		fault.calls = call_of(PLOOP_OP_WRITE_BUFFERED);
		fault.error = -ENOSPC;
		fault.sticky = true;
		rig.world.fail_nth(fault);
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
	Rig rig(1);
	Fault fault;
	fault.calls = call_of(PLOOP_OP_SYNC);
	fault.error = -ENOSPC;
	rig.world.fail_nth(fault);
	EXPECT_NE(rig.device.create("6 /img", rig.sectors), 0);
	EXPECT_EQ(rig.device.resume(), 0);
	rig.stop();
	EXPECT_EQ(rig.report().in_use, 0u);
}

TEST(Regression, AFlushWaitsItsOwnTimeout)
{
	Rig rig(1);
	rig.world.disk.copy_on_write = true;
	rig.start("enospc_timeout_s=5");
	rig.io.write(0, 8);
	rig.io.wait_all();
	rig.world.disk.capacity = rig.world.disk.used();
	rig.world.advance_ms(9900);
	auto flush = rig.io.flush();
	rig.world.advance_ms(6000);
	EXPECT_EQ(flush->error, -ENOSPC);
	EXPECT_GE(flush->ended_ms - flush->begun_ms, 5000u);
	rig.world.disk.capacity = UINT64_MAX;
	rig.stop();
}

} // namespace sim
