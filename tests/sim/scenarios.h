// SPDX-License-Identifier: GPL-2.0
// What a device goes through, for the tests that run it again and again and spoil
// each of its steps once: by a call that fails, or by a power cut.
#ifndef TESTS_SIM_SCENARIOS_H
#define TESTS_SIM_SCENARIOS_H

#include <climits>

#include "sim/fixture.h"

namespace sim {

constexpr uint64_t kSpan = 64 * 24; // sectors that the scenarios touch

constexpr uint64_t kFlagsOffset = 52;
// Bits that nobody knows, in a field that is not the kernel's (invariant 6).
inline const std::vector<uint8_t> kForeignFlags = {0, 0, 0x5A, 0xA5};

// Runs on a device that was started. False: a load, suspend or resume failed, and
// the scenario has no device to go on with.
using Scenario = bool (*)(Rig &);

namespace scenario {

inline bool whole_life(Rig &rig)
{
	rig.random_load(40, 10);
	rig.io.flush();
	rig.io.wait_all();
	if (rig.device.suspend() || rig.device.resume())
		return false;
	rig.random_load(20, 10);
	rig.io.wait_all();
	return true;
}

inline bool load(Rig &rig)
{
	rig.random_load(30);
	rig.io.flush();
	rig.io.wait_all();
	rig.random_load(25);
	rig.io.wait_all();
	rig.world.advance_ms(6000); // the commit in the background
	return true;
}

// Full clusters of old data are discarded and used again at once: the places
// where foreign bytes could show.
inline bool recycle(Rig &rig)
{
	for (unsigned i = 0; i < 6; i++)
		rig.io.write(64 * i, 64);
	rig.io.flush();
	rig.io.wait_all();
	for (unsigned round = 0; round < 3; round++) {
		rig.io.discard(0, 64 * 6);
		rig.io.wait_all();
		rig.io.flush();
		rig.io.wait_all();
		rig.world.run_idle();
		for (unsigned i = 0; i < 6; i++) {
			if (rig.world.random(2))
				rig.io.write(64 * (10 + i) + 7, 9);
			else
				rig.io.write(64 * i, 64);
		}
		rig.io.wait_all();
		rig.io.flush();
		rig.io.wait_all();
	}
	return true;
}

inline bool suspend_and_swap(Rig &rig)
{
	rig.random_load(15);
	rig.io.wait_all();
	if (rig.device.suspend() || rig.device.resume())
		return false;
	rig.random_load(15);
	if (rig.device.load("6 /img", rig.sectors) || rig.device.resume(true))
		return false;
	rig.random_load(10);
	rig.io.wait_all();
	return true;
}

inline bool outage(Rig &rig)
{
	rig.random_load(15);
	rig.io.wait_all();
	rig.world.disk.capacity = rig.world.disk.used() + 16384;
	rig.random_load(1, 12, UINT_MAX); // waits for nothing: there may be no space for it
	for (unsigned i = 0; i < 20; i++)
		rig.random_step(rig.world.random(kSpan - 200), 1 + uint32_t(rig.world.random(150)));
	rig.world.advance_ms(700);
	rig.free_space();
	rig.io.wait_all();
	rig.io.flush();
	rig.io.wait_all();
	return true;
}

inline bool outage_on_cow(Rig &rig)
{
	rig.world.disk.copy_on_write = true;
	return outage(rig);
}

} // namespace scenario

} // namespace sim

#endif
