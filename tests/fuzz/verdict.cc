// SPDX-License-Identifier: GPL-2.0
// What the core says of image files: attaches each on the simulated host.
//
// Reads lines "<cluster_log> <sectors> <path>" and answers one line for each:
//	ok
//	refuse <errno> <text of the constructor>
//	wrong <what>		accepted, but it does not behave
// What is accepted is resumed, read here and there and compared with what the
// test's own reader makes of the file, and must be right again when removed.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <sstream>

#include "fuzz/memory_bound.h"
#include "sim/device.h"
#include "sim/image.h"

namespace {

constexpr uint64_t kChunk = 64 << 10;
constexpr uint64_t kCheckedClusterBytes = 1 << 20; // the checker is slow on larger ones

// The file's content, holes as holes.
sim::Image load(const std::string &path)
{
	const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
	sim::Image image;
	struct stat info;

	if (fd < 0 || fstat(fd, &info) != 0)
		sim::fail("cannot open " + path);
	image.resize(uint64_t(info.st_size));
	off_t at = lseek(fd, 0, SEEK_DATA);
	while (at >= 0) {
		const off_t end = lseek(fd, at, SEEK_HOLE);
		while (at < end) {
			std::vector<uint8_t> data(std::min<uint64_t>(kChunk, uint64_t(end - at)));
			const ssize_t got = pread(fd, data.data(), data.size(), at);
			if (got <= 0)
				sim::fail("cannot read " + path);
			data.resize(size_t(got));
			if (std::any_of(data.begin(), data.end(), [](uint8_t b) { return b != 0; }))
				image.write(uint64_t(at), data);
			at += got;
		}
		at = lseek(fd, end, SEEK_DATA);
	}
	close(fd);
	return image;
}

std::string first_difference(sim::Device &device, const sim::Image &image, uint64_t sectors)
{
	const uint64_t step = std::max<uint64_t>(1, sectors / 50);

	for (uint64_t sector = 0; sector < sectors; sector += step) {
		const uint32_t count = uint32_t(std::min<uint64_t>(8, sectors - sector));
		std::vector<uint8_t> data;
		if (device.read(sector, count, data) != 0)
			return "sector " + std::to_string(sector) + " cannot be read";
		if (data != sim::read_image(image, sector, count))
			return "sector " + std::to_string(sector) + " reads wrong";
	}
	return "";
}

std::string judge(uint32_t log, uint64_t sectors, const std::string &path)
{
	sim::World world(1, sim::Order::Fifo);
	sim::Module module(world);
	sim::Device device(world);
	const sim::Image image = load(path);
	sim::File &file = world.add_file("/img");

	file.load(image);
	const int result = device.load(std::to_string(log) + " /img", sectors);
	if (world.peak_bytes() >= memory_bound(sectors, log))
		return "wrong: it takes " + std::to_string(world.peak_bytes()) + " bytes of memory";
	if (!(file.now() == image))
		return "wrong: the constructor changed the image";
	if (result != 0)
		return "refuse " + std::to_string(-result) + " " + device.error;
	if (const int resumed = device.resume(); resumed != 0)
		return "wrong: loaded, but resume gave " + std::to_string(resumed);
	if (const std::string what = first_difference(device, image, sectors); !what.empty())
		return "wrong: " + what;
	device.remove();
	if ((uint64_t{512} << log) > kCheckedClusterBytes)
		return "ok";
	for (const std::string &problem : sim::check_image(file.now()).problems) {
		if (problem.find("tail") == std::string::npos) // the format leaves that open
			return "wrong: after the removal, " + problem;
	}
	return "ok";
}

} // namespace

int main()
{
	for (std::string line; std::getline(std::cin, line);) {
		std::istringstream in(line);
		uint32_t log = 0;
		uint64_t sectors = 0;
		std::string path;
		in >> log >> sectors >> path;
		std::cout << judge(log, sectors, path) << std::endl;
	}
	return 0;
}
