# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# After the power came back: each of the disks is as it may have been then.
# /run/share/last has the last acknowledged record of each.
. tests/vm/lib.sh

H=''
HOST=/mnt/test/host
M=/mnt/test/above

# survives DISK LAST
survives()
{
	local image=$HOST/i
	modprobe ext4
	mkdir -p "$HOST" "$M"
	mount -t ext4 "/dev/$1" "$HOST"
	python3 -BS tests/image/check_image.py --quiet --in-use-ok --leak-ok "$image" || die 'check_image'
	attach p "$image"
	mount /dev/mapper/p "$M"
	python3 -BS tests/vm/powercut.py judge "$M/records" "$2" || die "a record is lost"
	if [[ ${3:-} ]]; then return; fi
	umount "$M"
	fsck.ext4 -fn /dev/mapper/p >/dev/null 2>&1 || die 'fsck.ext4'
	# Of what was under way nobody knows what has to be there. The records have their
	# own contents; this only tells whether qemu reads the same as the target.
	dd if=/dev/mapper/p of=/dev/shm/raw bs=1M iflag=direct conv=sparse 2>/dev/null
	truncate -s 128M /dev/shm/raw
	detach p
	# The mark that the crash left is for user space to clear, which has checked now.
	printf '\0\0\0\0' | dd "of=$image" bs=1 seek=44 conv=notrunc 2>/dev/null
	judge "$image" /dev/shm/raw
	rm /dev/shm/raw
	umount "$HOST"
}

while read -r disk last how; do
	eval "test_after_${how}_at_record_${last}_of_$disk() { survives $disk $last; }"
	TESTS+=" after_${how}_at_record_${last}_of_$disk"
done </run/share/last

# Whoever promises more than was acknowledged must be found out.
test_the_judge_sees_a_lost_record()
{
	local disk last
	read -r disk last _ </run/share/last
	if (survives "$disk" $((last + 1000)) only) 2>/dev/null; then die 'it was not missed'; fi
}
TESTS+=' the_judge_sees_a_lost_record'

run_suite
