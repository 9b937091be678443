// SPDX-License-Identifier: GPL-2.0
// Who may touch what: clang's thread-safety annotations, which scripts/lint has
// checked. Other compilers see nothing.
#pragma once

#if defined(__clang__)
#define PLOOP_ANNOTATE(attribute) __attribute__((attribute))
#else
#define PLOOP_ANNOTATE(attribute)
#endif

// A class whose objects are locks, or stand for one.
#define PLOOP_CAPABILITY(name) PLOOP_ANNOTATE(capability(name))
// A class whose objects hold a lock while they live.
#define PLOOP_SCOPED_CAPABILITY PLOOP_ANNOTATE(scoped_lockable)
// Data that is touched only while the lock is held.
#define PLOOP_GUARDED_BY(lock) PLOOP_ANNOTATE(guarded_by(lock))
// A function that is called only while the lock is held.
#define PLOOP_REQUIRES(lock) PLOOP_ANNOTATE(requires_capability(lock))
// A function that takes the lock, or lets go of it.
#define PLOOP_ACQUIRE(...) PLOOP_ANNOTATE(acquire_capability(__VA_ARGS__))
#define PLOOP_RELEASE() PLOOP_ANNOTATE(release_capability())
// The way into the host, which has no annotations.
#define PLOOP_UNCHECKED PLOOP_ANNOTATE(no_thread_safety_analysis)
