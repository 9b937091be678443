// SPDX-License-Identifier: GPL-2.0
// The map of an instance whose last commit, at suspend, had no space: it is
// newer than the one on disk, and must be written before that is read again.
//
// It belongs to the suspended instance, or, after a table swap, to the one that
// took its place. Process context; under the registry's lock where it changes
// hands.
#pragma once

#include "map/delta.h"
#include "map/dirty_pages.h"
#include "map/map.h"
#include "map/operation.h"

namespace ploop {

class Unwritten {
public:
	Unwritten() = default;
	Unwritten(const Unwritten &) = delete;
	Unwritten &operator=(const Unwritten &) = delete;

	// Any context.
	bool present() const { return present_.load_acquire(); }

	// Takes the map and what is dirty of it away from an instance. @marked:
	// that instance set the in-use mark, and whoever ends this clears it.
	void keep(Map &map, DirtyPages &dirty, bool marked)
	{
		marked_ = marked;
		map_.swap(map);
		dirty_.swap(dirty);
		present_.store_release(true);
	}
	// Gives them back, to be filled anew.
	void give_back(Map &map, DirtyPages &dirty)
	{
		map_.swap(map);
		dirty_.swap(dirty);
		dirty.clear_all();
		present_.store_release(false);
	}
	void adopt(Unwritten &other)
	{
		map_.swap(other.map_);
		dirty_.swap(other.dirty_);
		marked_ = other.marked_;
		present_.store_release(other.present());
		other.present_.store_release(false);
	}
	// It is on disk now; what was adopted is no longer needed.
	void written()
	{
		Map no_map;
		DirtyPages no_pages{nullptr};

		map_.swap(no_map);
		dirty_.swap(no_pages);
		present_.store_release(false);
	}

	bool marked() const { return marked_; }

	// Makes the data durable, writes the dirty pages, makes them durable. @lost: a sync
	// has told of data that may be gone, once; any other error may pass.
	Status write(ploop_host *host, const Delta &top, bool &lost);

private:
	Map map_;
	DirtyPages dirty_{nullptr};
	bool marked_ = false;
	Atomic<bool> present_;
};

} // namespace ploop
