// SPDX-License-Identifier: GPL-2.0
// Long rows of bits, and the chunked memory below them, against plain vectors.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/base/bitmap.h"
#include "sim/host.h"

namespace ploop {

namespace {

uint64_t naive_find(const std::vector<bool> &bits, bool value, uint64_t from, uint64_t end)
{
	for (uint64_t i = from; i < end; i++) {
		if (bits[i] == value)
			return i;
	}
	return end;
}

uint64_t naive_find_last(const std::vector<bool> &bits)
{
	for (uint64_t i = bits.size(); i > 0; i--) {
		if (bits[i - 1])
			return i - 1;
	}
	return bits.size();
}

void compare(const Bitmap &bitmap, const std::vector<bool> &model, std::mt19937_64 &rng)
{
	const uint64_t length = model.size();

	ASSERT_EQ(bitmap.length(), length);
	ASSERT_EQ(bitmap.find_last(), naive_find_last(model));
	for (int i = 0; i < 20; i++) {
		const bool value = rng() % 2;
		const uint64_t a = rng() % (length + 1), b = rng() % (length + 1);
		const uint64_t from = std::min(a, b), end = std::max(a, b);
		ASSERT_EQ(bitmap.find(value, from, end), naive_find(model, value, from, end))
			<< value << " in " << from << " to " << end << " of " << length;
	}
}

} // namespace

TEST(Bitmap, AgainstANaiveOne)
{
	sim::World world;
	std::mt19937_64 rng(1);

	for (uint64_t length : {1, 2, 63, 64, 65, 127, 128, 129, 1000, 4096, 4097}) {
		Bitmap bitmap;
		std::vector<bool> model(length);
		ASSERT_TRUE(bitmap.allocate(length).ok());
		for (int step = 0; step < 400; step++) {
			const uint64_t i = rng() % length;
			// Long runs of equal bits, as space has them, and single ones.
			const uint64_t run =
				std::min<uint64_t>(length - i, rng() % 2 ? 1 : rng() % 200);
			const bool value = rng() % 2;
			for (uint64_t k = i; k < i + run; k++) {
				value ? bitmap.set(k) : bitmap.clear(k);
				model[k] = value;
				ASSERT_EQ(bitmap.test(k), value);
			}
			compare(bitmap, model, rng);
		}
		bitmap.clear_all();
		compare(bitmap, std::vector<bool>(length), rng);
	}
}

TEST(Bitmap, EveryRangeOfAShortOne)
{
	sim::World world;
	constexpr uint64_t kLength = 130;

	for (uint64_t bit = 0; bit < kLength; bit++) {
		Bitmap bitmap;
		std::vector<bool> model(kLength);
		ASSERT_TRUE(bitmap.allocate(kLength).ok());
		bitmap.set(bit);
		model[bit] = true;
		EXPECT_EQ(bitmap.find_last(), bit);
		for (uint64_t from = 0; from <= kLength; from++)
			for (uint64_t end = from; end <= kLength; end++)
				for (bool value : {false, true})
					ASSERT_EQ(bitmap.find(value, from, end),
						  naive_find(model, value, from, end));
	}
}

TEST(Bitmap, AcrossChunks)
{
	sim::World world;
	Bitmap bitmap;
	constexpr uint64_t kChunkBits = PLOOP_ALLOC_MAX * 8;
	constexpr uint64_t kLength = 3 * kChunkBits + 5;

	ASSERT_TRUE(bitmap.allocate(kLength).ok());
	EXPECT_EQ(bitmap.find_last(), kLength);
	EXPECT_EQ(bitmap.find(true, 0, kLength), kLength);
	for (uint64_t bit : {kLength - 1, 2 * kChunkBits, 2 * kChunkBits - 1, kChunkBits,
			     kChunkBits - 1, uint64_t{0}}) {
		bitmap.set(bit);
		EXPECT_EQ(bitmap.find(true, 0, kLength), bit);
		EXPECT_EQ(bitmap.find_last(), kLength - 1);
	}
	EXPECT_EQ(bitmap.find(true, 1, kLength), kChunkBits - 1);
	EXPECT_EQ(bitmap.find(false, kChunkBits - 1, kLength), kChunkBits + 1);
	EXPECT_EQ(bitmap.find(true, kChunkBits + 1, 2 * kChunkBits - 1), 2 * kChunkBits - 1);
}

TEST(Bitmap, OfNoBits)
{
	sim::World world;
	Bitmap bitmap;

	ASSERT_TRUE(bitmap.allocate(0).ok());
	EXPECT_EQ(bitmap.length(), 0u);
	EXPECT_EQ(bitmap.find(true, 0, 0), 0u);
	EXPECT_EQ(bitmap.find_last(), 0u);
}

TEST(Bitmap, Swap)
{
	sim::World world;
	Bitmap a, b;

	ASSERT_TRUE(a.allocate(10).ok());
	ASSERT_TRUE(b.allocate(500).ok());
	b.set(400);
	a.swap(b);
	EXPECT_EQ(a.length(), 500u);
	EXPECT_EQ(a.find_last(), 400u);
	EXPECT_EQ(b.length(), 10u);
	EXPECT_EQ(b.find_last(), 10u);
}

TEST(ChunkedArray, EveryFailingAllocationIsToldAndLeaksNothing)
{
	sim::World world;

	for (uint64_t nth = 1; nth <= 4; nth++) {
		ChunkedArray<uint64_t> array;
		world.fail_nth({.calls = sim::CALL_ALLOC, .nth = nth});
		EXPECT_EQ(array.allocate(2 * PLOOP_ALLOC_MAX / 8 + 1).code(), -kENOMEM);
		world.clear_faults();
	}
	ChunkedArray<uint64_t> array;
	EXPECT_EQ(array.allocate(ChunkedArray<uint64_t>::kLongest + 1).code(), -kEFBIG);
	ASSERT_TRUE(array.allocate(2 * PLOOP_ALLOC_MAX / 8 + 1).ok());
	for (size_t i = 0; i < array.length(); i++)
		ASSERT_EQ(array[i], 0u);
}

} // namespace ploop
