// SPDX-License-Identifier: GPL-2.0
// What most tests on the simulated host begin with: a world, an image of 256
// clusters of 32 KiB, a device on it, and a model that checks every answer.
#ifndef TESTS_SIM_FIXTURE_H
#define TESTS_SIM_FIXTURE_H

#include <gtest/gtest.h>

#include "sim/device.h"
#include "sim/image.h"
#include "sim/model.h"

namespace sim {

constexpr uint32_t kClusterSectors = 64;

struct Rig {
	explicit Rig(uint64_t seed = 1, ImageSpec spec = {})
		: world(seed), module(world), file(add_image(world, "/img", spec)),
		  sectors(spec.virtual_sectors()), first(std::make_unique<Device>(world)),
		  device(*first), io(world, device, model)
	{
	}

	void start(const std::string &options = "")
	{
		ASSERT_EQ(device.create("6 " + options + " /img", sectors), 0) << device.error;
	}
	void stop() { device.remove(); }
	ImageReport report() const { return check_image(file.now()); }

	// Writes and waits, also for all that was begun before.
	BioPtr write(uint64_t sector, uint32_t count, uint8_t flags = 0)
	{
		BioPtr bio = io.write(sector, count, flags);
		io.wait_all();
		return bio;
	}

	// Nothing wrong was read, and the image that is left is as it should be.
	void stop_in_order()
	{
		stop();
		EXPECT_EQ(report().text(), "") << "seed " << world.seed;
		EXPECT_EQ(io.problem, "") << "seed " << world.seed;
	}

	// No byte of new space is left, until free_space().
	void fill() { world.disk.capacity = world.disk.used(); }
	void free_space() { world.disk.capacity = UINT64_MAX; }

	// Where the host copies on write, an overwrite and a commit need space too: a
	// device on such a host, with one cluster whose entry is not written yet.
	void start_uncommitted_on_cow(const std::string &options = "")
	{
		world.disk.copy_on_write = true;
		start(options);
		write(0, 8);
	}
	// The same after a suspend without space; then there is space again.
	void start_and_suspend_unwritten()
	{
		start_uncommitted_on_cow();
		fill();
		EXPECT_EQ(device.suspend(true), 0);
		EXPECT_TRUE(has_word("dirty-suspended"));
		free_space();
	}

	// The status says name=number.
	uint64_t field(const std::string &name)
	{
		const std::string text = device.status();
		const size_t at = text.find(" " + name + "=");
		EXPECT_NE(at, std::string::npos) << name << " in " << text;
		return at == std::string::npos ? ~0ull
					       : std::stoull(text.substr(at + name.size() + 2));
	}
	// Clusters that the file has, and nobody uses. The BAT takes the first one.
	uint64_t clean_clusters()
	{
		return file.now().size() / (kClusterSectors * SECTOR) - 1 - field("used");
	}
	bool has_word(const std::string &word)
	{
		return (device.status() + " ").find(" " + word + " ") != std::string::npos;
	}

	// Which write's data is there? 0: zeros everywhere; ~0: something else.
	uint64_t read_id(uint64_t sector, uint32_t count)
	{
		std::vector<uint8_t> data;
		EXPECT_EQ(device.read(sector, count, data), 0);
		for (uint8_t byte : data) {
			if (byte != 0)
				return ~0ull;
		}
		return 0;
	}

	// @steps operations of all kinds and sizes in the first @clusters, at most
	// @depth at a time.
	void random_load(unsigned steps, uint32_t clusters = 12, unsigned depth = 8)
	{
		for (unsigned i = 0; i < steps; i++) {
			const uint64_t span = clusters * kClusterSectors;
			const uint64_t at = world.random(span);
			const uint32_t most =
				uint32_t(std::min<uint64_t>(span - at, 3 * kClusterSectors));
			const uint32_t count = 1 + uint32_t(world.random(most));
			random_step(at, count);
			if (world.random(depth) == 0)
				io.wait_all();
			else if (world.random(2))
				world.step();
		}
	}

	void random_step(uint64_t at, uint32_t count)
	{
		const uint8_t fua = world.random(4) == 0 ? PLOOP_RQ_FUA : 0;
		const uint64_t whole = at / kClusterSectors * kClusterSectors;
		switch (world.random(12)) {
		case 0:
		case 1:
		case 2:
			io.read(at, count);
			break;
		case 3:
			io.flush();
			break;
		case 4:
			io.discard(at, count);
			break;
		case 5:
			io.discard(whole, kClusterSectors);
			break;
		case 6:
			io.write_zeroes(at, count, world.random(2) ? PLOOP_RQ_NOUNMAP : 0);
			break;
		case 7:
			io.write(whole, kClusterSectors, fua);
			break;
		case 8:
			io.write_zero_data(at, count, fua);
			break;
		default:
			io.write(at, count, fua);
		}
	}

	World world;
	Module module;
	File &file;
	uint64_t sectors;
	Model model;
	std::unique_ptr<Device> first;
	Device &device;
	Checked io;
};

} // namespace sim

#endif
