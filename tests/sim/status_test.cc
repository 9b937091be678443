// SPDX-License-Identifier: GPL-2.0
// The texts of status, word by word, as docs/dm-ploop.rst gives them.
#include <gtest/gtest.h>

#include "sim/fixture.h"

namespace sim {

TEST(Status, Info)
{
	Rig rig;
	rig.start();
	rig.write(0, 8);
	EXPECT_EQ(rig.device.status(),
		  "1 v2 64 o mode=rw used=1 total=256 quarantined=0 parked=0 parked_oldest_ms=0 "
		  "enospc_events=0 retries=0 retry_ms=100 timeout_s=0 policy=queue enospc_errors=0 "
		  "last_error=0 dirty_bat_pages=1");
	rig.stop();
}

TEST(Status, InfoOfAnOutage)
{
	Rig rig;
	rig.start("falloc_new_clu enospc_retry_ms=400 enospc_timeout_s=9");
	rig.fill();
	auto waits = rig.io.write(0, 8);
	rig.world.advance_ms(700);
	EXPECT_EQ(rig.device.status(),
		  "1 v2 64 fs mode=nospace used=0 total=256 quarantined=0 parked=1 "
		  "parked_oldest_ms=700 enospc_events=1 retries=1 retry_ms=400 timeout_s=9 "
		  "policy=queue enospc_errors=0 last_error=0 dirty_bat_pages=0 event_ENOSPC");
	// A look consumes nothing.
	EXPECT_TRUE(rig.has_word("event_ENOSPC"));
	EXPECT_EQ(rig.device.status(PLOOP_STATUS_TABLE), "1 v2 64 fs");
	EXPECT_EQ(rig.device.message("set_falloc_new_clu 0"), 0);
	EXPECT_EQ(rig.device.status(PLOOP_STATUS_TABLE), "1 v2 64 s");
	rig.free_space();
	rig.io.wait_all();
	EXPECT_EQ(waits->error, 0);
	rig.stop();
}

TEST(Status, TableAndIma)
{
	for (const bool read_only : {false, true}) {
		Rig rig;
		ASSERT_EQ(rig.device.create("6 off=64 /img", rig.sectors - 64, read_only), 0)
			<< rig.device.error;
		EXPECT_EQ(rig.device.status(PLOOP_STATUS_TABLE), "1 v2 64 o off=64");
		EXPECT_EQ(rig.device.status(PLOOP_STATUS_IMA),
			  std::string("target_name=ploop,target_version=1.0.0,deltas=1,format=v2,"
				      "cluster_sectors=64,mode=") +
				  (read_only ? "ro;" : "rw;"));
		rig.stop();
	}
}

} // namespace sim
