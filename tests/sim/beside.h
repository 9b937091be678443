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

} /* namespace sim */

#endif
