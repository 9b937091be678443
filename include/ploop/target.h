/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The second contract, host -> core: how device-mapper's calls, and the ends of
 * what the core started, reach the core.
 *
 * The order of calls on an instance is device-mapper's: pc_construct, then any
 * number of (pc_preresume, pc_resume, requests, pc_presuspend, maybe
 * pc_presuspend_undo, pc_postsuspend), then pc_destroy. Requests come between
 * pc_resume and the end of pc_postsuspend only.
 */
#ifndef PLOOP_TARGET_H
#define PLOOP_TARGET_H

#include "ploop/host.h"

PLOOP_BEGIN_C

enum ploop_rq_op {
	PLOOP_RQ_READ,
	PLOOP_RQ_WRITE,
	PLOOP_RQ_FLUSH, /* without data */
	PLOOP_RQ_DISCARD,
	PLOOP_RQ_WRITE_ZEROES
};

#define PLOOP_RQ_FUA     1u
#define PLOOP_RQ_NOUNMAP 2u
#define PLOOP_RQ_INLINE  4u /* the request itself does not forbid I/O in the submitter's context */

/*
 * One request, in the host's per-bio data: the first part is filled by the host
 * before pc_map(), the rest begins as zero and belongs to the core until
 * ph_rq_end().
 */
struct ploop_rq {
	struct ploop_core *core;
	uint64_t sector;     /* from the start of the target */
	uint32_t nr_sectors; /* of a read or write: within one cluster, see pc_map_limit() */
	uint8_t op;          /* enum ploop_rq_op */
	uint8_t flags;       /* PLOOP_RQ_* */

	uint64_t core_room[9]; /* what is in it is the core's own affair */
};

/* Bytes of the text of a constructor's error, with its NUL. */
#define PLOOP_ERROR_BYTES 192u

/* What a table line says beside its arguments. */
struct ploop_table {
	uint64_t nr_sectors;
	bool read_only;
};

/* What device-mapper needs to know of a constructed instance. */
struct ploop_limits {
	uint32_t cluster_sectors;
	uint32_t dio_align_bytes; /* 0: no direct I/O below */
	uint32_t first_cluster_sector; /* of those of the device that begin a cluster, the first */
	bool no_blkcg;            /* a worker's I/O is not for the request's cgroup */
};

/* Module load and unload. Process context. */
int pc_module_init(void);
void pc_module_exit(void);

/*
 * Makes an instance from a table line: opens the deltas and checks all of them.
 * 0, or a negative errno with a text that names the field and its value.
 */
int pc_construct(struct ploop_host *host, const struct ploop_table *table, unsigned int argc,
		 char **argv, struct ploop_limits *limits, struct ploop_core **core,
		 char error[PLOOP_ERROR_BYTES]);
/* Frees an instance that is suspended or was never resumed. Writes nothing. */
void pc_destroy(struct ploop_core *core);

/* Reads the map. A negative errno leaves the instance suspended. Process context. */
int pc_preresume(struct ploop_core *core);
void pc_resume(struct ploop_core *core);
void pc_presuspend(struct ploop_core *core, bool noflush);
void pc_presuspend_undo(struct ploop_core *core);
/* Waits for the instance's own I/O, commits, and stops all that could run later. */
void pc_postsuspend(struct ploop_core *core);

/* How many of the sectors from @sector on one read or write may have. Any context. */
uint32_t pc_map_limit(struct ploop_core *core, uint64_t sector);
/* Takes over a request, which ends with ph_rq_end(), maybe before this returns. */
void pc_map(struct ploop_core *core, struct ploop_rq *rq);

/* The ends of what the core started; contexts as in host.h. */
void pc_rq_done(struct ploop_rq *rq, int64_t result);
void pc_epoch_drained(struct ploop_core *core);
void pc_timer(struct ploop_core *core, enum ploop_timer which);
void pc_work(struct ploop_core *core);
void pc_flush(struct ploop_core *core);

/*
 * A message: a negative errno, 0 without a reply, 1 with one in @reply. A reply
 * that does not fit fills @reply_bytes, so that the caller asks again with more
 * room; it has had no effect then.
 */
int pc_message(struct ploop_core *core, unsigned int argc, char **argv, char *reply,
	       unsigned int reply_bytes);

enum ploop_status { PLOOP_STATUS_INFO, PLOOP_STATUS_TABLE, PLOOP_STATUS_IMA };

/* Writes the status, cut to @bytes with its NUL. Does not wait for any work. */
void pc_status(struct ploop_core *core, enum ploop_status kind, char *text, size_t bytes);

PLOOP_END_C

/* Both sides must mean the same memory. */
#if __SIZEOF_POINTER__ == 8
PLOOP_ASSERT(sizeof(struct ploop_rq) == 96, "ploop_rq");
PLOOP_ASSERT(offsetof(struct ploop_rq, core_room) == 24, "ploop_rq.core_room");
PLOOP_ASSERT(sizeof(struct ploop_table) == 16, "ploop_table");
PLOOP_ASSERT(sizeof(struct ploop_limits) == 16, "ploop_limits");
#endif

#endif
