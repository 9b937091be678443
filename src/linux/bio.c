// SPDX-License-Identifier: GPL-2.0
/*
 * A request's data and its end.
 */
#include <linux/bio.h>
#include <linux/highmem.h>
#include <linux/string.h>

#include "internal.h"

void ph_rq_zero_fill(struct ploop_rq *rq)
{
	zero_fill_bio(ploop_bio_bio(ploop_bio_of(rq)));
}

bool ph_rq_is_zero(struct ploop_rq *rq)
{
	struct bio *bio = ploop_bio_bio(ploop_bio_of(rq));
	struct bvec_iter iter;
	struct bio_vec bvec;

	bio_for_each_segment(bvec, bio, iter) {
		void *data = bvec_kmap_local(&bvec);
		bool zero = !memchr_inv(data, 0, bvec.bv_len);

		kunmap_local(data);
		if (!zero)
			return false;
	}
	return true;
}

void ph_rq_end(struct ploop_rq *rq, int error)
{
	struct bio *bio = ploop_bio_bio(ploop_bio_of(rq));

	if (error == PLOOP_END_REQUEUE)
		bio->bi_status = BLK_STS_DM_REQUEUE;
	else
		bio->bi_status = errno_to_blk_status(error);
	bio_endio(bio);
}

bool ph_may_requeue(struct ploop_host *host)
{
	return dm_noflush_suspending(host->ti);
}
