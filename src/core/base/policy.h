// SPDX-License-Identifier: GPL-2.0
// What the table line and messages have set: read by every part, written by the
// target alone. Each value may change at any time; who reads one twice may see two.
#pragma once

#include "base/atomics.h"
#include "base/types.h"

namespace ploop {

enum class Suspending : uint8_t { none, noflush, flush };

struct Policy {
	Atomic<bool> fallocate_new;	// new clusters get their space at once
	Atomic<bool> error_if_no_space; // writes without space fail instead of waiting
	Atomic<uint32_t> retry_ms;	// the first delay of a probe
	Atomic<uint32_t> timeout_s;	// how long a request waits for space; 0: for ever
	Atomic<uint8_t> suspend;	// enum Suspending
	// Of the table: these never change.
	bool read_only = false;
	bool no_blkcg = false; // the I/O of workers is nobody's account

	Suspending suspending() const { return static_cast<Suspending>(suspend.load_relaxed()); }
	void set_suspending(Suspending how) { suspend.store_release(static_cast<uint8_t>(how)); }

	// Has whoever waits since then waited long enough?
	bool expired(uint64_t since_ms, uint64_t now_ms) const
	{
		const uint64_t timeout_ms = uint64_t{timeout_s.load_relaxed()} * 1000;

		return timeout_ms != 0 && now_ms >= since_ms + timeout_ms;
	}
};

} // namespace ploop
