// SPDX-License-Identifier: GPL-2.0
// Which clusters of the top file are free, and which of those are clean: read as
// zeros, durably so, inside the durable size of the file.
//
// Owned by the target's worker; nothing here sleeps or is synchronised, except
// allocate(), reset() and claim_all(), which belong to constructor and resume.
#pragma once

#include "base/bitmap.h"
#include "base/invariant.h"
#include "format/format.h"

namespace ploop {

// Neighbouring clusters of a file.
struct Run {
	FileCluster first;
	uint32_t length = 0;
};

class Space {
public:
	// Room for clusters below @limit. Those beyond are never handed out.
	Status allocate(uint64_t limit)
	{
		PLOOP_TRY(used_.allocate(limit));
		return clean_.allocate(limit);
	}

	// Begins anew: a file of @file_clusters, of which the first @reserved are
	// taken. Whatever is not taken later counts as dirty: it may hold anything.
	void reset(uint64_t file_clusters, uint32_t reserved)
	{
		if (std::exchange(loaded_, true)) {
			used_.clear_all();
			clean_.clear_all();
		}
		end_ = min_of(file_clusters, used_.length());
		reserved_ = reserved;
		used_.set_range(0, reserved);
		nr_used_ = 0;
		nr_foreign_ = 0;
		nr_clean_ = 0;
		clean_from_ = dirty_from_ = reserved;
		avoided_ = false;
	}

	uint64_t limit() const { return used_.length(); }
	// Clusters that the file has, as far as they can be handed out.
	uint64_t end() const { return end_; }
	// Clusters that are taken: by data, mapped or about to be, or quarantined.
	uint64_t nr_used() const { return nr_used_; }
	// Clusters that the file has for more data.
	uint64_t nr_free() const { return end_ - reserved_ - nr_foreign_ - nr_used_; }
	// Of them, those that are clean.
	uint64_t nr_clean() const { return nr_clean_; }
	// Those that are not, where take_dirty() looks.
	bool has_dirty() const { return nr_free() > nr_clean_; }

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
		used_.set_range(reserved_, end_);
		nr_foreign_ = end_ - reserved_ - nr_used_;
	}

	// The lowest clean cluster; false if there is none.
	bool take_clean(FileCluster &cluster)
	{
		if (nr_clean_ == 0)
			return false;
		const uint64_t found = clean_.find(true, clean_from_, end_);
		clean_from_ = found;
		must_hold(found < end_ && !used_.test(found), "3: what is clean is free");
		clean_.clear(found);
		used_.set(found);
		nr_clean_--;
		nr_used_++;
		cluster = FileCluster(static_cast<uint32_t>(found));
		return true;
	}

	// The lowest free clusters that are not clean, neighbours, @most of them; false
	// if there is none, but for those avoided.
	bool take_dirty(uint32_t most, Run &run)
	{
		const uint64_t first = find_dirty();

		dirty_from_ = first;
		if (first == end_)
			return false;
		uint64_t end = first;
		while (end < end_ && end - first < most && !used_.test(end) && !clean_.test(end))
			end++;
		used_.set_range(first, end);
		nr_used_ += end - first;
		dirty_from_ = end;
		run = {FileCluster(static_cast<uint32_t>(first)),
		       static_cast<uint32_t>(end - first)};
		return true;
	}

	// Gives back a cluster that nothing refers to, in memory or on disk.
	void give(FileCluster cluster, bool clean)
	{
		const uint64_t i = cluster.raw();

		must_hold(used_.test(i), "2: a cluster is freed once");
		used_.clear(i);
		nr_used_--;
		if (clean) {
			clean_.set(i);
			nr_clean_++;
			clean_from_ = min_of(clean_from_, i);
		} else {
			dirty_from_ = min_of(dirty_from_, i);
		}
	}
	void give(Run run, bool clean)
	{
		for (uint32_t i = 0; i < run.length; i++)
			give(FileCluster(run.first.raw() + i), clean);
	}

	// The next take_dirty() begins behind this one, which the host could not write.
	void avoid(FileCluster cluster)
	{
		if (dirty_from_ != cluster.raw())
			return;
		dirty_from_ = uint64_t{cluster.raw()} + 1;
		avoided_ = true;
	}

	// What was avoided may be handed out again; false if nothing was.
	bool forget_avoided()
	{
		if (!std::exchange(avoided_, false))
			return false;
		dirty_from_ = reserved_;
		return true;
	}

	// What is clean may be so no more: other space is wanted from now on.
	void forget_clean()
	{
		if (nr_clean_ == 0)
			return;
		clean_.clear_range(0, end_);
		nr_clean_ = 0;
		dirty_from_ = reserved_;
	}

	bool is_used(FileCluster cluster) const { return used_.test(cluster.raw()); }

	// The file has grown to @end clusters, durably; the new ones read as zeros.
	void grow(uint64_t end)
	{
		end = min_of(end, used_.length());
		if (end <= end_)
			return;
		clean_.set_range(end_, end);
		nr_clean_ += end - end_;
		clean_from_ = min_of(clean_from_, end_);
		end_ = end;
	}

	// Others have made the device larger, to @end clusters, and the new ones may
	// hold anything; false if it has no more than before.
	bool extend(uint64_t end)
	{
		end = min_of(end, used_.length());
		if (end <= end_)
			return false;
		dirty_from_ = min_of(dirty_from_, end_);
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
	// By words: a large file may be full but for its end.
	uint64_t find_dirty() const
	{
		uint64_t from = dirty_from_;

		while (from < end_) {
			const size_t i = static_cast<size_t>(from / 64);
			const uint64_t free =
				~(used_.word(i) | clean_.word(i)) & ~uint64_t{0} << from % 64;
			if (free != 0)
				return min_of(end_,
					      uint64_t{i} * 64 + static_cast<uint64_t>(
									 std::countr_zero(free)));
			from = (uint64_t{i} + 1) * 64;
		}
		return end_;
	}

	Bitmap used_;
	Bitmap clean_; // of those that are not used
	uint64_t end_ = 0;
	uint64_t nr_used_ = 0;
	uint64_t nr_foreign_ = 0; // taken by claim_all()
	uint64_t nr_clean_ = 0;
	uint64_t clean_from_ = 0; // no clean cluster is below
	uint64_t dirty_from_ = 0; // no other free one is below, but for those avoided
	bool avoided_ = false;
	bool loaded_ = false; // what was just allocated is clear already
	uint32_t reserved_ = 0;
};

} // namespace ploop
