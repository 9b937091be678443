// SPDX-License-Identifier: GPL-2.0
#include "commit/unwritten.h"

namespace ploop {

namespace {

Status sync(WaitedOperation &operation, ploop_file *file, bool &lost)
{
	const Status status = Status::from(operation.run(PLOOP_OP_SYNC, file, 0, 0));

	lost = !status.ok() && !status.no_space() && !status.passes();
	return status;
}

} // namespace

Status Unwritten::write(ploop_host *host, const Delta &top, bool &lost)
{
	Buffer page(kBatPageBytes);
	WaitedOperation operation(host);

	lost = false;
	if (page.get() == nullptr || !operation.exists())
		return Status::error(kENOMEM);
	PLOOP_TRY(sync(operation, top.file(), lost));
	for (uint32_t i = dirty_.find(0); i < dirty_.pages(); i = dirty_.find(i + 1)) {
		// The header is not ours to write: page 0 begins behind it.
		const uint32_t skip = i == 0 ? kHeaderBytes : 0;
		map_.begin_sync(i); // all data is older than the sync above
		map_.copy_page(i, top.id(), static_cast<uint32_t *>(page.get()));
		PLOOP_TRY(operation.run_whole(i == 0 ? PLOOP_OP_WRITE_BUFFERED : PLOOP_OP_WRITE,
					      top.file(), uint64_t{i} * kBatPageBytes + skip,
					      kBatPageBytes - skip,
					      static_cast<char *>(page.get()) + skip));
	}
	return sync(operation, top.file(), lost);
}

} // namespace ploop
