// SPDX-License-Identifier: GPL-2.0
#include "commit/unwritten.h"

namespace ploop {

Status Unwritten::write(ploop_host *host, ploop_file *file, Level top) const
{
	Buffer page(kBatPageBytes);
	WaitedOperation operation(host);

	if (page.get() == nullptr || !operation.exists())
		return Status::error(kENOMEM);
	PLOOP_TRY(Status::from(operation.run(PLOOP_OP_SYNC, file, 0, 0)));
	for (uint64_t i = dirty_.find(true, 0, dirty_.length()); i < dirty_.length();
	     i = dirty_.find(true, i + 1, dirty_.length())) {
		// The header is not ours to write: page 0 begins behind it.
		const uint32_t skip = i == 0 ? kHeaderBytes : 0;
		map_.copy_page(static_cast<uint32_t>(i), top, static_cast<uint32_t *>(page.get()));
		PLOOP_TRY(operation.run_whole(i == 0 ? PLOOP_OP_WRITE_BUFFERED : PLOOP_OP_WRITE,
					      file, i * kBatPageBytes + skip, kBatPageBytes - skip,
					      static_cast<char *>(page.get()) + skip));
	}
	return Status::from(operation.run(PLOOP_OP_SYNC, file, 0, 0));
}

} // namespace ploop
