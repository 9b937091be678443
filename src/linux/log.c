// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's log, in device-mapper's form: "device-mapper: ploop: dm-3: ...".
 */
#include "internal.h"

void ph_log(struct ploop_host *host, enum ploop_log level, const char *text)
{
	switch (level) {
	case PLOOP_LOG_ERROR:
		DMERR("%s: %s", host->name, text);
		break;
	case PLOOP_LOG_WARNING:
		/* An outage may flap: one line of many tells as much. */
		DMWARN_LIMIT("%s: %s", host->name, text);
		break;
	case PLOOP_LOG_INFO:
		DMINFO("%s: %s", host->name, text);
		break;
	}
}

void ph_broken(const char *text)
{
	WARN_ONCE(1, "dm-ploop: this must always hold, and does not: %s\n", text);
}
