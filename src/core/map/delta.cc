// SPDX-License-Identifier: GPL-2.0
#include "map/delta.h"

#include "format/extension.h"

namespace ploop {

namespace {

constexpr uint32_t kPieceBytes = PLOOP_ALLOC_MAX;

// What an error is about, as the table line names it.
Text &about(const DeltaName &name, Text &error)
{
	error << "delta ";
	if (name.path != nullptr)
		return error << name.path;
	return error << "fd " << name.fd;
}

Status describe_open(Status status, const DeltaName &name, bool write, Text &error)
{
	about(name, error);
	switch (-status.code()) {
	case kENOENT:
		error << (name.path != nullptr ? ": no such file" : ": no such open descriptor");
		break;
	case kEACCES:
	case kEROFS:
		error << (write ? ": may not be written; use a read-only table"
				: ": may not be read");
		break;
	case kEBUSY:
		error << ": in use: mounted, or claimed by another driver";
		break;
	case kEINVAL:
		error << ": neither a regular file nor a block device";
		break;
	default:
		error << ": cannot be opened, error " << status.code();
	}
	return status;
}

} // namespace

Status Delta::open(const DeltaName &name, bool write, Text &error)
{
	const Status status =
		Status::from(ph_file_open(host_, name.path, name.fd, write, &facts_, &file_));

	if (!status.ok())
		return describe_open(status, name, write, error);
	if (!facts_.readable) {
		about(name, error) << ": not opened for reading";
		return Status::error(kEBADF);
	}
	if (write && !facts_.writable) {
		about(name, error)
			<< ": not opened for writing; open it so or use a read-only table";
		return Status::error(kEACCES);
	}
	if (facts_.own_device) {
		about(name, error) << ": lies on the device that this table is for";
		return Status::error(kELOOP);
	}
	return {};
}

Status Delta::check_earlier_writes(const DeltaName &name, bool repeated, Text &error) const
{
	const Status status = Status::from(facts_.unsynced_error);

	if (status.ok() || (repeated && status.no_space()))
		return {};
	about(name, error) << ": an earlier write to it failed, error " << status.code()
			   << "; check it, sync it, and try again";
	return status;
}

Status Delta::read_header(Geometry geometry, uint64_t sectors, Text &error)
{
	Buffer page(kBatPageBytes);
	WaitedOperation read(host_);

	if (page.get() == nullptr || !read.exists()) {
		error << "no memory to read the header";
		return Status::error(kENOMEM);
	}
	const uint64_t size = ph_file_size(file_);
	const Status status = read.run_whole(PLOOP_OP_READ, file_, 0, kBatPageBytes, page.get());
	if (!status.ok()) {
		if (size < kBatPageBytes)
			error << "file size is " << size << " bytes, too short for a header";
		else
			error << "header cannot be read, error " << status.code();
		return status;
	}
	geometry_ = geometry;
	header_ = *static_cast<const Header *>(page.get());
	file_clusters_ = geometry.clusters_in(size);
	bat_clusters_ = geometry.bat_clusters(header_.entries);
	return check_header(header_, {geometry, sectors, size, facts_.block_device}, error);
}

// What cannot be read, or does not begin as an extension does, is none: its clusters stay
// unused all the same.
Status Delta::check_extension(bool &has_bitmap, Text &error)
{
	const uint64_t begin = header_.extension_sectors() << PLOOP_SECTOR_SHIFT;
	const uint64_t size = uint64_t{file_clusters_} * geometry_.cluster_bytes();

	has_bitmap = false;
	if (header_.extension_sectors() == 0 || header_.extension_sectors() > size >> 9)
		return {};
	Buffer buffer(sizeof(FeatureHeader));
	WaitedOperation read(host_);
	if (buffer.get() == nullptr || !read.exists()) {
		error << "no memory to read the format extension";
		return Status::error(kENOMEM);
	}
	const auto *header = static_cast<const ExtensionHeader *>(buffer.get());
	if (!read.run_whole(PLOOP_OP_READ, file_, begin, sizeof(*header), buffer.get()).ok() ||
	    header->magic != kExtensionMagic)
		return {};
	const auto *feature = static_cast<const FeatureHeader *>(buffer.get());
	uint64_t offset = sizeof(*header);
	for (uint32_t i = 0; i < kFeaturesMost; i++) {
		if (offset + sizeof(*feature) > geometry_.cluster_bytes() ||
		    !read.run_whole(PLOOP_OP_READ, file_, begin + offset, sizeof(*feature),
				    buffer.get())
			     .ok() ||
		    feature->magic == 0)
			return {};
		PLOOP_TRY(check_feature(*feature, error));
		has_bitmap = has_bitmap || feature->magic == kFeatureDirtyBitmap;
		offset += feature_bytes(*feature);
	}
	error << "format extension has more than " << kFeaturesMost
	      << " features; use a read-only table";
	return Status::error(kEOPNOTSUPP);
}

Status Delta::read_map(Map &map, Space &space, Text &error)
{
	Buffer piece(kPieceBytes);
	WaitedOperation read(host_);
	const uint64_t slots = bat_slot_of(VirtualCluster(header_.entries));
	const uint64_t pages = ceil_div<uint64_t>(slots, kBatPageEntries);

	if (piece.get() == nullptr || !read.exists()) {
		error << "no memory to read the BAT";
		return Status::error(kENOMEM);
	}
	map.clear_all();
	space.reset(file_clusters_, bat_clusters());
	for (uint64_t at = 0; at < pages * kBatPageBytes; at += kPieceBytes) {
		const uint32_t bytes = static_cast<uint32_t>(
			min_of<uint64_t>(kPieceBytes, pages * kBatPageBytes - at));
		const Status status = read.run_whole(PLOOP_OP_READ, file_, at, bytes, piece.get());
		if (!status.ok()) {
			error << "BAT cannot be read at byte " << at << ", error " << status.code();
			return status;
		}
		PLOOP_TRY(read_map_piece(at / 4, static_cast<const uint32_t *>(piece.get()),
					 bytes / 4, map, space, error));
		ph_yield();
	}
	// An extension's clusters are in no BAT entry: nothing that is there may be reused.
	if (header_.extension_sectors() != 0)
		space.claim_all();
	return {};
}

Status Delta::read_map_piece(uint64_t first_slot, const uint32_t *slots, uint32_t count, Map &map,
			     Space &space, Text &error)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t slot = first_slot + i;
		if (slot < kHeaderSlots || slots[i] == 0)
			continue;
		if (!take_entry(from_le32(slots[i]), slot - kHeaderSlots, map, space))
			return refuse_entry(from_le32(slots[i]), slot - kHeaderSlots, space, error);
	}
	return {};
}

