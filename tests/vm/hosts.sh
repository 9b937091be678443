# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# A file system on a device whose image lies on each kind of host.
. tests/vm/lib.sh

HOST=/mnt/test/host
M=/mnt/test/above

sums() { (cd "$M" && find . -type f -exec sha256sum {} + | sort); }

# tree IMAGE: a tree of files on the device survives being detached.
tree()
{
	local image=$1 before raw=/dev/shm/raw
	rm -f "$raw"
	attach p "$image"
	record p
	mkfs.ext4 -q /dev/mapper/top
	mkdir -p "$M"
	mount /dev/mapper/top "$M"
	cp -r src include tests "$M"
	dd if=/dev/urandom "of=$M/large" bs=1M count=6 2>/dev/null
	rm -r "$M/tests"
	cp -r tests "$M/again"
	sync -f "$M"
	before=$(sums)
	judge_suspended p "$image"
	umount "$M"
	recorded "$raw" "$image"
	detach p
	judge "$image" "$raw"

	attach p "$image"
	record p
	fsck.ext4 -fn /dev/mapper/top >/dev/null 2>&1 || die 'fsck.ext4'
	mount -o discard /dev/mapper/top "$M"
	[[ $(sums) == "$before" ]] || die 'the files differ'
	rm -r "$M/again"
	sync -f "$M"
	fstrim "$M"
	umount "$M"
	recorded "$raw" "$image"
	fsck.ext4 -fn /dev/mapper/p >/dev/null 2>&1 || die 'fsck.ext4 after fstrim'
	mirror /dev/mapper/p "$raw" --compare-only
	detach p
	judge "$image" "$raw"
	rm "$raw"
}

# expect_stable_pages 0|1: does the device ask that pages under write stay as they are?
expect_stable_pages()
{
	local is
	is=$(cat "/sys/block/$(dmsetup info -c --noheadings -o blkdevname p)/queue/stable_writes")
	[[ $is == "$1" ]] || die "stable_writes is $is, not $1"
}

on()
{
	local what=/dev/vdc
	if [[ $1 == tmpfs ]]; then what=300M; fi
	make_host_fs "$1" "$what" "$HOST"
	make_image "$HOST/i" "$2" 64M
	tree "$HOST/i"
	umount "$HOST"
}

test_ext4() { on ext4 1M; }
test_xfs() { on xfs 64k; }
test_btrfs() { on btrfs 256k; }
test_tmpfs() { on tmpfs 1M; }

# with_flags FLAGS: a device whose image is a descriptor of these flags, which are open()'s.
with_flags()
{
	local flags=$1 image=$HOST/above/i
	rm -f "$image"
	make_image "$image" 64k 8M
	truncate -s 8M /dev/shm/raw
	python3 -BS tests/vm/descriptor.py "$flags" "$image" -- dmsetup create p --noudevsync \
		--noudevrules --table "0 16384 ploop 7 9" || die "$flags: no device"
	mirror /dev/mapper/p /dev/shm/raw --cluster 65536 --ops 20 --discard
	detach p
	judge "$image" /dev/shm/raw || die "$flags"
	rm /dev/shm/raw
}

# A descriptor's flags are for its owner's reads and writes. An overlay opens the file below
# with the flags of the file above, and does as they say.
test_flags_of_a_descriptor()
{
	local flags
	make_host_fs ext4 /dev/vdc "$HOST"
	mkdir "$HOST"/{lower,upper,work,above}
	mount -t overlay -o "lowerdir=$HOST/lower,upperdir=$HOST/upper,workdir=$HOST/work" \
		overlay "$HOST/above"
	for flags in APPEND DIRECT SYNC APPEND,DIRECT,DSYNC,NONBLOCK; do with_flags "$flags"; done
	umount "$HOST/above"
	umount "$HOST"
}

# stamps FILE: its time stamps, to the nanosecond
stamps() { stat -c '%y %z' "$1"; }

fsync_device() { python3 -BSc 'import os; os.fsync(os.open("/dev/mapper/p", os.O_RDWR))'; }

# Writing sets no time stamps, which would cost each tick's first write a transaction; the next
# commit does, once.
test_time_stamps()
{
	local fs before
	for fs in ext4 xfs; do
		make_host_fs "$fs" /dev/vdc "$HOST"
		make_image "$HOST/i" 64k 16M
		attach p "$HOST/i"
		dd if=/dev/urandom of=/dev/mapper/p bs=64k count=8 oflag=direct conv=fsync 2>/dev/null
		# Overwrites leave nothing to be committed in the background.
		before=$(stamps "$HOST/i")
		for _ in 1 2 3; do
			nap 0.05
			dd if=/dev/urandom of=/dev/mapper/p bs=4k count=8 oflag=direct conv=notrunc 2>/dev/null
		done
		[[ $(stamps "$HOST/i") == "$before" ]] || die "$fs: a write has set the time stamps"
		fsync_device
		[[ $(stamps "$HOST/i") > "$before" ]] || die "$fs: a commit has not set the time stamps"
		before=$(stamps "$HOST/i")
		nap 0.05
		fsync_device
		[[ $(stamps "$HOST/i") == "$before" ]] || die "$fs: nothing was written"
		dd if=/dev/urandom of=/dev/mapper/p bs=4k count=8 oflag=direct conv=notrunc 2>/dev/null
		detach p
		[[ $(stamps "$HOST/i") > "$before" ]] || die "$fs: the last commit has not set the time stamps"
		umount "$HOST"
	done
}

