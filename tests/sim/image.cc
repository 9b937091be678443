// SPDX-License-Identifier: GPL-2.0
#include "sim/image.h"

#include <algorithm>
#include <cstring>

namespace sim {

static const char SIGNATURE[] = "WithouFreSpacExt";

static void put(std::vector<uint8_t> &data, size_t at, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		data[at + i] = uint8_t(value >> (8 * i));
}

static uint64_t get(const Image &image, uint64_t at, size_t bytes)
{
	const std::vector<uint8_t> data = image.read(at, bytes);
	uint64_t value = 0;
	for (size_t i = 0; i < bytes; i++)
		value |= uint64_t(data[i]) << (8 * i);
	return value;
}

static uint64_t div_up(uint64_t value, uint64_t by)
{
	return value / by + (value % by != 0);
}

uint32_t ImageSpec::head_clusters() const
{
	return uint32_t(div_up(64 + 4 * uint64_t(entries), cluster_bytes()));
}

File &add_image(World &world, const std::string &path, const ImageSpec &spec)
{
	const uint32_t head = spec.head_clusters();
	std::vector<uint8_t> data(64 + 4 * uint64_t(spec.entries));
	uint32_t clusters = std::max(head, spec.file_clusters);

	memcpy(data.data(), SIGNATURE, 16);
	put(data, 16, 2, 4);
	put(data, 20, 16, 4);
	put(data, 24, spec.virtual_sectors() / (16 * 63), 4);
	put(data, 28, spec.cluster_sectors, 4);
	put(data, 32, spec.entries, 4);
	put(data, 36, spec.virtual_sectors(), 8);
	put(data, 44, spec.in_use, 4);
	put(data, 48, uint64_t(head) * spec.cluster_sectors, 4);
	put(data, 52, spec.flags, 4);
	put(data, 56, spec.extension, 8);
	for (const auto &[index, cluster] : spec.bat) {
		put(data, 64 + 4 * uint64_t(index), cluster, 4);
		clusters = std::max(clusters, cluster + 1);
	}
	File &file = world.add_file(path, clusters * spec.cluster_bytes());
	file.poke(0, data);
	return file;
}

static void check_header(const Image &image, ImageReport &report)
{
	const auto problem = [&](const std::string &text) { report.problems.push_back(text); };
	const uint64_t cluster = report.cluster_sectors;
	const uint64_t entries = report.bat.size();
	const uint64_t first = get(image, 48, 4);
	const std::vector<uint8_t> signature = image.read(0, 16);

	if (memcmp(signature.data(), SIGNATURE, 16) != 0)
		problem("signature");
	if (get(image, 16, 4) != 2)
		problem("type " + std::to_string(get(image, 16, 4)));
	if (first != report.head_clusters * cluster)
		problem("first block at sector " + std::to_string(first));
	if (get(image, 36, 8) > entries * cluster)
		problem("more sectors than entries: " + std::to_string(get(image, 36, 8)));
}

static void check_bat(const Image &image, ImageReport &report)
{
	const uint64_t cluster_bytes = uint64_t(report.cluster_sectors) * SECTOR;
	const uint64_t in_file = div_up(image.size(), cluster_bytes);
	std::map<uint32_t, size_t> owner;
	uint64_t last = report.head_clusters;

	for (size_t index = 0; index < report.bat.size(); index++) {
		const uint32_t cluster = report.bat[index];
		const std::string entry = "entry " + std::to_string(index) + " = " +
					  std::to_string(cluster);
		if (!cluster)
			continue;
		report.used++;
		last = std::max<uint64_t>(last, uint64_t(cluster) + 1);
		if (cluster < report.head_clusters)
			report.problems.push_back(entry + " is in the BAT");
		if (cluster >= in_file)
			report.problems.push_back(entry + " is beyond the end");
		else if ((uint64_t(cluster) + 1) * cluster_bytes > image.size())
			report.problems.push_back(entry + " is cut by the end");
		if (const auto [it, fresh] = owner.emplace(cluster, index); !fresh)
			report.problems.push_back(entry + " is entry " +
						  std::to_string(it->second) + "'s");
	}
	const uint64_t end = report.head_clusters * cluster_bytes;
	for (uint64_t at = 64 + 4 * uint64_t(report.bat.size()); at < end; at += 4)
		if (get(image, at, 4)) {
			report.problems.push_back("the BAT's tail is not zero at " +
						  std::to_string(at));
			break;
		}
	if (in_file >= report.head_clusters + owner.size())
		report.leaked = in_file - report.head_clusters - owner.size();
	report.leaked_end = in_file > last ? in_file - last : 0;
}

ImageReport check_image(const Image &image)
{
	ImageReport report;
	report.cluster_sectors = uint32_t(get(image, 28, 4));
	report.in_use = uint32_t(get(image, 44, 4));
	const uint64_t entries = get(image, 32, 4);
	const uint64_t cluster_bytes = uint64_t(report.cluster_sectors) * SECTOR;

	if (!cluster_bytes || 64 + 4 * entries > image.size()) {
		report.problems.push_back("header or BAT beyond the end of the file");
		return report;
	}
	report.head_clusters = uint32_t(div_up(64 + 4 * entries, cluster_bytes));
	const std::vector<uint8_t> raw = image.read(64, 4 * entries);
	report.bat.resize(entries);
	for (size_t i = 0; i < entries; i++)
		for (size_t byte = 0; byte < 4; byte++)
			report.bat[i] |= uint32_t(raw[4 * i + byte]) << (8 * byte);
	check_header(image, report);
	check_bat(image, report);
	if (image.size() % cluster_bytes)
		report.unclean.push_back("size " + std::to_string(image.size()));
	if (report.in_use)
		report.unclean.push_back("in use");
	if (report.leaked_end)
		report.unclean.push_back("leaked at the end: " + std::to_string(report.leaked_end));
	return report;
}

std::string ImageReport::text() const
{
	std::string result;
	for (const auto *list : { &problems, &unclean })
		for (const std::string &line : *list)
			result += line + "; ";
	return result;
}

std::vector<uint8_t> read_image(const Image &image, uint64_t sector, uint32_t sectors)
{
	const uint64_t cluster_sectors = get(image, 28, 4);
	std::vector<uint8_t> data(sectors * SECTOR);
	for (uint32_t i = 0; i < sectors; i++) {
		const uint64_t index = (sector + i) / cluster_sectors;
		const uint64_t inside = (sector + i) % cluster_sectors;
		const uint64_t cluster = get(image, 64 + 4 * index, 4);
		if (cluster)
			image.read((cluster * cluster_sectors + inside) * SECTOR,
				   { &data[i * SECTOR], SECTOR });
	}
	return data;
}

} /* namespace sim */
