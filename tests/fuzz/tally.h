// SPDX-License-Identifier: GPL-2.0
// What a fuzz target has seen, told at its end: fuzzing that never met an
// outcome has not tested it. scripts/fuzz reads the lines.
#ifndef TESTS_FUZZ_TALLY_H
#define TESTS_FUZZ_TALLY_H

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

namespace fuzz {

class Tally {
public:
	Tally(const char *name, const char *const *outcomes, size_t count)
		: name_(name), outcomes_(outcomes), count_(count)
	{
	}
	Tally(const Tally &) = delete;
	Tally &operator=(const Tally &) = delete;
	~Tally()
	{
		for (size_t i = 0; i < count_; i++)
			fprintf(stderr, "tally %s: %llu %s\n", name_,
				static_cast<unsigned long long>(seen_[i]), outcomes_[i]);
	}

	void count(const char *outcome)
	{
		for (size_t i = 0; i < count_; i++)
			seen_[i] += strcmp(outcomes_[i], outcome) == 0;
	}

	// All outcomes that stand in the text.
	void count_in(const std::string &text)
	{
		for (size_t i = 0; i < count_; i++)
			seen_[i] += text.find(outcomes_[i]) != std::string::npos;
	}

private:
	static constexpr size_t kMost = 64;

	const char *const name_;
	const char *const *const outcomes_;
	const size_t count_;
	uint64_t seen_[kMost] = {};
};

} // namespace fuzz

#endif