test_stable_pages()
{
	local fs stable
	for fs in btrfs ext4; do
		stable=0
		[[ $fs != btrfs ]] || stable=1
		make_host_fs "$fs" /dev/vdc "$HOST"
		make_image "$HOST/i" 1M 16M
		attach p "$HOST/i"
		expect_stable_pages "$stable"
		dm_load p "$(image_table "$HOST/i")"
		dm_resume p
		expect_stable_pages "$stable"
		detach p
		judge "$HOST/i"
		umount "$HOST"
	done
	make_image /dev/shm/i 1M 16M
	dd if=/dev/shm/i of=/dev/vdc bs=1M conv=fsync 2>/dev/null
	for stable in 1 0; do
		echo "$stable" >/sys/block/vdc/queue/stable_writes
		attach p /dev/vdc
		expect_stable_pages "$stable"
		detach p
		judge /dev/vdc
	done
}

test_block_device()
{
	make_image /dev/shm/i 1M 64M
	wipefs -qa /dev/vdc
	blkdiscard -z -l 80M /dev/vdc
	dd if=/dev/shm/i of=/dev/vdc bs=1M conv=fsync 2>/dev/null
	tree /dev/vdc
}

# in_use DEVICE: nobody else can have it to themselves.
in_use()
{
	if mkswap "$1" >/dev/null 2>&1; then return 1; fi
	python3 -BSc 'import os, sys
try:
	os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)
except OSError as error:
	sys.exit(error.errno != 16)
sys.exit(1)' "$1"
}

# A device that holds an image is the mapped device's own, for as long as a table names it.
test_block_device_is_claimed()
{
	local table
	make_image /dev/shm/i 1M 16M
	wipefs -qa /dev/vdc
	dd if=/dev/shm/i of=/dev/vdc bs=1M conv=fsync 2>/dev/null
	# A constructor that fails keeps nothing.
	if dm_create p '0 32768 ploop 7 /dev/vdc' 2>/dev/null; then die 'another cluster size'; fi
	if in_use /dev/vdc; then die 'in use, and there is no table'; fi
	dd if=/dev/shm/i of=/dev/vdc bs=1M conv=fsync 2>/dev/null

	table=$(image_table /dev/vdc)
	dm_create p "$table"
	in_use /dev/vdc || die 'not claimed'
	if mkfs.ext4 -q /dev/vdc </dev/null 2>/dev/null; then die 'mkfs'; fi
	if wipefs -a /dev/vdc >/dev/null 2>&1; then die 'wipefs'; fi
	[[ $(dmsetup deps -o devname p) == *'(vdc)'* ]] || die "$(dmsetup deps -o devname p)"
	[[ $(lsblk -nro TYPE,NAME /dev/vdc) == *'dm p'* ]] || die "$(lsblk -nro TYPE,NAME /dev/vdc)"
	# Two tables share it, and either keeps it.
	dm_load p "$table"
	dm_resume p
	in_use /dev/vdc || die 'not claimed after a swap'
	dm_load p "$table"
	dmsetup clear p
	in_use /dev/vdc || die 'not claimed after a clear'
	exec 9<>/dev/vdc
	dm_load p '0 32768 ploop 11 9'
	exec 9>&-
	dm_resume p
	in_use /dev/vdc || die 'not claimed by a descriptor'
	dd if=/dev/urandom of=/dev/mapper/p bs=1M count=3 oflag=direct conv=fsync 2>/dev/null
	detach p
	judge /dev/vdc

	blockdev --setro /dev/vdc
	if dm_create p "$table" 2>/dev/null; then die 'writable, of a device that is not'; fi
	dm_create p "$table" --readonly
	in_use /dev/vdc || die 'not claimed by a read-only table'
	detach p
	blockdev --setrw /dev/vdc
	judge /dev/vdc
	if in_use /dev/vdc; then die 'still in use'; fi

	# What another has for itself is not shared.
	make_host_fs ext4 /dev/vdc "$HOST"
	watch_log
	if dm_create p '0 32768 ploop 11 /dev/vdc' 2>/dev/null; then die 'it is mounted'; fi
	dmesg | grep -q 'ploop: delta /dev/vdc: in use' || die "$(dmesg)"
	umount "$HOST"
}

