/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a reader of the device may see: for every sector the writes that were
 * begun, and when each ended and became durable.
 *
 * A value may be seen as long as no write that was acknowledged began after
 * it had ended. After a power cut, only writes that are known to be durable
 * hide older ones. A write that failed may have had its effect or not, so it
 * hides nothing.
 */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include <algorithm>
#include <cstring>

#include "sim/device.h"

namespace sim {

class Model {
public:
	/* The sector's content as write @id makes it; 0 stands for zeros. */
	static void fill(uint64_t id, uint64_t sector, std::span<uint8_t> data)
	{
		uint64_t words[SECTOR / 8] = { MAGIC, id, sector };
		uint64_t state = id * 0x9E3779B97F4A7C15ull + sector;
		for (size_t i = 3; i < SECTOR / 8; i++) {
			state = (state ^ (state >> 27)) * 0x94D049BB133111EBull + i;
			words[i] = state;
		}
		if (!id)
			std::fill(std::begin(words), std::end(words), 0);
		memcpy(data.data(), words, SECTOR);
	}
	static std::vector<uint8_t> pattern(uint64_t id, uint64_t sector, uint32_t sectors)
	{
		std::vector<uint8_t> data(sectors * SECTOR);
		for (uint32_t i = 0; i < sectors; i++)
			fill(id, sector + i, { &data[i * SECTOR], SECTOR });
		return data;
	}

	/* What the images held at first, made with pattern(id, ...); else zeros. */
	void preset(uint64_t sector, uint32_t sectors, uint64_t id)
	{
		const uint64_t version = add(sector, sectors, id);
		at(version).begin = at(version).end = 0;
		at(version).ok = at(version).durable = true;
		for (uint32_t i = 0; i < sectors; i++)
			sectors_[sector + i] = { version };
		next_id_ = std::max(next_id_, id + 1);
	}

	/* A write of pattern(id, ...) begins. */
	uint64_t write_begin(uint64_t sector, uint32_t sectors)
	{
		const uint64_t id = next_id_++;
		return add(sector, sectors, id);
	}
	/* Zeros are written; or maybe not: a discard may leave what was there. */
	uint64_t zero_begin(uint64_t sector, uint32_t sectors, bool maybe)
	{
		const uint64_t version = add(sector, sectors, 0);
		at(version).maybe = maybe;
		return version;
	}
	uint64_t id_of(uint64_t version) const { return versions_.at(version).id; }
	void write_end(uint64_t version, bool ok, bool durable = false)
	{
		Version &one = at(version);
		one.end = ++clock_;
		one.ok = ok && !one.maybe;
		one.durable = durable && one.ok;
		if (!reads_)
			prune(one);
	}
	/* What ended before a flush began is durable when it has ended well. */
	uint64_t flush_begin() { return ++clock_; }
	void flush_end(uint64_t begin, bool ok)
	{
		if (ok)
			flushed_ = std::max(flushed_, begin);
	}
	uint64_t read_begin()
	{
		reads_++;
		return ++clock_;
	}
	/* Empty, or what is wrong. */
	std::string read_end(uint64_t begin, uint64_t sector, std::span<const uint8_t> data)
	{
		reads_--;
		return check(sector, data, [begin](const Version &newer) {
			return newer.ok && newer.end < begin;
		});
	}
	void read_failed() { reads_--; }

	/* May the device hold this after a power cut? Empty, or what is wrong. */
	std::string check_cut(uint64_t sector, std::span<const uint8_t> data)
	{
		return check(sector, data, [this](const Version &newer) { return durable(newer); });
	}
	/* After check_cut() of all that matters: what was read is what there is. */
	void settle_cut(uint64_t sector, std::span<const uint8_t> data)
	{
		for (size_t i = 0; i < data.size() / SECTOR; i++) {
			const auto it = sectors_.find(sector + i);
			if (it == sectors_.end())
				continue;
			const uint64_t id = held(data.subspan(i * SECTOR, SECTOR), sector + i);
			it->second = { versions_.size() };
			versions_.push_back({ id, sector + i, 1, 0, 0, true, true, false });
		}
		reads_ = 0;
	}

private:
	static constexpr uint64_t MAGIC = 0x5245544953455453ull;
	static constexpr uint64_t NEVER = UINT64_MAX;
	static constexpr uint64_t FOREIGN = UINT64_MAX;

