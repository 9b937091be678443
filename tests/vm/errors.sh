# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# Errors from below: they reach the request that met them, and a map that cannot
# be written is the end of all writing. The image is on a block device of which
# any part can be made to fail.
. tests/vm/lib.sh

LOW=/dev/vdb
CLUSTER=128 # sectors
M=/mnt/test/above
RAW=/dev/shm/raw

# set_up MAPPED: an image of 256 clusters of 64 KiB on the device `low`, of which
# the first MAPPED are mapped, in order. RAW has what is acknowledged.
set_up()
{
	python3 -BS tests/image/make_image.py make /dev/shm/i 16M --cluster 64K --data \
		--bat "$(seq 0 $(($1 - 1)) | awk '{ printf "%s%d:%d", sep, $1, $1 + 1; sep = "," }')"
	qemu-img convert -f parallels -O raw /dev/shm/i "$RAW"
	dd if=/dev/shm/i "of=$LOW" bs=64k conv=fsync 2>/dev/null
	rm /dev/shm/i
	low_sectors=$(blockdev --getsz "$LOW")
	dm_create low "0 $low_sectors linear $LOW 0"
	dm_create p "0 32768 ploop 7 /dev/mapper/low"
}

# low_fails FIRST COUNT TARGET...: these sectors of `low` get another target, of
# which the words are given; "DEV" in them stands for the device and the offset.
low_fails()
{
	local first=$1 count=$2 end words
	shift 2
	end=$((first + count))
	words=${*//DEV/$LOW $first}
	{
		((first == 0)) || echo "0 $first linear $LOW 0"
		echo "$first $count $words"
		echo "$end $((low_sectors - end)) linear $LOW $end"
	} | dm load low
	dm suspend --noflush --nolockfs low
	dm resume low
}

low_works()
{
	echo "0 $low_sectors linear $LOW 0" | dm load low
	dm suspend --noflush --nolockfs low
	dm resume low
}

WRITES_FAIL='flakey DEV 0 60 1 error_writes'

read_cluster() { dd if=/dev/mapper/p of=/dev/null bs=64k skip="$1" count=1 iflag=direct 2>&1; }
write_cluster()
{
	head -c 65536 /dev/urandom >/dev/shm/data
	dd if=/dev/shm/data of=/dev/mapper/p bs=64k seek="$1" oflag=direct conv=notrunc 2>&1 || return
	dd if=/dev/shm/data "of=$RAW" bs=64k seek="$1" conv=notrunc 2>/dev/null
}
flush() { dd if=/dev/null of=/dev/mapper/p count=0 conv=fsync,notrunc 2>&1; }

# must_fail COMMAND...: with EIO
must_fail()
{
	local said
	if said=$("$@"); then die "$* succeeded"; fi
	[[ $said == *'Input/output error'* ]] || die "$*: $said"
}

test_data_error_is_its_request_s()
{
	set_up 16
	low_fails $((5 * CLUSTER)) "$CLUSTER" error # file cluster 5: virtual cluster 4
	must_fail read_cluster 4
	must_fail write_cluster 4
	for cluster in 3 5; do
		read_cluster "$cluster" >/dev/null
		write_cluster "$cluster" >/dev/null
	done
	flush >/dev/null
	write_cluster 20 >/dev/null # and a new one
	flush >/dev/null
	field_is p mode rw
	low_works
	mirror /dev/mapper/p "$RAW" --compare-only
	detach p
	judge /dev/mapper/low "$RAW"
}

# The first write of a new cluster fails: it is not mapped, and what it may have
# left there is never seen.
test_first_write_error()
{
	set_up 4
	low_fails $((5 * CLUSTER)) $((3 * CLUSTER)) "$WRITES_FAIL"
	must_fail write_cluster 10
	field_is p mode rw
	cmp -n 65536 -i $((10 * 65536)):0 /dev/mapper/p /dev/zero
	low_works
	for file in /dev/mapper/p "$RAW"; do
		head -c 4096 /dev/zero | tr '\0' z | dd "of=$file" bs=4k seek=160 conv=notrunc,fsync 2>/dev/null
	done
	mirror /dev/mapper/p "$RAW" --compare-only
	detach p
	judge /dev/mapper/low "$RAW"
}

# The mark of an image that was not closed is for user space to clear, once it has checked.
clear_mark() { printf '\0\0\0\0' | dd of=/dev/mapper/low bs=1 seek=44 conv=notrunc,fsync 2>/dev/null; }

test_map_error_is_the_end_of_writing()
{
	local number lines
	set_up 4
	number=$(event_nr p)
	dmesg --clear
	low_fails 0 "$CLUSTER" "$WRITES_FAIL"
	write_cluster 9 >/dev/null # not in the map's file yet
	must_fail flush
	field_is p mode failed || die "$(dm_status p)"
	(($(event_nr p) > number))
	must_fail flush
	must_fail write_cluster 11
	must_fail write_cluster 1
	for cluster in 0 1 2 3; do read_cluster "$cluster" >/dev/null; done
	lines=$(dmesg | grep -c "device-mapper: ploop: $(dmsetup info -c --noheadings -o blkdevname p): the map could not be written")
	[[ $lines == 1 ]] || die "logged $lines times"
	# It does not heal by itself, nor by a flush that finds nothing to do.
	low_works
	must_fail flush
	must_fail write_cluster 1
	detach p
	# A new device on the image knows nothing of that.
	dm_create p '0 32768 ploop 7 /dev/mapper/low'
	write_cluster 9 >/dev/null
	flush >/dev/null
	mirror /dev/mapper/p "$RAW" --compare-only
	detach p
	python3 -BS tests/image/check_image.py --in-use-ok --quiet /dev/mapper/low
	clear_mark
	judge /dev/mapper/low "$RAW"
}

fsync_file() { dd if=/dev/urandom "of=$M/$1" bs=64k count=4 conv=fsync 2>&1; }

# device-mapper drops the error of a flush before a write: the write must tell.
# A page of the map that could not be written is tried again, and the device goes on by
# itself when it could be.
test_page_error_heals()
{
	set_up 4
	write_cluster 9 >/dev/null
	flush >/dev/null
	# device-mapper sends no flush to the target `error`, so that no sync fails.
	low_fails 0 "$CLUSTER" error
	blkdiscard -o $((3 * 65536)) -l 65536 /dev/mapper/p
	dd if=/dev/zero "of=$RAW" bs=64k seek=3 count=1 conv=notrunc 2>/dev/null
	must_fail flush
	must_fail write_cluster 1
	field_is p mode rw || die "$(dm_status p)"
	dmesg | grep -q 'the map cannot be written now, error -5' || die 'not logged'
	for cluster in 0 1 2 3 9; do read_cluster "$cluster" >/dev/null; done
	low_works
	wait_for 30 flush || die "it does not heal: $(dm_status p)"
	write_cluster 1 >/dev/null
	write_cluster 10 >/dev/null
	flush >/dev/null
	detach p
	judge /dev/mapper/low "$RAW"
}

test_fsync_above_fails()
{
	local said checksum
	set_up 1
	dm_remove p
	make_image /dev/shm/i 64k 64M
	dd if=/dev/shm/i "of=$LOW" bs=64k conv=fsync 2>/dev/null
	rm /dev/shm/i
	blockdev --flushbufs /dev/mapper/low
	dm_create p '0 131072 ploop 7 /dev/mapper/low'
	mkfs.ext4 -q -E lazy_itable_init=0 /dev/mapper/p
	mkdir -p "$M"
	mount /dev/mapper/p "$M"
	fsync_file old >/dev/null
	checksum=$(sha256sum <"$M/old")
	# No flush is sent there, so that no sync fails, the pool's of clean clusters neither.
	low_fails 0 "$CLUSTER" error
	if fsync_file new >/dev/null; then die 'fsync succeeded'; fi
	# A page of the map could not be written: it is tried again, and nothing else is.
	field_is p mode rw || die "$(dm_status p)"
	if fsync_file newer >/dev/null; then die 'a later fsync succeeded'; fi
	# Whether the file system above still opens files is its own affair; and a direct
	# read would first write what is dirty above, which fails.
	said=$(timeout 20 dd if=/dev/mapper/p of=/dev/null bs=64k 2>&1) ||
		die "a read: $said"
	umount "$M"
	detach p
	# What an fsync has promised before is there.
	low_works
	python3 -BS tests/image/check_image.py --in-use-ok --leak-ok --quiet /dev/mapper/low
	dm_create p '0 131072 ploop 7 /dev/mapper/low'
	fsck.ext4 -fy /dev/mapper/p >/dev/null 2>&1 || (($? <= 1)) || die 'fsck.ext4'
	fsck.ext4 -fn /dev/mapper/p >/dev/null 2>&1 || die 'fsck.ext4 again'
	mount -o ro /dev/mapper/p "$M"
	[[ $(sha256sum <"$M/old") == "$checksum" ]] || die 'what was durable differs'
	umount "$M"
	detach p
	clear_mark
	judge /dev/mapper/low
}

run_suite
