// SPDX-License-Identifier: GPL-2.0
#include "format/format.h"

namespace ploop {

namespace {

constexpr char kSignatureV1[] = "WithoutFreeSpace";
constexpr char kSignatureV2[] = "WithouFreSpacExt";
constexpr uint32_t kTypeExpandable = 2;
constexpr uint32_t kFlagConversion = 2; // a conversion of the format was cut short

bool has_signature(const Header &header, const char *signature)
{
	for (unsigned int i = 0; i < sizeof(header.signature); i++) {
		if (header.signature[i] != signature[i])
			return false;
	}
	return true;
}

// Bytes that nobody vouches for go to a log: only what can be read is shown.
Status refuse_signature(const Header &header, Text &error)
{
	char shown[sizeof(header.signature) + 1] = {};

	for (unsigned int i = 0; i < sizeof(header.signature); i++) {
		const char c = header.signature[i];
		shown[i] = c > ' ' && c <= '~' ? c : '.';
	}
	error << "signature is " << shown << ", not " << kSignatureV2 << ": not a ploop image";
	return Status::error(kEOPNOTSUPP);
}

Status check_identity(const Header &header, Text &error)
{
	if (has_signature(header, kSignatureV1)) {
		error << "signature is " << kSignatureV1
		      << " (version 1): convert the image to version 2 first";
		return Status::error(kEOPNOTSUPP);
	}
	if (!has_signature(header, kSignatureV2))
		return refuse_signature(header, error);
	if (header.type != kTypeExpandable) {
		error << "type is " << header.type << "; only 2 (expandable) is served";
		return Status::error(kEINVAL);
	}
	if ((header.flags & kFlagConversion) != 0) {
		error << "flags are " << header.flags
		      << ": a conversion of the format is unfinished; finish it first";
		return Status::error(kEINVAL);
	}
	return {};
}

Status check_sizes(const Header &header, const ImageDemand &demand, Text &error)
{
	const uint32_t cluster_sectors = demand.geometry.cluster_sectors();
	const uint64_t wanted = demand.geometry.clusters_for_sectors(demand.sectors);

	if (header.cluster_sectors != cluster_sectors) {
		error << "cluster size is " << header.cluster_sectors
		      << " sectors in the header, but " << cluster_sectors << " in the table";
		return Status::error(kEINVAL);
	}
	if (header.entries == 0) {
		error << "BAT entries is 0: the image has no room";
		return Status::error(kEINVAL);
	}
	if (header.size_sectors() > uint64_t{header.entries} * cluster_sectors) {
		error << "size is " << header.size_sectors() << " sectors, more than its "
		      << header.entries << " BAT entries can map";
		return Status::error(kEINVAL);
	}
	if (header.size_sectors() < demand.sectors) {
		error << "size is " << header.size_sectors() << " sectors, but the table needs "
		      << demand.sectors;
		return Status::error(kEBADSLT);
	}
	if (header.entries > kClaimAlways && header.entries > wanted * kClaimFactor) {
		error << "BAT entries is " << header.entries << ", more than " << kClaimFactor
		      << " times the " << wanted << " clusters of the table";
		return Status::error(kEFBIG);
	}
	return {};
}

Status check_place(const Header &header, const ImageDemand &demand, Text &error)
{
	const uint32_t cluster_sectors = demand.geometry.cluster_sectors();
	const uint32_t bat_clusters = demand.geometry.bat_clusters(header.entries);
	const uint64_t data_start = uint64_t{bat_clusters} * cluster_sectors;

	if (header.first_block_sectors != data_start) {
		error << "first block offset is " << header.first_block_sectors << " sectors, but "
		      << header.entries << " BAT entries end at " << data_start;
		return Status::error(kEINVAL);
	}
	if (!demand.block_device && demand.file_bytes % demand.geometry.cluster_bytes() != 0) {
		error << "file size is " << demand.file_bytes << " bytes, not a multiple of the "
		      << demand.geometry.cluster_bytes() << " of a cluster";
		return Status::error(kEPROTO);
	}
	if (demand.geometry.clusters_in(demand.file_bytes) < bat_clusters) {
		error << "file size is " << demand.file_bytes << " bytes, too short for "
		      << header.entries << " BAT entries";
		return Status::error(kENODATA);
	}
	return {};
}

} // namespace

Status check_header(const Header &header, const ImageDemand &demand, Text &error)
{
	PLOOP_TRY(check_identity(header, error));
	PLOOP_TRY(check_sizes(header, demand, error));
	return check_place(header, demand, error);
}

Status check_entry(uint32_t entry, uint64_t virtual_cluster, uint32_t bat_clusters,
		   uint64_t file_clusters, Text &error)
{
	if (entry < bat_clusters) {
		error << "BAT entry " << virtual_cluster << " is " << entry
		      << ", inside the BAT, which ends at cluster " << bat_clusters;
		return Status::error(kEXDEV);
	}
	if (entry >= file_clusters) {
		error << "BAT entry " << virtual_cluster << " is " << entry
		      << ", but the file has only " << file_clusters << " clusters";
		return Status::error(kEPROTO);
	}
	return {};
}

} // namespace ploop