// A large image has millions of entries: so this only tells that one is wrong,
// and refuse_entry() what is.
bool Delta::take_entry(uint32_t entry, uint64_t index, Map &map, Space &space)
{
	if (index >= header_.entries || entry < bat_clusters() || entry >= file_clusters_ ||
	    !space.claim(FileCluster(entry)))
		return false;
	const VirtualCluster cluster(static_cast<uint32_t>(index));
	if (bat_page_of(cluster) < map.pages())
		map.set(cluster, MapWord::at(MapState::durable, id_, FileCluster(entry)));
	return true;
}

Status Delta::refuse_entry(uint32_t entry, uint64_t index, const Space &space, Text &error)
{
	if (index >= header_.entries) {
		error << "BAT entry " << index << " is " << entry << ", but the image has only "
		      << header_.entries << "; those after the last must be 0";
		return Status::error(kEPROTO);
	}
	PLOOP_TRY(check_entry(entry, index, bat_clusters(), file_clusters_, error));
	if (entry >= space.limit()) {
		error << "BAT entry " << index << " is " << entry << ", far beyond the "
		      << space.limit() << " clusters that an image of this size needs";
		return Status::error(kEFBIG);
	}
	error << "BAT entry " << index << " is " << entry
	      << ", which another entry names too (duplicate)";
	return Status::error(kEPROTO);
}

Status Delta::write_in_use(uint32_t mark)
{
	Buffer word(sizeof(uint32_t));
	WaitedOperation write(host_);

	if (word.get() == nullptr || !write.exists())
		return Status::error(kENOMEM);
	*static_cast<uint32_t *>(word.get()) = to_le32(mark);
	PLOOP_TRY(write.run_whole(PLOOP_OP_WRITE_BUFFERED, file_, kInUseOffset, sizeof(uint32_t),
				  word.get()));
	header_.in_use = mark; // it is there, durable or not
	return Status::from(write.run(PLOOP_OP_SYNC, file_, 0, 0));
}

} // namespace ploop
