// SPDX-License-Identifier: GPL-2.0
// Messages, and what they change.
#include "target/target.h"

namespace ploop {

int Target::image_name(Text &reply)
{
	constexpr size_t kPathBytes = 4096;
	char *path = static_cast<char *>(ph_alloc(kPathBytes));

	if (path == nullptr)
		return -kENOMEM;
	const int error = ph_file_path(stack_.top().file(), path, kPathBytes);
	if (error == 0)
		reply << path << '\n';
	ph_free(path);
	return error == 0 ? 1 : error;
}

int Target::message(unsigned int argc, char **argv, Text &reply)
{
	uint64_t number = 0;

	if (argc < 1)
		return -kEINVAL;
	if (text_equal(argv[0], "get_event"))
		return argc == 1 ? get_event(reply) : -kEINVAL;
	if (text_equal(argv[0], "retry_enospc")) {
		if (argc != 1)
			return -kEINVAL;
		inbox_.signal(kSignalRetryNow);
		return 0;
	}
	if (text_equal(argv[0], "set_falloc_new_clu")) {
		if (argc != 2 || !text_number(argv[1], 1, number))
			return -kEINVAL;
		policy_.fallocate_new.store_relaxed(number != 0);
		inbox_.signal(kSignalClean);
		return 0;
	}
	if (text_equal(argv[0], "get_img_name")) {
		if (argc != 2 || !text_number(argv[1], ~uint64_t{0} / 16, number))
			return -kEINVAL;
		if (number != 0)
			return 1; // an empty reply: there is no such level
		return image_name(reply);
	}
	return change_policy(argc, argv).code();
}

// Each of these acts at once on what waits.
Status Target::change_policy(unsigned int argc, char **argv)
{
	uint64_t number = 0;
	const bool one_word = argc == 1;
	const bool number_follows = argc == 2 && text_number(argv[1], ~0u, number);

	if (text_equal(argv[0], "enospc_retry_ms")) {
		if (!number_follows || number == 0 || number > kRetryMsMax)
			return Status::error(kEINVAL);
		policy_.retry_ms.store_relaxed(static_cast<uint32_t>(number));
		inbox_.signal(kSignalRetryNow);
	} else if (text_equal(argv[0], "enospc_timeout_s")) {
		if (!number_follows || number > kTimeoutSMax)
			return Status::error(kEINVAL);
		policy_.timeout_s.store_relaxed(static_cast<uint32_t>(number));
		inbox_.signal(kSignalExpire);
	} else if (text_equal(argv[0], "low_water")) {
		if (!number_follows || number > kLowWaterMibMax)
			return Status::error(kEINVAL);
		low_space_.set_mark_mib(static_cast<uint32_t>(number));
		inbox_.signal(kSignalSpace);
	} else if (text_equal(argv[0], "error_if_no_space") ||
		   text_equal(argv[0], "queue_if_no_space")) {
		if (!one_word)
			return Status::error(kEINVAL);
		policy_.error_if_no_space.store_relaxed(text_starts(argv[0], "error"));
		inbox_.signal(kSignalPolicy);
	} else {
		return Status::error(kEOPNOTSUPP);
	}
	return {};
}

int Target::get_event(Text &reply)
{
	const EventLine<HostAtomics> lines[] = {
		{alarm_.events().enospc, "event_ENOSPC\n"},
		{alarm_.events().lowspace, "event_LOWSPACE\n"},
	};

	return tell_events(lines, reply) ? 1 : 0;
}

} // namespace ploop
