// SPDX-License-Identifier: GPL-2.0
#include "commit/flush.h"

namespace ploop {

void Flushes::flush(ploop_rq *rq)
{
	// What was told to its writer before this flush was sent is counted: the mark of its
	// page came before its data did.
	if (dirty_.count() != 0 || !gate_.is_open() || policy_.read_only)
		return inbox_.send(rq, Stage::fresh);
	// Whoever stops the instance waits for the epoch, and so for us.
	state(rq).epoch = ph_epoch_enter(host_);
	set_stage(rq, Stage::commit);
	if (ph_list_push(&waiting_, &state(rq).node))
		ph_flush_kick(host_);
}

void Flushes::join(ploop_rq *rq)
{
	committer_.join(rq);
}

void Flushes::run()
{
	// All that is taken came before the sync begins.
	ploop_node *node = oldest_first(ph_list_take(&waiting_));

	if (node == nullptr)
		return;
	const uint64_t errors = modes_.nr_sync_errors();
	const Status status = Status::from(ph_file_sync(stack_.top().file()));
	modes_.sync_ended(status);
	const Status result = modes_.sync_result(status, errors);
	while (node != nullptr) {
		ploop_rq *const rq = request_of(node);
		node = node->next;
		synced(rq, result);
	}
}

void Flushes::synced(ploop_rq *rq, Status status)
{
	ploop_host *const host = host_;
	const uint32_t epoch = std::exchange(state(rq).epoch, kNoEpoch);

	// A gate that was shut meanwhile is about data of ours, too: a whole commit tells.
	if (status.ok() && gate_.is_open())
		end_request(rq, 0);
	else
		inbox_.send(rq, Stage::fresh);
	ph_epoch_exit(host, epoch);
}

} // namespace ploop
