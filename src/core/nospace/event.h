// SPDX-License-Identifier: GPL-2.0
// A count of events, and how far its one consumer has read.
//
// The count only grows. A reader acknowledges exactly the value that it loaded,
// so a raise that ended before the read began is covered by that read or by an
// earlier reply, and one that happens during the read by this reply or the
// next: nothing is lost, with no lock, because nothing is ever cleared.
#pragma once

#include <cstdint>

namespace ploop {

template <class Atomics>
class EventCount {
public:
	// Any context. Release: what the event announces is seen by who reads the count.
	void raise() { raised_.add_release(1); }

	uint64_t raised() const { return raised_.load_acquire(); }
	uint64_t acknowledged() const { return acknowledged_.load_relaxed(); }
	bool pending() const { return raised() > acknowledged(); }

	// @count: a value of raised() that has been told. Two readers at once
	// leave the larger one, whichever comes last.
	void acknowledge(uint64_t count)
	{
		uint64_t seen = acknowledged_.load_relaxed();
		while (seen < count && !acknowledged_.compare_exchange_relaxed(seen, count)) {
		}
	}

private:
	typename Atomics::template Word<uint64_t> raised_;
	typename Atomics::template Word<uint64_t> acknowledged_;
};

// An event, and the line that tells of it.
template <class Atomics>
struct EventLine {
	EventCount<Atomics> &events;
	const char *line;
};

// One read by the consumer: a line of @reply for each event that is pending.
// Each count is loaded before it is told, and exactly what was loaded is
// acknowledged, only if all of the reply fits: nothing is consumed that was not
// told. False: there was nothing to tell.
template <class Atomics, class Reply, unsigned nr_lines>
bool tell_events(const EventLine<Atomics> (&lines)[nr_lines], Reply &reply)
{
	uint64_t raised[nr_lines];
	bool any = false;

	for (unsigned i = 0; i < nr_lines; i++) {
		raised[i] = lines[i].events.raised();
		if (raised[i] <= lines[i].events.acknowledged())
			continue;
		reply << lines[i].line;
		any = true;
	}
	if (any && reply.has_spare()) {
		for (unsigned i = 0; i < nr_lines; i++)
			lines[i].events.acknowledge(raised[i]);
	}
	return any;
}

} // namespace ploop
