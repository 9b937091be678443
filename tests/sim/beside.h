/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What another processor does while the core decides about a write: called once, between
 * the core's look at the map and what it does then, with the write's first sector. The
 * scheduler, which runs one thing after the other, never gets in between there.
 */
#ifndef TESTS_SIM_BESIDE_H
#define TESTS_SIM_BESIDE_H

#include <cstdint>
#include <functional>

namespace sim {

inline std::function<void(uint64_t sector)> beside;

/*
 * The same between what the core has decided in its submitter's context and the push that
 * hands a request over for that: what is decided may not be so any more.
 */
inline std::function<void()> beside_push;

} /* namespace sim */

#endif
