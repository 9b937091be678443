// SPDX-License-Identifier: GPL-2.0
// The contract's functions, see include/ploop/target.h: each one call.
#include "target/target.h"

using ploop::Owned;
using ploop::Status;
using ploop::Text;

extern "C" {

int pc_module_init(void)
{
	ploop::registry::begin();
	return 0;
}

void pc_module_exit(void)
{
}

int pc_construct(ploop_host *host, const ploop_table *table, unsigned int argc, char **argv,
		 ploop_limits *limits, ploop_core **core, char error[PLOOP_ERROR_BYTES])
{
	Text text(error, PLOOP_ERROR_BYTES);
	Owned<ploop_core> made = ploop::make_owned<ploop_core>(host);

	if (!made) {
		text << "no memory for the target";
		return -ploop::kENOMEM;
	}
	const Status status = made->target.construct(*table, argc, argv, text);
	if (!status.ok())
		return status.code();
	made->target.limits(*limits);
	*core = made.give_away();
	return 0;
}

void pc_destroy(ploop_core *core)
{
	Owned<ploop_core> last(core);
}

int pc_preresume(ploop_core *core)
{
	return core->target.preresume().code();
}

void pc_resume(ploop_core *core)
{
	core->target.resume();
}

void pc_presuspend(ploop_core *core, bool noflush)
{
	core->target.presuspend(noflush);
}

void pc_presuspend_undo(ploop_core *core)
{
	core->target.presuspend_undo();
}

void pc_postsuspend(ploop_core *core)
{
	core->target.postsuspend();
}

uint32_t pc_map_limit(ploop_core *core, uint64_t sector)
{
	return core->target.map_limit(sector);
}

void pc_map(ploop_core *core, ploop_rq *rq)
{
	rq->core = core;
	core->target.map(rq);
}

void pc_rq_done(ploop_rq *rq, int64_t result)
{
	rq->core->target.io_done(rq, result);
}

void pc_epoch_drained(ploop_core *core)
{
	core->target.epoch_drained();
}

void pc_timer(ploop_core *core, ploop_timer which)
{
	core->target.timer(which);
}

void pc_work(ploop_core *core)
{
	core->target.work();
}

void pc_flush(ploop_core *core)
{
	core->target.flush();
}

int pc_message(ploop_core *core, unsigned int argc, char **argv, char *reply,
	       unsigned int reply_bytes)
{
	Text text(reply, reply_bytes);

	return core->target.message(argc, argv, text);
}

void pc_status(ploop_core *core, ploop_status kind, char *text, size_t bytes)
{
	Text out(text, bytes);

	core->target.status(kind, out);
}

} // extern "C"
