// SPDX-License-Identifier: GPL-2.0
// Atomic words, over the compiler's builtins.
//
// How they map to the Linux kernel memory model, for readers who know that one:
// load relaxed / acquire = READ_ONCE / smp_load_acquire, store relaxed /
// release = WRITE_ONCE / smp_store_release, full_fence = smp_mb.
//
// The lockless protocols are templates over such a policy, so that a model
// checker can run the same code with its own.
#pragma once

#include <cstdint>

#include "ploop/host.h"

namespace ploop {

template <class Number>
class Atomic {
public:
	constexpr Atomic() = default;
	constexpr explicit Atomic(Number number) : number_(number) {}
	Atomic(const Atomic &) = delete;
	Atomic &operator=(const Atomic &) = delete;

	Number load_relaxed() const { return __atomic_load_n(&number_, __ATOMIC_RELAXED); }
	Number load_acquire() const { return __atomic_load_n(&number_, __ATOMIC_ACQUIRE); }
	void store_relaxed(Number number) { __atomic_store_n(&number_, number, __ATOMIC_RELAXED); }
	void store_release(Number number) { __atomic_store_n(&number_, number, __ATOMIC_RELEASE); }
	Number add_relaxed(Number by) { return __atomic_fetch_add(&number_, by, __ATOMIC_RELAXED); }
	Number add_release(Number by) { return __atomic_fetch_add(&number_, by, __ATOMIC_RELEASE); }
	// Full order: before and after it.
	Number or_full(Number bits) { return __atomic_fetch_or(&number_, bits, __ATOMIC_SEQ_CST); }
	Number and_full(Number bits)
	{
		return __atomic_fetch_and(&number_, bits, __ATOMIC_SEQ_CST);
	}
	Number or_release(Number bits)
	{
		return __atomic_fetch_or(&number_, bits, __ATOMIC_RELEASE);
	}
	Number exchange_relaxed(Number number)
	{
		return __atomic_exchange_n(&number_, number, __ATOMIC_RELAXED);
	}
	Number exchange_acquire(Number number)
	{
		return __atomic_exchange_n(&number_, number, __ATOMIC_ACQUIRE);
	}
	bool compare_exchange_relaxed(Number &expected, Number number)
	{
		return __atomic_compare_exchange_n(&number_, &expected, number, false,
						   __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}

	// Release if it succeeds, acquire in any case.
	bool compare_exchange_release(Number &expected, Number number)
	{
		return __atomic_compare_exchange_n(&number_, &expected, number, false,
						   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	}

private:
	Number number_ = 0;
};

// What the lockless protocols (park.h, event.h, ring.h) need, as the shipping code has it.
struct HostAtomics {
	template <class Number>
	using Word = Atomic<Number>;

	// Pushers from any context, one taker; release and acquire only.
	class List {
	public:
		bool push(ploop_node *node) { return ph_list_push(&list_, node); }
		ploop_node *take() { return ph_list_take(&list_); }

	private:
		ploop_list list_ = {};
	};

	static void full_fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
};

} // namespace ploop
