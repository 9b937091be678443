// SPDX-License-Identifier: GPL-2.0
#include "base/text.h"

namespace ploop {

bool text_equal(const char *a, const char *b)
{
	for (; *a != '\0' && *a == *b; a++, b++) {
	}
	return *a == *b;
}

bool text_starts(const char *text, const char *start)
{
	for (; *start != '\0'; text++, start++) {
		if (*text != *start)
			return false;
	}
	return true;
}

bool text_number(const char *text, uint64_t max, uint64_t &number)
{
	uint64_t value = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		const uint64_t digit = static_cast<uint64_t>(*text - '0');
		if (value > (max - digit) / 10 || digit > max)
			return false;
		value = value * 10 + digit;
	}
	number = value;
	return true;
}

} // namespace ploop
