// SPDX-License-Identifier: GPL-2.0
// What commits need of the room above: it implements it.
#pragma once

#include "base/request.h"

namespace ploop {

// Whom commits, and the space that they free, concern. The worker's, all of it.
class CommitWatcher {
public:
	// A round has ended; without space it waits to be retried, if it is parked.
	virtual void commit_ended(Status status) = 0;
	// A flush waits for a round that waits for space.
	virtual void flush_waits() = 0;
	// A flush ends with ENOSPC.
	virtual void tell_ended() = 0;
	// Something that needs space has succeeded.
	virtual void commit_proves_space() = 0;
	// Clusters have left the quarantine.
	virtual void space_came() = 0;

protected:
	~CommitWatcher() = default;
};

} // namespace ploop
