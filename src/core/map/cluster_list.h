// SPDX-License-Identifier: GPL-2.0
// A list of file clusters on its way through the quarantine. Not synchronised.
#pragma once

#include "base/memory.h"

namespace ploop {

class ClusterList {
	static constexpr uint32_t kPerPage = 1021;

	struct Page {
		Page *next = nullptr;
		uint32_t count = 0;
		uint32_t clusters[kPerPage];
	};
	static_assert(sizeof(Page) == 4096);

public:
	ClusterList() = default;
	ClusterList(const ClusterList &) = delete;
	ClusterList &operator=(const ClusterList &) = delete;
	~ClusterList()
	{
		while (first_ != nullptr)
			drop_first();
	}

	bool empty() const { return first_ == nullptr; }
	uint64_t count() const { return count_; }

	// False when there is no memory; the list is as before then.
	bool push(FileCluster cluster)
	{
		if (last_ == nullptr || last_->count == kPerPage) {
			Page *page = make_owned<Page>().give_away();
			if (page == nullptr)
				return false;
			append(page, page);
		}
		last_->clusters[last_->count++] = cluster.raw();
		count_++;
		return true;
	}

	// Moves all of @other to the end of this one.
	void splice(ClusterList &other)
	{
		if (other.first_ == nullptr)
			return;
		append(other.first_, other.last_);
		count_ += other.count_;
		other.first_ = other.last_ = nullptr;
		other.count_ = 0;
	}

	// Takes one of them, whichever is at hand; there is at least one.
	FileCluster pop_first()
	{
		Page *page = first_;
		const FileCluster cluster(page->clusters[--page->count]);

		count_--;
		if (page->count == 0)
			drop_first();
		return cluster;
	}

private:
	void append(Page *first, Page *last)
	{
		if (last_ == nullptr)
			first_ = first;
		else
			last_->next = first;
		last_ = last;
	}

	void drop_first()
	{
		Owned<Page> page(first_);
		first_ = page->next;
		if (first_ == nullptr)
			last_ = nullptr;
	}

	Page *first_ = nullptr;
	Page *last_ = nullptr;
	uint64_t count_ = 0;
};

} // namespace ploop
