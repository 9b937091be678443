// SPDX-License-Identifier: GPL-2.0
#include "format/extension.h"

namespace ploop {

namespace {

void put_hex(Text &text, uint64_t number)
{
	text << "0x";
	for (int shift = 60; shift >= 0; shift -= 4)
		text << "0123456789abcdef"[number >> shift & 15];
}

} // namespace

Status check_feature(const FeatureHeader &feature, Text &error)
{
	if (feature.magic == kFeatureDirtyBitmap || (feature.flags & kFeatureNecessary) == 0)
		return {};
	error << "format extension has the feature ";
	put_hex(error, feature.magic);
	error << ", which is not known and must not be ignored: use a read-only table, or the "
		 "program that made it";
	return Status::error(kEOPNOTSUPP);
}

} // namespace ploop
