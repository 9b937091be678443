// SPDX-License-Identifier: GPL-2.0
// The words of the core: numbers that must not be mixed up are types of their
// own, errors are values that may not be ignored.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ploop {

// A number of one kind. Two kinds do not convert into each other; raw() is the
// way out, and is meant to be seen in a review.
template <class Tag, class Number>
class Strong {
public:
	constexpr Strong() = default;
	constexpr explicit Strong(Number number) : number_(number) {}
	constexpr Number raw() const { return number_; }
	constexpr bool operator==(const Strong &) const = default;

private:
	Number number_ = 0;
};

// A cluster as the device's user counts them.
using VirtualCluster = Strong<struct VirtualClusterTag, uint32_t>;
// A cluster of an image file, counted from its start; the first ones hold the BAT.
using FileCluster = Strong<struct FileClusterTag, uint32_t>;
// Names a delta of a stack for as long as it is open, wherever it stands in the order.
using DeltaId = Strong<struct DeltaIdTag, uint8_t>;

// Linux' errno values that the core gives or understands, as positive numbers.
enum Errno : int {
	kENOENT = 2,
	kEINTR = 4,
	kEIO = 5,
	kEBADF = 9,
	kEAGAIN = 11,
	kENOMEM = 12,
	kEACCES = 13,
	kEBUSY = 16,
	kEXDEV = 18,
	kEINVAL = 22,
	kEFBIG = 27,
	kENOSPC = 28,
	kEROFS = 30,
	kEBADSLT = 57,
	kENODATA = 61,
	kELOOP = 40,
	kEPROTO = 71,
	kEOPNOTSUPP = 95,
};

// 0, or a negative errno. A class, so that ignoring one does not compile.
class [[nodiscard]] Status {
public:
	constexpr Status() = default;
	static constexpr Status from(int64_t result)
	{
		return Status(result < 0 ? static_cast<int>(result) : 0);
	}
	static constexpr Status error(Errno code) { return Status(-static_cast<int>(code)); }
	constexpr bool ok() const { return code_ == 0; }
	constexpr bool no_space() const { return code_ == -kENOSPC; }
	// Of the moment: the same may succeed when it is tried again.
	constexpr bool passes() const { return code_ == -kENOMEM || code_ == -kEINTR; }
	constexpr int code() const { return code_; }

private:
	constexpr explicit Status(int code) : code_(code) {}
	int code_ = 0;
};

#define PLOOP_TRY(expression)                                              \
	do {                                                               \
		if (::ploop::Status status_ = (expression); !status_.ok()) \
			return status_;                                    \
	} while (0)

template <class Number>
constexpr Number min_of(Number a, Number b)
{
	return b < a ? b : a;
}

template <class Number>
constexpr Number max_of(Number a, Number b)
{
	return a < b ? b : a;
}

template <class Number>
constexpr Number ceil_div(Number a, Number b)
{
	return static_cast<Number>(a / b + (a % b != 0 ? 1 : 0));
}

} // namespace ploop
