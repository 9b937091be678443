# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# Kinds of requests, and what becomes of the image.
. tests/vm/lib.sh

H=/mnt/io

# /dev/vda has the log of `record`.
prepare() { make_host_fs ext4 /dev/vdc "$H"; }

# device CLUSTER MB: an image, attached as p, and a raw copy of it
device()
{
	make_image "$H/i" "$1" "${2}M"
	truncate -s "${2}M" "$H/raw"
	attach p "$H/i"
}

# device_with_record CLUSTER MB: what is done to `top` makes the raw copy
device_with_record()
{
	device "$@"
	record p
}

# The raw copy is what was done to `top`: both the device and the image have that.
judge_by_record()
{
	recorded "$H/raw" "$H/i"
	mirror /dev/mapper/p "$H/raw" --compare-only
	detach p
	judge "$H/i" "$H/raw"
}

used() { sync /dev/mapper/p; field p used; }
host_kib() { sync -f "$H"; du -k "$H/i" | cut -f 1; }
host_kib_below() { (($(host_kib) < $1)); }

test_request_kinds()
{
	device 64k 24
	mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 150 --longest 2000384 --discard --seed 5
	for file in /dev/mapper/p "$H/raw"; do
		head -c 5120 /dev/zero | tr '\0' x |
			dd "of=$file" bs=512 seek=777 oflag=dsync,direct iflag=fullblock conv=notrunc 2>/dev/null
		# Through the page cache, and not a whole page.
		head -c 3000 /dev/zero | tr '\0' y | dd "of=$file" bs=1000 seek=31 conv=notrunc,fsync 2>/dev/null
	done
	blockdev --flushbufs /dev/mapper/p
	mirror /dev/mapper/p "$H/raw" --compare-only
	detach p
	judge "$H/i" "$H/raw"
}

test_writers_in_one_cluster()
{
	local cluster
	device_with_record 1M 16
	for cluster in 3 8; do
		fio --name=w --filename=/dev/mapper/top --direct=1 --ioengine=libaio --iodepth=8 --numjobs=16 \
			--offset=$((cluster << 20)) --offset_increment=64k --size=64k --rw=randwrite --bs=4k \
			--verify=crc32c --verify_fatal=1 --group_reporting --minimal >/dev/null
	done
	[[ $(used) == 2 ]] || die "used=$(used)"
	judge_by_record
}

test_nowait()
{
	local seed
	device 64k 16
	for seed in 1 2; do
		python3 -BS tests/vm/nowait.py /dev/mapper/p "$H/raw" --seed "$seed"
	done
	mirror /dev/mapper/p "$H/raw" --compare-only
	detach p
	judge "$H/i" "$H/raw"
}

# Space comes back to the host, from any part of the image.
test_discard()
{
	local before
	device_with_record 64k 32
	dd if=/dev/urandom of=/dev/mapper/top bs=1M count=32 oflag=direct 2>/dev/null
	[[ $(used) == 512 ]]
	before=$(host_kib)
	# Less than a cluster frees none; a part of two and all between frees that.
	blkdiscard -o 4096 -l 4096 /dev/mapper/top
	[[ $(used) == 512 ]]
	blkdiscard -o $((1 << 20)) -l 65536 /dev/mapper/top
	[[ $(used) == 511 ]]
	blkdiscard -o $(((2 << 20) - 4096)) -l $(((1 << 20) + 8192)) /dev/mapper/top
	[[ $(used) == 495 ]] || die "used=$(used)"
	# The end of the image too, which a suspend cuts off.
	blkdiscard -o $((16 << 20)) -l $((16 << 20)) /dev/mapper/top
	[[ $(used) == 239 ]] || die "used=$(used)"
	wait_for 20 host_kib_below $((before - 16 * 1024)) || die "$before KiB, and now $(host_kib)"
	judge_by_record
	host_kib_below 17000 || die "$(host_kib) KiB after the detach"
	attach p "$H/i"
	blkdiscard /dev/mapper/p
	[[ $(used) == 0 ]]
	wait_for 20 host_kib_below 1024 || die "all discarded, and $(host_kib) KiB left"
	cmp -n $((32 << 20)) /dev/mapper/p /dev/zero
	detach p
	judge "$H/i"
}

test_write_zeroes()
{
	device 64k 16
	# Zeros where nothing is take no space, unless new clusters are to have it.
	dd if=/dev/zero of=/dev/mapper/p bs=64k count=16 oflag=direct conv=notrunc 2>/dev/null
	fallocate -p -o $((2 << 20)) -l $((1 << 20)) /dev/mapper/p
	[[ $(used) == 0 ]] || die "zeros take $(used) clusters"
	blkdiscard -z -o $((4 << 20)) -l $((1 << 20)) /dev/mapper/p
	[[ $(used) == 0 ]] || die "without unmapping zeros take $(used) clusters"
	dmsetup message p 0 set_falloc_new_clu 1
	blkdiscard -z -o $((4 << 20)) -l $((1 << 20)) /dev/mapper/p
	[[ $(used) == 16 ]] || die "zeros that take space take $(used) clusters"
	dmsetup message p 0 set_falloc_new_clu 0
	fallocate -p -o $((4 << 20)) -l $((1 << 20)) /dev/mapper/p
	[[ $(used) == 0 ]] || die "unmapped zeros take $(used) clusters"
	mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 60 --seed 3
	for file in /dev/mapper/p "$H/raw"; do
		fallocate -z -o 1049088 -l 200192 "$file"
		fallocate -z -n -o $((3 << 20)) -l 131072 "$file"
		fallocate -p -o $((5 << 20)) -l 300032 "$file"
	done
	blkdiscard -z -o 7000064 -l 100352 /dev/mapper/p
	fallocate -z -o 7000064 -l 100352 "$H/raw"
	mirror /dev/mapper/p "$H/raw" --compare-only
	detach p
	judge "$H/i" "$H/raw"
}

