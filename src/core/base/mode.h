// SPDX-License-Identifier: GPL-2.0
// What the instance can do now, as status shows it.
//
//	rw <--> nospace
//	rw, nospace --> failed
//	ro
#pragma once

#include "base/gate.h"
#include "base/inbox.h"

namespace ploop {

enum class Mode : uint8_t {
	rw,
	nospace, // requests that need space wait
	failed,	 // the map could not be written: every write and flush fails
	ro,	 // the table is read-only
};

const char *name_of(Mode mode);

class Modes {
public:
	Modes(ploop_host *host, Gate &gate, Inbox &inbox) : host_(host), gate_(gate), inbox_(inbox)
	{
	}
	Modes(const Modes &) = delete;
	Modes &operator=(const Modes &) = delete;

	// Any context.
	Mode mode() const { return static_cast<Mode>(mode_.load_relaxed()); }
	bool failed() const { return mode() == Mode::failed; }
	// Of whatever made it failed, else 0.
	int last_error() const { return last_error_.load_relaxed(); }
	// For what a page of the map cannot be written now, and is tried again; else 0.
	int map_error() const { return map_error_.load_relaxed(); }

	// Every sync, whoever's it was, reports here as soon as it has ended, before anybody
	// is told of its end: an error is told once, and must reach all. One that passes is
	// of nobody's data. Process context.
	void sync_ended(Status status);
	// How many have ended with an error.
	uint64_t nr_sync_errors() const { return nr_sync_errors_.load_acquire(); }
	// What a sync says of data that was written when nr_sync_errors() was
	// @errors_before: @status, or, if another was told of an error since, that: it may be
	// of this data.
	Status sync_result(Status status, uint64_t errors_before) const;
	// The map could not be written: from now on nothing is promised any more. Process
	// context.
	void fail(Status status);

	// The rest: the worker's, or process context while the worker is quiet.

	// Changes the mode, and tells: a line in the log, and the device's event.
	void set(Mode mode);
	// Begins anew, with the table or its resume: no word of it.
	void begin(Mode mode)
	{
		map_error_.store_relaxed(0);
		mode_.store_release(static_cast<uint8_t>(mode));
	}
	// A page of the map could not be written, with that error, or all were again. Tells
	// when the first is not, and when all are.
	void page_failed(Status status);
	void pages_written();
	// Without a word: that nobody waits any more does not say that there is space.
	void forget_nospace()
	{
		uint8_t was = static_cast<uint8_t>(Mode::nospace);

		mode_.compare_exchange_release(was, static_cast<uint8_t>(Mode::rw));
	}

private:
	void tell(Mode mode);
	void tell(ploop_log level, const char *line);

	ploop_host *host_;
	Gate &gate_;
	Inbox &inbox_;
	Atomic<uint8_t> mode_;
	Atomic<int> last_error_;
	Atomic<int> map_error_;
	Atomic<int> sync_error_;
	Atomic<uint64_t> nr_sync_errors_;
};

} // namespace ploop
