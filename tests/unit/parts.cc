// SPDX-License-Identifier: GPL-2.0
// The contract from the host to the core, for parts without a target.
#include "unit/parts.h"

#include <sstream>

namespace ploop {

// The world's trace has a line for each: "[5] start io#7 punch /img 32768+65536".
std::string Bench::began(bool where)
{
	std::string list;

	for (const std::string &line : world.trace_lines()) {
		std::istringstream words(line);
		std::string stamp, start, id, kind, path, place;
		words >> stamp >> start >> id >> kind >> path >> place;
		if (start != "start" || !id.starts_with("io#"))
			continue;
		const uint64_t number = std::stoull(id.substr(3));
		if (number <= last_io)
			continue;
		last_io = number;
		list += (list.empty() ? "" : " ") + kind + (where ? " " + place : "");
	}
	return list;
}

} // namespace ploop

namespace {

ploop::Bench &bench_of(ploop_core *core)
{
	return *reinterpret_cast<ploop::Bench *>(core);
}

} // namespace

extern "C" {

void pc_work(ploop_core *core)
{
	bench_of(core).round();
}

void pc_flush(ploop_core *core)
{
	if (bench_of(core).on_flush)
		bench_of(core).on_flush();
}

void pc_timer(ploop_core *core, ploop_timer which)
{
	if (bench_of(core).on_timer)
		bench_of(core).on_timer(which);
}

void pc_epoch_drained(ploop_core *core)
{
	if (bench_of(core).at_drain)
		bench_of(core).at_drain();
	bench_of(core).inbox.signal(ploop::kSignalDrained);
}

void pc_rq_done(ploop_rq *rq, int64_t result)
{
	if (bench_of(rq->core).on_done)
		bench_of(rq->core).on_done(rq, result);
}

} // extern "C"
