// SPDX-License-Identifier: GPL-2.0
/*
 * Loading and unloading.
 */
#include <linux/module.h>

#include "internal.h"

static int __init ploop_module_init(void)
{
	int error;

	error = pc_module_init();
	if (error)
		return error;

	error = dm_register_target(&ploop_target);
	if (error) {
		DMERR("cannot register the target: %d", error);
		pc_module_exit();
	}
	return error;
}

static void __exit ploop_module_exit(void)
{
	dm_unregister_target(&ploop_target);
	pc_module_exit();
}

module_init(ploop_module_init);
module_exit(ploop_module_exit);

MODULE_DESCRIPTION(DM_NAME " target for ploop images");
MODULE_AUTHOR("The dm-ploop authors");
MODULE_LICENSE("GPL");