	struct Version {
		uint64_t id;
		uint64_t sector;
		uint32_t sectors;
		uint64_t begin;
		uint64_t end;
		bool ok;
		bool durable;
		bool maybe;
	};

	uint64_t add(uint64_t sector, uint32_t sectors, uint64_t id)
	{
		const uint64_t version = versions_.size();
		versions_.push_back({ id, sector, sectors, ++clock_, NEVER, false, false, false });
		for (uint32_t i = 0; i < sectors; i++)
			sectors_.try_emplace(sector + i, std::vector<uint64_t>{ 0 })
				.first->second.push_back(version);
		return version;
	}
	Version &at(uint64_t version) { return versions_.at(version); }
	bool durable(const Version &one) const
	{
		return one.ok && (one.durable || one.end < flushed_);
	}

	/* Which write's data this is. */
	static uint64_t held(std::span<const uint8_t> data, uint64_t sector)
	{
		uint8_t expected[SECTOR];
		uint64_t id;
		memcpy(&id, &data[8], 8);
		fill(id, sector, expected);
		return memcmp(expected, data.data(), SECTOR) == 0 ? id : FOREIGN;
	}

	/* What ended before this is hidden, by those of the list that hide. */
	template <typename Hides>
	uint64_t horizon(const std::vector<uint64_t> &list, Hides hides) const
	{
		uint64_t begin = 0;
		for (uint64_t one : list)
			if (hides(versions_[one]))
				begin = std::max(begin, versions_[one].begin);
		return begin;
	}

	template <typename Hides>
	std::string check(uint64_t sector, std::span<const uint8_t> data, Hides hides)
	{
		static const std::vector<uint64_t> never_written = { 0 };
		for (size_t i = 0; i < data.size() / SECTOR; i++) {
			const auto it = sectors_.find(sector + i);
			const auto &list = it == sectors_.end() ? never_written : it->second;
			const uint64_t id = held(data.subspan(i * SECTOR, SECTOR), sector + i);
			const uint64_t hidden = horizon(list, hides);
			const bool fine = std::any_of(list.begin(), list.end(), [&](uint64_t one) {
				return at(one).id == id && at(one).end >= hidden;
			});
			if (fine)
				continue;
			std::string text = "sector " + std::to_string(sector + i) + " holds " +
					   name(id, data.subspan(i * SECTOR, SECTOR)) +
					   ", allowed:";
			for (uint64_t one : list)
				if (at(one).end >= hidden)
					text += " #" + std::to_string(at(one).id);
			return text;
		}
		return {};
	}
	static std::string name(uint64_t id, std::span<const uint8_t> data)
	{
		uint64_t words[3];
		if (id != FOREIGN)
			return "#" + std::to_string(id);
		memcpy(words, data.data(), sizeof(words));
		if (words[0] == MAGIC)
			return "foreign bytes, of #" + std::to_string(words[1]) + " for sector " +
			       std::to_string(words[2]);
		return "foreign bytes";
	}

	/* Forgets what a durable write hides for good, to keep the lists short. */
	void prune(const Version &by)
	{
		for (uint32_t i = 0; i < by.sectors; i++) {
			std::vector<uint64_t> &list = sectors_[by.sector + i];
			const uint64_t hidden = horizon(
				list, [this](const Version &one) { return durable(one); });
			std::erase_if(list, [&](uint64_t one) { return at(one).end < hidden; });
		}
	}

	/* The first stands for what was never written. */
	std::vector<Version> versions_ = { { 0, 0, 0, 0, 0, true, true, false } };
	std::map<uint64_t, std::vector<uint64_t>> sectors_;
	uint64_t clock_ = 0;
	uint64_t next_id_ = 1;
	uint64_t flushed_ = 0;
	unsigned reads_ = 0;
};

/* A device whose every answer is checked against a model. */
class Checked {
public:
	Checked(World &world, Device &device, Model &model)
		: world_(world), device_(&device), model_(model)
	{
	}
	/* After a power cut. */
	void use(Device &device) { device_ = &device; }

