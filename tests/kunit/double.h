/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the suites share: doubles of the core and of device-mapper, on which the
 * kernel's side stands alone, and helpers for threads and interrupts.
 */
#ifndef PLOOP_KUNIT_DOUBLE_H
#define PLOOP_KUNIT_DOUBLE_H

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/jiffies.h>

#include "../../src/linux/internal.h"

/* ---- Doubles -------------------------------------------------------------- */

/* The core: its callbacks are a suite's; those left out are not expected. */
struct ploop_core {
	void (*work)(struct ploop_core *core);
	void (*flush)(struct ploop_core *core);
	void (*timer)(struct ploop_core *core, enum ploop_timer which);
	void (*drained)(struct ploop_core *core);
	atomic_t surprises;		/* calls of what the suite left out */
};

/* Device-mapper's own two are known to itself only. */
struct mapped_device {
	struct gendisk *disk;
};

struct dm_table {
	struct mapped_device md;
	atomic_t events;
	bool noflush;
	struct dm_dev claim;
	int claims;
	bool claimed_to_write;
};

/* One instance of the kernel's side. */
struct ploop_double {
	struct ploop_host *host;
	struct ploop_core core;
	struct dm_target ti;
	struct dm_table table;
};

/* Quiet, like any new instance. Aborts the test if there is no memory. */
struct ploop_double *ploop_double_new(struct kunit *test);
/* Ends it and looks whether the core's double was surprised. */
void ploop_double_free(struct kunit *test, struct ploop_double *instance);

/* A request with its bio, as device-mapper would have it. */
struct ploop_double_rq {
	struct ploop_bio pb;
	struct bio *bio;
	struct completion done;
	s64 result;			/* of pc_rq_done() */
	atomic_t calls;			/* of pc_rq_done() */
};

/* ---- Threads and interrupts ------------------------------------------------- */

#define PLOOP_ANY_CPU (-1)

struct ploop_thread {
	struct completion ended;
	void (*run)(void *data);
	void *data;
};

/* The first or second processor that is online. */
int ploop_cpu(unsigned int nth);
/* Runs @run(@data) on @cpu. The test must join the thread. */
void ploop_thread_start(struct kunit *test, struct ploop_thread *thread, int cpu,
			void (*run)(void *data), void *data);
void ploop_thread_join(struct kunit *test, struct ploop_thread *thread);

/* Calls @run from an interrupt, or a softirq, @times times. */
struct ploop_irq {
	struct hrtimer timer;
	struct completion ended;
	void (*run)(struct ploop_irq *irq);
	unsigned int done;
	unsigned int times;
	enum hrtimer_mode mode;
};

void ploop_irq_start(struct kunit *test, struct ploop_irq *irq, int cpu, bool hard,
		     unsigned int times, void (*run)(struct ploop_irq *irq));
void ploop_irq_join(struct kunit *test, struct ploop_irq *irq);

/* No wait of a test is longer; none that goes well is near it. */
#define PLOOP_PATIENCE (60 * HZ)

/* ---- Files ------------------------------------------------------------------ */

/*
 * What tests/kunit/guest prepares. It is no parameter of the module, because
 * some kernels run a module's suites before they set its parameters.
 */
#define PLOOP_KUNIT_DIR "/mnt/kunit"

/* A file system on which files are tested; the parameter of a case. */
struct ploop_host_fs {
	const char *name;	/* below PLOOP_KUNIT_DIR */
	bool direct;		/* has direct I/O and can do it without waiting */
};

const void *ploop_host_fs_next(const void *previous, char *description);

/* The path of @name below the directory of @fs; the test is skipped without one. */
char *ploop_path(struct kunit *test, const char *fs, const char *name);
/* Makes a file of @bytes, all of them with a pattern, and opens it. */
struct ploop_file *ploop_file_made(struct kunit *test, struct ploop_double *instance,
				   const char *fs, u64 bytes);
/* The byte at @pos of such a file. */
static inline u8 ploop_pattern(u64 pos)
{
	return pos * 7 + (pos >> 9) + 1;
}

/* Runs one operation to its end. */
s64 ploop_run_op(struct kunit *test, struct ploop_double *instance, enum ploop_op_kind kind,
		 struct ploop_file *file, u64 offset, u64 bytes, void *buffer);

/* Waits until @condition holds, in process context; its value at the end. */
#define ploop_eventually(condition)						\
({										\
	unsigned long until_ = jiffies + PLOOP_PATIENCE;			\
										\
	while (!(condition) && time_before(jiffies, until_))			\
		usleep_range(50, 500);						\
	!!(condition);								\
})

/* Waits for something that must not happen. */
static inline void ploop_linger(void)
{
	msleep(60);
}

#endif
