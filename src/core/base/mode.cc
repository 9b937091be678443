// SPDX-License-Identifier: GPL-2.0
#include "base/mode.h"

#include "base/text.h"

namespace ploop {

const char *name_of(Mode mode)
{
	switch (mode) {
	case Mode::rw:
		return "rw";
	case Mode::nospace:
		return "nospace";
	case Mode::failed:
		return "failed";
	case Mode::ro:
		return "ro";
	}
	return "";
}

void Modes::set(Mode mode)
{
	uint8_t was = mode_.load_relaxed();

	// Two at once: the map may fail while space comes back. Failed is for ever.
	do {
		if (was == static_cast<uint8_t>(mode) || was == static_cast<uint8_t>(Mode::failed))
			return;
	} while (!mode_.compare_exchange_release(was, static_cast<uint8_t>(mode)));
	tell(mode);
}

void Modes::tell(Mode mode)
{
	char line[160];
	Text text(line, sizeof(line));

	switch (mode) {
	case Mode::nospace:
		text << "out of space below the image: writes that need space wait; free some";
		break;
	case Mode::rw:
		text << "space is back: waiting writes go on";
		break;
	case Mode::failed:
		text << "the map could not be written, error " << last_error()
		     << ": every write and flush fails from now on";
		break;
	case Mode::ro:
		break;
	}
	tell(mode == Mode::failed ? PLOOP_LOG_ERROR : PLOOP_LOG_WARNING, line);
}

void Modes::tell(ploop_log level, const char *line)
{
	ph_log(host_, level, line);
	ph_event(host_);
}

void Modes::page_failed(Status status)
{
	char line[160];
	Text text(line, sizeof(line));

	if (map_error_.exchange_relaxed(status.code()) != 0)
		return;
	text << "the map cannot be written now, error " << status.code()
	     << ": writes and flushes fail until it can be; see the file system below";
	tell(PLOOP_LOG_ERROR, line);
}

void Modes::pages_written()
{
	if (map_error_.load_relaxed() == 0)
		return;
	map_error_.store_relaxed(0);
	tell(PLOOP_LOG_INFO, "the map is written again: writes and flushes go on");
}

void Modes::sync_ended(Status status)
{
	if (status.ok() || status.passes())
		return;
	sync_error_.store_relaxed(status.code());
	// The failure before the count: what begins with this count finds it.
	if (!status.no_space())
		fail(status);
	nr_sync_errors_.add_release(1); // pairs with the acquire in nr_sync_errors()
}

Status Modes::sync_result(Status status, uint64_t errors_before) const
{
	if (!status.ok() || nr_sync_errors() == errors_before)
		return status;
	return Status::from(sync_error_.load_relaxed());
}

void Modes::fail(Status status)
{
	if (failed())
		return;
	last_error_.store_relaxed(status.code());
	// The gate first: whoever learns of the failure finds it shut (invariant 4).
	gate_.shut_for_ever(Status::error(kEIO));
	set(Mode::failed);
	// Who waits for space is tried, and ends with that error.
	inbox_.signal(kSignalRetryNow);
}

} // namespace ploop