	BioPtr write(uint64_t sector, uint32_t sectors, uint8_t flags = 0)
	{
		const uint64_t flush = model_.flush_begin();
		const uint64_t version = model_.write_begin(sector, sectors);
		return track(device_->submit(
			PLOOP_RQ_WRITE, sector, sectors, flags,
			Model::pattern(model_.id_of(version), sector, sectors),
			[this, flush, version, flags](Bio &bio) {
				model_.write_end(version, !bio.error, flags & PLOOP_RQ_FUA);
				model_.flush_end(flush, !bio.error && (flags & BIO_PREFLUSH));
			}));
	}
	BioPtr write_zeroes(uint64_t sector, uint32_t sectors, uint8_t flags = 0)
	{
		return zeros(PLOOP_RQ_WRITE_ZEROES, sector, sectors, flags, false);
	}
	/* A write of data that happens to be zero. */
	BioPtr write_zero_data(uint64_t sector, uint32_t sectors, uint8_t flags = 0)
	{
		return zeros(PLOOP_RQ_WRITE, sector, sectors, flags, false);
	}
	BioPtr discard(uint64_t sector, uint32_t sectors, bool must_read_zero = false)
	{
		return zeros(PLOOP_RQ_DISCARD, sector, sectors, 0, !must_read_zero);
	}
	BioPtr flush()
	{
		const uint64_t begin = model_.flush_begin();
		return track(device_->submit(PLOOP_RQ_FLUSH, 0, 0, 0, {}, [this, begin](Bio &bio) {
			model_.flush_end(begin, !bio.error);
		}));
	}
	BioPtr read(uint64_t sector, uint32_t sectors)
	{
		const uint64_t begin = model_.read_begin();
		return track(device_->submit(PLOOP_RQ_READ, sector, sectors, 0, {},
					     [this, begin](Bio &bio) {
			if (bio.error)
				model_.read_failed();
			else
				note(model_.read_end(begin, bio.sector, bio.data));
		}));
	}
	/* Waits for all that was begun. */
	void wait_all()
	{
		world_.run_until([this] {
			std::erase_if(bios_, [](const BioPtr &bio) { return bio->done; });
			return bios_.empty();
		});
	}
	/* The image was closed in order: what was acknowledged until now is durable. */
	void all_is_durable() { model_.flush_end(model_.flush_begin(), true); }
	/* Reads all of the device after a power cut, and goes on from what it holds. */
	void verify_cut(uint64_t sectors, uint32_t step = 64)
	{
		bios_.clear();
		for (uint64_t at = 0; at < sectors; at += step) {
			const uint32_t count = uint32_t(std::min<uint64_t>(step, sectors - at));
			std::vector<uint8_t> data;
			const int error = device_->read(at, count, data);
			note(error ? "read after the cut: " + std::to_string(error)
				   : model_.check_cut(at, data));
			model_.settle_cut(at, data);
		}
	}
	/* The first that was wrong, or nothing. */
	std::string problem;

private:
	BioPtr track(BioPtr bio)
	{
		if (!bio->done)
			bios_.push_back(bio);
		return bio;
	}
	void note(const std::string &text)
	{
		if (text.empty())
			return;
		world_.trace("WRONG: " + text);
		if (problem.empty())
			problem = text + " at " + std::to_string(world_.now_ms()) + " ms";
	}
	BioPtr zeros(ploop_rq_op op, uint64_t sector, uint32_t sectors, uint8_t flags, bool maybe)
	{
		const uint64_t version = model_.zero_begin(sector, sectors, maybe);
		std::vector<uint8_t> data(op == PLOOP_RQ_WRITE ? sectors * SECTOR : 0);
		return track(device_->submit(op, sector, sectors, flags, std::move(data),
					     [this, version, flags](Bio &bio) {
			model_.write_end(version, !bio.error, flags & PLOOP_RQ_FUA);
		}));
	}

	World &world_;
	Device *device_;
	Model &model_;
	std::vector<BioPtr> bios_;
};

} /* namespace sim */

#endif
