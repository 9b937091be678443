// SPDX-License-Identifier: GPL-2.0
// The events that a device tells of: their counts outlive a table, so the registry
// keeps them.
#pragma once

#include "base/atomics.h"
#include "nospace/event.h"
#include "ploop/host.h"

namespace ploop {

struct DeviceEvents {
	EventCount<HostAtomics> enospc;
	EventCount<HostAtomics> lowspace;
};

class Alarm {
public:
	explicit Alarm(ploop_host *host) : host_(host) {}

	// Once, in the constructor of the table.
	void set_events(DeviceEvents *events) { events_ = events; }
	const DeviceEvents &events() const { return *events_; }
	DeviceEvents &events() { return *events_; }

	// Any context.
	void raise_enospc()
	{
		events_->enospc.raise();
		ph_event(host_);
	}
	void raise_lowspace()
	{
		events_->lowspace.raise();
		ph_event(host_);
	}
	bool enospc_pending() const { return events_->enospc.pending(); }

private:
	ploop_host *host_;
	DeviceEvents *events_ = nullptr;
};

} // namespace ploop