# written_for GROUP: bytes that reached the host's disk on the account of that cgroup
written_for()
{
	local disk
	disk=$(</sys/block/vdc/dev)
	awk -v disk="$disk" -F '[ =]' '$1 == disk { bytes = $5 } END { print 0 + bytes }' \
		"/sys/fs/cgroup/$1/io.stat"
}

# What workers write for a request is on the account of its cgroup, if that is wanted.
test_cgroup()
{
	local group option
	echo +io >/sys/fs/cgroup/cgroup.subtree_control
	make_image "$H/i" 64k 16M
	for group in charged not_charged; do
		option=''
		[[ $group == charged ]] || option=nokblkcg
		mkdir -p "/sys/fs/cgroup/$group"
		attach p "$H/i" ${option:+"$option"}
		(
			echo "$BASHPID" >"/sys/fs/cgroup/$group/cgroup.procs"
			# New clusters: none of it in the caller's context.
			dd if=/dev/urandom of=/dev/mapper/p bs=64k count=64 oflag=direct 2>/dev/null
		)
		blkdiscard /dev/mapper/p
		sync /dev/mapper/p
		detach p
	done
	(($(written_for charged) >= 4 << 20)) || die "charged: $(cat /sys/fs/cgroup/charged/io.stat)"
	(($(written_for not_charged) < 4 << 20)) || die "not charged: $(written_for not_charged)"
	judge "$H/i"
}

# An ext4 above reads the blocks of its extent trees under a lock of the same class as
# the ext4 below has. Lockdep, which is looked at, did not tell of it either when they were
# read in the reader's context on purpose: so this shows that they are read right, no more.
test_cold_extent_tree()
{
	local m=/mnt/test/above
	device 64k 64
	mkfs.ext4 -q -b 1024 /dev/mapper/p
	mkdir -p "$m"
	mount /dev/mapper/p "$m"
	# No two blocks of it lie together, so the tree has leaves, and blocks above those.
	python3 -BS - "$m/file" <<-'END'
		import os, sys
		file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
		for block in range(0, 12000, 2):
		    os.pwrite(file, b"x" * 1024, block * 1024)
		os.fsync(file)
	END
	umount "$m"
	blockdev --flushbufs /dev/mapper/p
	dmesg --clear
	mount /dev/mapper/p "$m"
	[[ $(tr -d '\0' <"$m/file" | wc -c) == $((6000 * 1024)) ]]
	umount "$m"
	! dmesg | grep -B 2 -A 10 'possible recursive locking' || die 'lockdep reports'
	detach p
	judge "$H/i"
}

cached_pages() { fincore -n -b -o PAGES "$H/i"; }

# Nothing of the image is in the page cache but what somebody else has read there,
# and that no longer than until the next sync.
test_page_cache_stays_empty()
{
	device 64k 16
	mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 40 --discard --seed 7
	sync /dev/mapper/p
	(($(cached_pages) == 0)) || die "$(cached_pages) pages"
	cat "$H/i" >/dev/null
	(($(cached_pages) > 0)) || die 'nothing was read'
	mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 5 --seed 8
	sync /dev/mapper/p
	(($(cached_pages) == 0)) || die "$(cached_pages) pages after somebody read the image"
	detach p
	(($(cached_pages) == 0)) || die "$(cached_pages) pages after the detach"
	judge "$H/i" "$H/raw"
}

# A field that says nothing to the device: heads, of a geometry.
heads() { header_field "$H/i" 20 4; }

# What others change in the header while the device is suspended stays, on the disk
# or not: it shares a sector with the map, which is written again.
test_header_of_others()
{
	local heads
	device 64k 16
	mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 20 --seed 9
	dm_suspend p
	cat "$H/i" >/dev/null
	printf 'edit' | dd "of=$H/i" bs=1 seek=20 conv=notrunc 2>/dev/null
	heads=$(heads)
	dm_resume p
	# New clusters, of which entries in the first sector have to be written.
	mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 60 --discard --seed 10
	dm_suspend p
	[[ $(heads) == "$heads" ]] || die "it was $heads, and is $(heads)"
	sysctl -qw vm.drop_caches=1
	[[ $(heads) == "$heads" ]] || die "it was $heads, and is $(heads) on the disk"
	dm_resume p
	detach p
	judge "$H/i" "$H/raw"
}

test_limits()
{
	local queue name
	device 1M 16
	queue=/sys/block/$(dmsetup info -c --noheadings -o blkdevname p)/queue
	for name in logical_block_size:512 discard_granularity:1048576 minimum_io_size:512 \
		optimal_io_size:1048576 write_cache:'write back' fua:1 stable_writes:0; do
		[[ $(<"$queue/${name%%:*}") == "${name#*:}" ]] || die "${name%%:*} is $(<"$queue/${name%%:*}")"
	done
	(($(<"$queue/discard_max_bytes") >= 1 << 20 && $(<"$queue/write_zeroes_max_bytes") >= 1 << 20))
	detach p
	judge "$H/i"
}

run_suite
