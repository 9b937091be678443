# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# Devices on images on devices: what one waits for, another must not hold. A processor that
# does not come back is told by the kernel's watchdogs, which the console is searched for.
. tests/vm/lib.sh

H=/mnt/nested
TIME=30
((!${LONG_RUN:-0})) || TIME=1800

# level NAME FS MB: an image of that size on a file system of that kind on the device that
# was made last; it becomes the last.
last=/dev/vdc
levels=()
level()
{
	make_host_fs "$2" "$last" "$H/$1"
	make_image "$H/$1/i" 64k "${3}M"
	attach "$1" "$H/$1/i"
	last=/dev/mapper/$1
	levels=("$1" ${levels[@]+"${levels[@]}"})
}

test_three_levels()
{
	local name status=0
	level bottom ext4 1600
	level middle ext4 1200
	level top xfs 512
	fio --minimal --name=load --filename="$last" --direct=1 --ioengine=libaio --iodepth=16 \
		--rw=randrw --bsrange=4k-64k --size=480M --fsync=32 --time_based --runtime="$TIME" \
		--verify=crc32c --verify_fatal=1 --verify_backlog=200 --randrepeat=0 \
		>"$H/fio" 2>&1 || status=$?
	((status == 0)) || { tail -n 5 "$H/fio"; die "fio: status $status"; }
	for name in "${levels[@]}"; do
		field_is "$name" mode rw
		detach "$name"
		judge "$H/$name/i"
		umount "$H/$name"
	done
}

TEST_TIMEOUT=$((TIME * 2 + 600)) run_suite