# The debug kernel needs several times as long.
NEIGHBOURS=$([[ ${KERNEL:-} == debug ]] && echo 15 || echo 120)

# on_4k_blocks IMAGE: requests of single sectors, where the host takes whole blocks.
on_4k_blocks()
{
	attach p "$1"
	[[ $(blockdev --getss /dev/mapper/p) == 512 ]]
	python3 -BS tests/vm/neighbours.py /dev/mapper/p --pairs 24 --rounds "$NEIGHBOURS"
	python3 -BS tests/vm/parts.py /dev/mapper/p --rounds "$NEIGHBOURS"
	dd if=/dev/mapper/p of=/dev/shm/raw bs=1M iflag=direct conv=sparse 2>/dev/null
	truncate -s 16M /dev/shm/raw
	mirror /dev/mapper/p /dev/shm/raw --cluster 65536 --ops 40 --discard
	detach p
	judge "$1" /dev/shm/raw
	rm /dev/shm/raw
}

# loop_of_4k_blocks: a device of 400 MiB in memory, whose name it sets `loop` to.
loop_of_4k_blocks()
{
	modprobe loop
	truncate -s 400M /dev/shm/disk
	loop=$(losetup -f --show -b 4096 /dev/shm/disk)
	[[ $(blockdev --getss "$loop") == 4096 ]] || die 'no loop device of 4 KiB blocks'
}

# pattern FIRST COUNT: to sectors of the device and of the raw copy
pattern()
{
	head -c $(($2 * 512)) /dev/urandom >"/dev/shm/data-$1"
	dd "if=/dev/shm/data-$1" of=/dev/mapper/p bs=$(($2 * 512)) seek=$(($1 * 512)) \
		oflag=direct,seek_bytes conv=notrunc 2>/dev/null
	dd "if=/dev/shm/data-$1" of=/dev/shm/raw bs=$(($2 * 512)) seek=$(($1 * 512)) \
		oflag=seek_bytes conv=notrunc 2>/dev/null
	rm "/dev/shm/data-$1"
}

# A frozen host keeps writes waiting, those of parts of its blocks too, and nobody else.
test_frozen()
{
	local loop i
	local -a writers=()
	loop_of_4k_blocks
	make_host_fs ext4 "$loop" "$HOST"
	make_image "$HOST/i" 64k 16M
	truncate -s 16M /dev/shm/raw
	attach p "$HOST/i"
	for i in 0 1 2 3; do pattern $((i * 128)) 128; done
	sync /dev/mapper/p
	trap 'fsfreeze -u "$HOST" 2>/dev/null' EXIT
	fsfreeze -f "$HOST"
	# Parts of blocks, whole blocks, what needs a new cluster.
	for i in 1 9 17 200; do pattern "$i" 1 & writers+=($!); done
	for i in 64 136 1024; do pattern "$i" 8 & writers+=($!); done
	nap 2
	for i in "${writers[@]}"; do kill -0 "$i" || die 'a write ended on a frozen host'; done
	for i in 40 41 136 300 5000; do
		timeout $((20 * SLOW)) dd if=/dev/mapper/p of=/dev/null bs=512 count=1 skip="$i" \
			iflag=direct 2>/dev/null || die "a read of sector $i does not end"
	done
	timeout $((20 * SLOW)) dd if=/dev/mapper/p of=/dev/null bs=64k count=4 iflag=direct \
		2>/dev/null || die 'a read does not end'
	timeout $((20 * SLOW)) dmsetup status p --noflush >/dev/null || die 'the status does not come'
	fsfreeze -u "$HOST"
	trap - EXIT
	for i in "${writers[@]}"; do wait "$i"; done
	mirror /dev/mapper/p /dev/shm/raw --compare-only
	detach p
	judge "$HOST/i" /dev/shm/raw
	umount "$HOST"
	losetup -d "$loop"
	rm /dev/shm/disk /dev/shm/raw
}

test_4k_blocks()
{
	local loop fs
	loop_of_4k_blocks
	make_image /dev/shm/i 64k 16M
	dd if=/dev/shm/i "of=$loop" bs=1M conv=fsync 2>/dev/null
	# What is written takes its time, so that others come while it is on its way.
	modprobe dm-delay
	dm_create slow "0 $(blockdev --getsz "$loop") delay $loop 0 0 $loop 0 4"
	on_4k_blocks /dev/mapper/slow
	dm_remove slow
	for fs in ext4 xfs; do
		make_host_fs "$fs" "$loop" "$HOST"
		make_image "$HOST/i" 64k 16M
		on_4k_blocks "$HOST/i"
		umount "$HOST"
	done
	losetup -d "$loop"
	rm /dev/shm/disk /dev/shm/i
}

run_suite
