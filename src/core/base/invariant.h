// SPDX-License-Identifier: GPL-2.0
// Looks, while the code runs, at whether what must always hold does: see
// docs/architecture.rst for the invariants, by number.
#pragma once

#include "ploop/host.h"

namespace ploop {

// @invariant: its number and what it says. The host tells of it, and we go on: what
// is broken is broken, and to stop would lose what is not. Any context.
inline void must_hold(bool holds, const char *invariant)
{
	if (!holds) [[unlikely]]
		ph_broken(invariant);
}

} // namespace ploop
