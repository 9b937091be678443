// SPDX-License-Identifier: GPL-2.0
// A delta: its file, what its header says, and how its map is read.
#pragma once

#include "format/format.h"
#include "format/table_line.h"
#include "map/map.h"
#include "map/operation.h"
#include "map/space.h"

namespace ploop {

// Process context throughout; nothing here runs beside I/O on the same image.
class Delta {
public:
	Delta(ploop_host *host, DeltaId id) : host_(host), id_(id) {}
	Delta(const Delta &) = delete;
	Delta &operator=(const Delta &) = delete;
	~Delta()
	{
		if (file_ != nullptr)
			ph_file_close(file_);
	}

	// Opens the delta. @write: the table is writable.
	Status open(const DeltaName &name, bool write, Text &error);
	// For a writable table: refuses a file whose next sync would tell of a write before our
	// time, because that sync would be ours. One that met no space is no loss while an
	// instance is at work that repeats it (@repeated).
	Status check_earlier_writes(const DeltaName &name, bool repeated, Text &error) const;
	// Reads and checks the header. May be called again, when it may have changed.
	Status read_header(Geometry geometry, uint64_t sectors, Text &error);
	// Before a writable use: refuses an extension with a feature that we do not know and
	// that must not be ignored. @has_bitmap: one that a writable use makes stale.
	Status check_extension(bool &has_bitmap, Text &error);
	// Reads the whole BAT into @map and @space, checking every entry.
	Status read_map(Map &map, Space &space, Text &error);
	// Writes the header's in-use mark and makes it durable.
	Status write_in_use(uint32_t mark);

	ploop_file *file() const { return file_; }
	const ploop_file_facts &facts() const { return facts_; }
	const Header &header() const { return header_; }
	// An extension beyond what @space knows of: the file must not be cut.
	bool larger_than(uint64_t limit) const
	{
		return header_.extension_sectors() != 0 && file_clusters_ > limit;
	}
	uint32_t bat_clusters() const { return bat_clusters_; }

	DeltaId id() const { return id_; }
	// The size of the file now, in whole clusters.
	uint64_t clusters_now() const { return geometry_.clusters_in(ph_file_size(file_)); }

private:
	Status read_map_piece(uint64_t first_slot, const uint32_t *slots, uint32_t count, Map &map,
			      Space &space, Text &error);
	bool take_entry(uint32_t entry, uint64_t index, Map &map, Space &space);
	Status refuse_entry(uint32_t entry, uint64_t index, const Space &space, Text &error);

	ploop_host *host_;
	DeltaId id_;
	ploop_file *file_ = nullptr;
	ploop_file_facts facts_ = {};
	Geometry geometry_;
	Header header_ = {};
	uint64_t file_clusters_ = 0;
	uint32_t bat_clusters_ = 0;
};

} // namespace ploop
