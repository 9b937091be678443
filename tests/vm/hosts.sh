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
	local image=$1 before
	attach p "$image"
	mkfs.ext4 -q /dev/mapper/p
	mkdir -p "$M"
	mount /dev/mapper/p "$M"
	cp -r src include tests "$M"
	dd if=/dev/urandom "of=$M/large" bs=1M count=6 2>/dev/null
	rm -r "$M/tests"
	cp -r tests "$M/again"
	sync -f "$M"
	before=$(sums)
	umount "$M"
	detach p
	judge "$image"

	attach p "$image"
	fsck.ext4 -fn /dev/mapper/p >/dev/null 2>&1 || die 'fsck.ext4'
	mount -o discard /dev/mapper/p "$M"
	[[ $(sums) == "$before" ]] || die 'the files differ'
	rm -r "$M/again"
	sync -f "$M"
	fstrim "$M"
	umount "$M"
	fsck.ext4 -fn /dev/mapper/p >/dev/null 2>&1 || die 'fsck.ext4 after fstrim'
	dd if=/dev/mapper/p of=/dev/shm/raw bs=1M iflag=direct conv=sparse 2>/dev/null
	truncate -s 64M /dev/shm/raw
	detach p
	judge "$image" /dev/shm/raw
	rm /dev/shm/raw
}

stable_pages() { cat "/sys/block/$(dmsetup info -c --noheadings -o blkdevname p)/queue/stable_writes"; }

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

test_stable_pages()
{
	local fs
	for fs in btrfs ext4; do
		make_host_fs "$fs" /dev/vdc "$HOST"
		make_image "$HOST/i" 1M 16M
		attach p "$HOST/i"
		[[ $(stable_pages) == $([[ $fs == btrfs ]] && echo 1 || echo 0) ]] || die "$fs: $(stable_pages)"
		dm_load p "$(image_table "$HOST/i")"
		dm_resume p
		[[ $(stable_pages) == $([[ $fs == btrfs ]] && echo 1 || echo 0) ]] || die "$fs: reload"
		detach p
		umount "$HOST"
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

run_suite
