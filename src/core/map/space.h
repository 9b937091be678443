// SPDX-License-Identifier: GPL-2.0
// Which clusters of the top file are free, and which of those read as zeros.
//
// Owned by the target's worker; nothing here sleeps or is synchronised, except
// allocate(), which belongs to the constructor.
#pragma once

#include "base/bitmap.h"
#include "base/invariant.h"
#include "format/format.h"

namespace ploop {

class Space {
public:
	// Room for clusters below @limit. Those beyond are never handed out.
	Status allocate(uint64_t limit)
	{
		PLOOP_TRY(used_.allocate(limit));
		return zero_.allocate(limit);
	}

	// Begins anew: a file of @file_clusters, of which the first @reserved are
	// taken. Whatever is not taken later counts as dirty: it may hold anything.
	void reset(uint64_t file_clusters, uint32_t reserved)
	{
		used_.clear_all();
		zero_.clear_all();
		end_ = min_of(file_clusters, used_.length());
		reserved_ = reserved;
		for (uint32_t i = 0; i < reserved; i++)
			used_.set(i);
		nr_used_ = 0;
		nr_foreign_ = 0;
		search_from_ = reserved;
		avoided_ = false;
	}

	uint64_t limit() const { return used_.length(); }
	// Clusters that the file has, as far as they can be handed out.
	uint64_t end() const { return end_; }
	// Clusters in use by data, mapped or about to be, or quarantined.
	uint64_t nr_used() const { return nr_used_; }
	// Clusters that the file has for more data.
	uint64_t nr_free() const { return end_ - reserved_ - nr_foreign_ - nr_used_; }

	// Marks it as taken; false if it was already, or cannot be told.
	bool claim(FileCluster cluster)
	{
		if (cluster.raw() >= used_.length() || used_.test_and_set(cluster.raw()))
			return false;
		nr_used_++;
		return true;
	}

	// Takes all that are not: for an image whose free clusters hold somebody
	// else's data.
	void claim_all()
	{
		for (uint64_t i = used_.find(false, reserved_, end_); i < end_;
		     i = used_.find(false, i, end_))
			used_.set(i);
		nr_foreign_ = end_ - reserved_ - nr_used_;
	}

	// The lowest free cluster; false if the file has none.
	bool take(FileCluster &cluster)
	{
		const uint64_t found = used_.find(false, search_from_, end_);
		search_from_ = found;
		if (found == end_)
			return false;
		used_.set(found);
		nr_used_++;
		cluster = FileCluster(static_cast<uint32_t>(found));
		return true;
	}

	// Gives back a cluster that nothing refers to, in memory or on disk.
	void give(FileCluster cluster, bool zero)
	{
		must_hold(used_.test(cluster.raw()), "2: a cluster is freed once");
		used_.clear(cluster.raw());
		nr_used_--;
		if (zero)
			zero_.set(cluster.raw());
		else
			zero_.clear(cluster.raw());
		search_from_ = min_of<uint64_t>(search_from_, cluster.raw());
	}

	// The next take() begins behind this one, which the host could not write.
	void avoid(FileCluster cluster)
	{
		if (search_from_ != cluster.raw())
			return;
		search_from_ = uint64_t{cluster.raw()} + 1;
		avoided_ = true;
	}

	// What was avoided may be handed out again; false if nothing was.
	bool forget_avoided()
	{
		if (!std::exchange(avoided_, false))
			return false;
		search_from_ = reserved_;
		return true;
	}

	bool is_used(FileCluster cluster) const { return used_.test(cluster.raw()); }
	// Does the cluster read as zeros, durably so once the file is synced?
	bool is_zero(FileCluster cluster) const { return zero_.test(cluster.raw()); }
	void set_zero(FileCluster cluster, bool zero)
	{
		if (zero)
			zero_.set(cluster.raw());
		else
			zero_.clear(cluster.raw());
	}

	// The file has grown to @end clusters; the new ones read as zeros.
	void grow(uint64_t end)
	{
		for (uint64_t i = end_; i < min_of(end, used_.length()); i++)
			zero_.set(i);
		end_ = max_of(end_, min_of(end, used_.length()));
	}

	// Others have made the device larger, to @end clusters, and the new ones may
	// hold anything; false if it has no more than before.
	bool extend(uint64_t end)
	{
		end = min_of(end, used_.length());
		if (end <= end_)
			return false;
		end_ = end;
		return true;
	}

	// One more than the last cluster that is taken.
	uint64_t taken_end() const
	{
		const uint64_t last = used_.find_last();
		return last == used_.length() ? reserved_ : last + 1;
	}

private:
	Bitmap used_;
	Bitmap zero_;
	uint64_t end_ = 0;
	uint64_t nr_used_ = 0;
	uint64_t nr_foreign_ = 0;  // taken by claim_all()
	uint64_t search_from_ = 0; // no free cluster is below, but for those avoided
	bool avoided_ = false;
	uint32_t reserved_ = 0;
};

} // namespace ploop
