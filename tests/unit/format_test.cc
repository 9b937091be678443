// SPDX-License-Identifier: GPL-2.0
// Which headers and entries are served, at every boundary, and what the texts
// of the others say.
#include <cstring>
#include <functional>

#include "core/format/format.h"
#include "unit/words.h"

namespace ploop {

namespace {

// A right image of 100 clusters, all mapped, and the table that it is for.
struct Case {
	explicit Case(uint32_t log = kClusterLogMin, uint32_t entries = 100)
		: demand{Geometry(log), 0, 0, false}
	{
		memcpy(header.signature, "WithouFreSpacExt", 16);
		header.type = 2;
		header.cluster_sectors = demand.geometry.cluster_sectors();
		set_entries(entries);
	}

	// And all that follows from them.
	void set_entries(uint32_t entries)
	{
		const uint64_t sectors = uint64_t{entries} * header.cluster_sectors;
		const uint32_t bat = demand.geometry.bat_clusters(entries);
		header.entries = entries;
		set_size(sectors);
		header.first_block_sectors = bat * header.cluster_sectors;
		demand.sectors = sectors;
		demand.file_bytes = (uint64_t{bat} + entries) * demand.geometry.cluster_bytes();
	}

	void set_size(uint64_t sectors)
	{
		header.size_sectors_low = static_cast<uint32_t>(sectors);
		header.size_sectors_high = static_cast<uint32_t>(sectors >> 32);
	}

	void good() const
	{
		ErrorText error;
		const Status status = check_header(header, demand, error.text);
		expect_good(status, error);
	}

	void bad(Errno code, const std::vector<std::string> &words) const
	{
		ErrorText error;
		const Status status = check_header(header, demand, error.text);
		expect_error(status, error, code, words);
	}

