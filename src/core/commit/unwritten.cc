// SPDX-License-Identifier: GPL-2.0
#include "commit/unwritten.h"

namespace ploop {

Status Unwritten::write(ploop_host *host, const Delta &top)
{
	Buffer page(kBatPageBytes);
	WaitedOperation operation(host);

	if (page.get() == nullptr || !operation.exists())
		return Status::error(kENOMEM);
	PLOOP_TRY(Status::from(operation.run(PLOOP_OP_SYNC, top.file(), 0, 0)));
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
	return Status::from(operation.run(PLOOP_OP_SYNC, top.file(), 0, 0));
}

} // namespace ploop
