// SPDX-License-Identifier: GPL-2.0
// Error texts as the tests see them: which words must stand in one.
#ifndef TESTS_UNIT_WORDS_H
#define TESTS_UNIT_WORDS_H

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/base/text.h"
#include "ploop/target.h"

namespace ploop {

// A text of the size that the contract gives to a constructor's error.
struct ErrorText {
	std::string str() const { return buffer; }

	char buffer[PLOOP_ERROR_BYTES];
	Text text{buffer, sizeof(buffer)};
};

// An error must be this errno, and its text must name all of these: the field,
// and the value that it has.
inline void expect_error(Status status, const ErrorText &error, Errno code,
			 const std::vector<std::string> &words)
{
	EXPECT_EQ(status.code(), -code) << error.str();
	for (const std::string &word : words)
		EXPECT_NE(error.str().find(word), std::string::npos)
			<< "\"" << error.str() << "\" does not name " << word;
	EXPECT_FALSE(error.text.was_cut()) << error.str();
}

inline void expect_good(Status status, const ErrorText &error)
{
	EXPECT_TRUE(status.ok()) << error.str();
	EXPECT_EQ(error.str(), "");
}

} // namespace ploop

#endif
