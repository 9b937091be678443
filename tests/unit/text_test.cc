// SPDX-License-Identifier: GPL-2.0
// Texts into fixed buffers, and numbers out of words.
#include <gtest/gtest.h>

#include <climits>
#include <cstring>
#include <random>
#include <string>

#include "core/base/text.h"

namespace ploop {

TEST(Text, Numbers)
{
	char buffer[128];
	Text text(buffer, sizeof(buffer));

	text << 0 << ' ' << -1 << ' ' << INT_MIN << ' ' << INT_MAX << ' ' << uint32_t{0} << ' '
	     << UINT32_MAX << ' ' << UINT64_MAX << ' ' << "end";
	EXPECT_STREQ(buffer, "0 -1 -2147483648 2147483647 0 4294967295 18446744073709551615 end");
	EXPECT_EQ(text.length(), strlen(buffer));
	EXPECT_FALSE(text.was_cut());
}

TEST(Text, CutsWhereItDoesNotFit)
{
	const std::string whole = "size is 18446744073709551615 sectors";

	for (size_t room = 0; room <= whole.size() + 2; room++) {
		// The buffer is exactly as long as it is said to be: ASan sees a byte more.
		std::string buffer(room, 'x');
		Text text(buffer.data(), room);
		text << "size is " << UINT64_MAX << ' ' << "sectors";
		const size_t length = room == 0 ? 0 : std::min(room - 1, whole.size());
		EXPECT_EQ(text.length(), length);
		EXPECT_EQ(text.was_cut(), room <= whole.size());
		EXPECT_EQ(text.has_spare(), room > whole.size() + 1);
		if (room > 0) {
			EXPECT_EQ(std::string(buffer.c_str()), whole.substr(0, length));
		}
	}
}

TEST(Text, EqualAndStarts)
{
	EXPECT_TRUE(text_equal("", ""));
	EXPECT_TRUE(text_equal("off", "off"));
	EXPECT_FALSE(text_equal("off", "off="));
	EXPECT_FALSE(text_equal("off=", "off"));
	EXPECT_FALSE(text_equal("off", "ofF"));
	EXPECT_TRUE(text_starts("off=12", "off="));
	EXPECT_TRUE(text_starts("off=", "off="));
	EXPECT_TRUE(text_starts("x", ""));
	EXPECT_FALSE(text_starts("off", "off="));
	EXPECT_FALSE(text_starts("", "o"));
}

TEST(Text, NumberRejectsAllButDigits)
{
	const char *const bad[] = {"",	  "+1",	 "-1",	" 1", "1 ", "0x1", "1.0", "1k",
				   "one", "1\n", "1,0", "１", "/",  ":",   "-",	  "+"};
	for (const char *word : bad) {
		uint64_t number = 77;
		EXPECT_FALSE(text_number(word, UINT64_MAX, number)) << '"' << word << '"';
		EXPECT_EQ(number, 77u) << "a bad number was stored";
	}
}

TEST(Text, NumberLimits)
{
	uint64_t number = 0;

	EXPECT_TRUE(text_number("18446744073709551615", UINT64_MAX, number));
	EXPECT_EQ(number, UINT64_MAX);
	EXPECT_FALSE(text_number("18446744073709551616", UINT64_MAX, number));
	EXPECT_FALSE(text_number("18446744073709551620", UINT64_MAX, number));
	EXPECT_FALSE(text_number("99999999999999999999", UINT64_MAX, number));
	EXPECT_FALSE(text_number("184467440737095516150", UINT64_MAX, number));
	EXPECT_TRUE(text_number("0000000000000000000000000000000000017", 17, number));
	EXPECT_EQ(number, 17u);
	EXPECT_FALSE(text_number("18", 17, number));
	EXPECT_TRUE(text_number("0", 0, number));
	EXPECT_EQ(number, 0u);
	EXPECT_FALSE(text_number("1", 0, number));
}

// Around every limit, and at random, as the C library has it.
TEST(Text, NumberAgainstTheLibrary)
{
	std::mt19937_64 rng(1);

	for (int i = 0; i < 200000; i++) {
		const uint64_t max = rng() >> rng() % 64;
		const uint64_t near = max + rng() % 5 - 2;
		const uint64_t value = rng() % 2 ? near : rng() >> rng() % 64;
		uint64_t number = 0;
		const bool good = text_number(std::to_string(value).c_str(), max, number);
		ASSERT_EQ(good, value <= max) << value << " of at most " << max;
		if (good) {
			ASSERT_EQ(number, value);
		}
	}
}

} // namespace ploop
