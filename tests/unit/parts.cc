// SPDX-License-Identifier: GPL-2.0
// The contract from the host to the core, for parts without a target.
#include "unit/parts.h"

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
	bench_of(core).inbox.signal(ploop::kSignalDrained);
}

void pc_rq_done(ploop_rq *rq, int64_t result)
{
	if (bench_of(rq->core).on_done)
		bench_of(rq->core).on_done(rq, result);
}

} // extern "C"
