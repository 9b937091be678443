// SPDX-License-Identifier: GPL-2.0
// Text into a fixed buffer: always NUL-terminated, cut where it does not fit.
#pragma once

#include "base/types.h"

namespace ploop {

class Text {
public:
	Text(char *buffer, size_t bytes) : buffer_(buffer), room_(bytes)
	{
		if (room_ > 0)
			buffer_[0] = '\0';
	}

	Text &operator<<(char c)
	{
		if (length_ + 1 < room_) {
			buffer_[length_++] = c;
			buffer_[length_] = '\0';
		} else {
			cut_ = true;
		}
		return *this;
	}

	Text &operator<<(const char *text)
	{
		for (; *text != '\0'; text++)
			*this << *text;
		return *this;
	}

	Text &operator<<(uint64_t number)
	{
		char digits[20];
		unsigned int n = 0;
		do {
			digits[n++] = static_cast<char>('0' + number % 10);
			number /= 10;
		} while (number != 0);
		while (n > 0)
			*this << digits[--n];
		return *this;
	}

	Text &operator<<(uint32_t number) { return *this << static_cast<uint64_t>(number); }
	Text &operator<<(int number)
	{
		if (number < 0)
			*this << '-';
		return *this << static_cast<uint64_t>(number < 0 ? -static_cast<int64_t>(number)
								 : static_cast<int64_t>(number));
	}

	size_t length() const { return length_; }
	bool was_cut() const { return cut_; }
	// Is there room for one more character? device-mapper takes a reply that
	// fills its buffer for one that did not fit.
	bool has_spare() const { return length_ + 1 < room_; }

private:
	char *buffer_;
	size_t room_;
	size_t length_ = 0;
	bool cut_ = false;
};

bool text_equal(const char *a, const char *b);
bool text_starts(const char *text, const char *start);
// A decimal number of at most @max, and nothing else; false if it is not.
bool text_number(const char *text, uint64_t max, uint64_t &number);

} // namespace ploop