	Header header = {};
	ImageDemand demand;
};

std::string str(uint64_t number)
{
	return std::to_string(number);
}

} // namespace

TEST(Format, RightHeaders)
{
	for (uint32_t log = kClusterLogMin; log <= kClusterLogMax; log++) {
		for (uint32_t entries : {1u, 2u, 1008u, 1009u, 8176u, 8177u, 65536u})
			Case(log, entries).good();
	}
}

TEST(Format, Signature)
{
	for (size_t i = 0; i < 16; i++) {
		Case c;
		c.header.signature[i] ^= 1;
		c.bad(kEOPNOTSUPP, {"signature", "WithouFreSpacExt"});
	}
	Case c;
	memcpy(c.header.signature, "WithoutFreeSpace", 16);
	c.bad(kEOPNOTSUPP, {"signature", "WithoutFreeSpace", "version 1"});
	// What is not text must not get into the text.
	memset(c.header.signature, 0xff, 16);
	c.bad(kEOPNOTSUPP, {"signature is ................, not WithouFreSpacExt"});
	memcpy(c.header.signature, "QFI\xfb\n 1234567890", 16);
	c.bad(kEOPNOTSUPP, {"signature is QFI...1234567890, not WithouFreSpacExt"});
}

TEST(Format, Type)
{
	for (uint32_t type : {0u, 1u, 3u, 0x200u, UINT32_MAX}) {
		Case c;
		c.header.type = type;
		c.bad(kEINVAL, {"type is " + str(type)});
	}
}

TEST(Format, Flags)
{
	for (uint32_t bit = 0; bit < 32; bit++) {
		Case c;
		c.header.flags = 1u << bit;
		if (bit == 1)
			c.bad(kEINVAL, {"flags are 2", "conversion"});
		else
			c.good();
	}
	Case c;
	c.header.flags = UINT32_MAX;
	c.bad(kEINVAL, {"flags are 4294967295"});
}

TEST(Format, FieldsThatMayHoldAnything)
{
	for (uint32_t value : {0u, 1u, 0x746f6e59u, 0x312e3276u, UINT32_MAX}) {
		Case c;
		c.header.heads = value;
		c.header.cylinders = value;
		c.header.in_use = value;
		c.header.extension_sectors_low = value;
		c.header.extension_sectors_high = value;
		c.good();
	}
}

TEST(Format, ClusterSize)
{
	for (uint32_t value : {0u, 1u, 32u, 63u, 65u, 128u, 131072u, 1u << 31, UINT32_MAX}) {
		Case c;
		c.header.cluster_sectors = value;
		c.bad(kEINVAL, {"cluster size is " + str(value), "64 in the table"});
	}
}

TEST(Format, Entries)
{
	Case c;
	c.header.entries = 0;
	c.bad(kEINVAL, {"BAT entries is 0"});
	c.header.entries = 99;
	c.bad(kEINVAL, {"size is 6400 sectors", "99 BAT entries"});
	// More than the size needs are right, as long as the rest fits.
	Case more;
	more.set_size(more.demand.sectors - 63);
	more.demand.sectors -= 63;
	more.good();
}

TEST(Format, Size)
{
	for (uint64_t more : {uint64_t{1}, uint64_t{64}, uint64_t{1} << 32, uint64_t{1} << 63}) {
		Case c;
		c.set_size(6400 + more);
		c.bad(kEINVAL, {"size is " + str(6400 + more) + " sectors", "100 BAT entries"});
	}
	for (uint64_t size : {0u, 1u, 6399u}) {
		Case c;
		c.set_size(size);
		c.bad(kEBADSLT, {"size is " + str(size) + " sectors", "table needs 6400"});
	}
	Case c;
	c.demand.sectors = 6401;
	c.bad(kEBADSLT, {"size is 6400 sectors", "table needs 6401"});
	c.demand.sectors = UINT64_MAX;
	c.bad(kEBADSLT, {"size is 6400 sectors", "table needs 18446744073709551615"});
}

TEST(Format, ClaimsBeyondTheTable)
{
	// Up to kClaimAlways costs little, whatever the table is.
	Case always(kClusterLogMin, kClaimAlways);
	always.demand.sectors = 1;
	always.good();
	always.set_entries(kClaimAlways + 1);
	always.demand.sectors = 1;
	always.bad(kEFBIG, {"BAT entries is 65537", "64 times the 1 clusters"});

	// Beyond that, the claim is measured by the table.
	Case factor(kClusterLogMin, 64 * 2048);
	factor.demand.sectors = 2048 * 64;
	factor.good();
	factor.demand.sectors = 2047 * 64 + 1;
	factor.good();
	factor.set_entries(64 * 2048 + 1);
	factor.demand.sectors = 2048 * 64;
	factor.bad(kEFBIG, {"BAT entries is 131073", "the 2048 clusters"});
	factor.set_entries(64 * 2048);
	factor.demand.sectors = 2047 * 64;
	factor.bad(kEFBIG, {"BAT entries is 131072", "the 2047 clusters"});

	Case all(kClusterLogMin, UINT32_MAX);
	all.demand.sectors = 6400;
	all.bad(kEFBIG, {"BAT entries is 4294967295", "the 100 clusters"});
}

TEST(Format, FirstBlock)
{
	Case c;
	EXPECT_EQ(c.header.first_block_sectors, 64u);
	for (uint32_t value : {0u, 1u, 63u, 65u, 128u, 4096u, 1u << 31, UINT32_MAX}) {
		c.header.first_block_sectors = value;
		c.bad(kEINVAL,
		      {"first block offset is " + str(value), "100 BAT entries end at 64"});
	}
	// The largest BAT that fits a cluster, and one entry more.
	Case full(kClusterLogMin, (32768 - 64) / 4);
	EXPECT_EQ(full.header.first_block_sectors, 64u);
	full.good();
	Case next(kClusterLogMin, (32768 - 64) / 4 + 1);
	EXPECT_EQ(next.header.first_block_sectors, 128u);
	next.good();
}

TEST(Format, FirstBlockOfTheLargestBat)
{
	// 64 + 4 * entries and its sectors do not fit 32 bits of bytes: no overflow helps.
	Case c(kClusterLogMin, UINT32_MAX);
	EXPECT_EQ(c.demand.geometry.bat_clusters(UINT32_MAX), 524289u);
	EXPECT_EQ(c.header.first_block_sectors, 524289u * 64);
	c.good();
	for (uint32_t entries : {1u << 30, (1u << 30) - 16, (1u << 30) - 15, 1u << 31}) {
		Case wraps;
		wraps.header.entries = entries;
		wraps.demand.sectors = uint64_t{entries} * 64;
		wraps.set_size(wraps.demand.sectors);
		wraps.bad(kEINVAL, {"first block offset is 64", str(entries) + " BAT entries"});
	}
}

TEST(Format, FileSize)
{
	const uint64_t right = Case().demand.file_bytes;

	for (uint64_t size : {right - 1, right - 512, right + 1, right + 4096, right + 32767}) {
		Case c;
		c.demand.file_bytes = size;
		c.bad(kEPROTO, {"file size is " + str(size), "32768"});
		c.demand.block_device = true; // its size is no promise of the image's
		c.good();
	}
	for (uint64_t size : {32768ull, 65536ull, 1ull << 50}) {
		Case c;
		c.demand.file_bytes = size;
		c.good();
	}
	for (bool block_device : {false, true}) {
		Case c(kClusterLogMin, 20000);
		c.demand.block_device = block_device;
		c.demand.file_bytes = 2 * 32768;
		c.bad(kENODATA, {"file size is 65536", "20000 BAT entries"});
		c.demand.file_bytes = 0;
		c.bad(kENODATA, {"file size is 0", "20000 BAT entries"});
		c.demand.file_bytes = 3 * 32768;
		c.good();
	}
}

TEST(Format, Entry)
{
	ErrorText error;
	EXPECT_TRUE(check_entry(3, 0, 3, 10, error.text).ok());
	EXPECT_TRUE(check_entry(9, UINT32_MAX, 3, 10, error.text).ok());
	EXPECT_TRUE(check_entry(UINT32_MAX, 5, 3, uint64_t{1} << 32, error.text).ok());
	EXPECT_EQ(error.str(), "");

	for (uint32_t entry : {0u, 1u, 2u}) {
		ErrorText inside;
		const Status status = check_entry(entry, 17, 3, 10, inside.text);
		expect_error(status, inside, kEXDEV,
			     {"BAT entry 17 is " + str(entry), "cluster 3"});
	}
	for (uint32_t entry : {10u, 11u, 1u << 31, UINT32_MAX}) {
		ErrorText behind;
		const Status status = check_entry(entry, 17, 3, 10, behind.text);
		expect_error(status, behind, kEPROTO,
			     {"BAT entry 17 is " + str(entry), "only 10 clusters"});
	}
}

TEST(Format, Geometry)
{
	for (uint32_t log = kClusterLogMin; log <= kClusterLogMax; log++) {
		const Geometry geometry(log);
		EXPECT_EQ(geometry.cluster_sectors(), 1u << log);
		EXPECT_EQ(geometry.cluster_bytes(), 512u << log);
		EXPECT_EQ(geometry.cluster_of((uint64_t{7} << log) + 5), VirtualCluster(7));
		EXPECT_EQ(geometry.sector_in_cluster((uint64_t{7} << log) + 5), 5u);
		EXPECT_EQ(geometry.offset_of(FileCluster(UINT32_MAX)),
			  uint64_t{UINT32_MAX} * (512u << log));
		EXPECT_EQ(geometry.clusters_in((512u << log) - 1), 0u);
		EXPECT_EQ(geometry.clusters_in(512u << log), 1u);
		EXPECT_EQ(geometry.clusters_for_sectors(0), 0u);
		EXPECT_EQ(geometry.clusters_for_sectors(1), 1u);
		EXPECT_EQ(geometry.clusters_for_sectors(1u << log), 1u);
		EXPECT_EQ(geometry.clusters_for_sectors((1u << log) + 1), 2u);
	}
}

TEST(Format, WhereAnEntryLies)
{
	EXPECT_EQ(bat_slot_of(VirtualCluster(0)), 16u);
	EXPECT_EQ(bat_page_of(VirtualCluster(0)), 0u);
	EXPECT_EQ(bat_page_of(VirtualCluster(1007)), 0u);
	EXPECT_EQ(bat_page_of(VirtualCluster(1008)), 1u);
	EXPECT_EQ(bat_slot_of(VirtualCluster(UINT32_MAX)), uint64_t{UINT32_MAX} + 16);
	EXPECT_EQ(bat_page_of(VirtualCluster(UINT32_MAX)), 1u << 22);
}

} // namespace ploop
