# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# The commands of README.md for one's own machine, as they are written there, and the
# answers that it promises. What is between them, a person does too. Only the first are
# not run: the module is built already, by the compiler that these would install.
. tests/vm/lib.sh

# The indented blocks of two sections, each a file of its own.
BLOCKS=/dev/shm/readme
prepare()
{
	mkdir -p "$BLOCKS" /srv /mnt
	awk -v "dir=$BLOCKS" '
		/^## / { wanted = /^## (On your own machine|Suspending during an outage)$/ }
		wanted && /^    / { if (!inside) n++; print substr($0, 5) >(dir "/" n) }
		{ inside = /^    / }' README.md
	# Who changes them has to see that they are still run.
	if [[ $(ls "$BLOCKS") != "$(seq 12 | sort)" ]]; then
		echo "other blocks than these tests know: $(ls "$BLOCKS" | paste -sd' ')"
		return 1
	fi
	make_host_fs tmpfs 256M /srv
}

# block N WORD: that one, in which this word is, as a person would type it.
block()
{
	grep -qF -- "$2" "$BLOCKS/$1" || die "block $1 is not about $2: $(<"$BLOCKS/$1")"
	bash -euo pipefail "$BLOCKS/$1" </dev/null
}

# What it says to install is what the tests have, except for the headers of the kernel.
test_build()
{
	local package
	local -a packages
	# The headers' name has a command in it.
	read -ra packages < <(sed -n 's/^apt-get install //; s/linux-headers-[^)]*)//p' "$BLOCKS/1")
	((${#packages[@]} > 4)) || die "$(<"$BLOCKS/1")"
	for package in "${packages[@]}"; do
		dpkg -s "$package" >/dev/null 2>&1 || die "no package $package"
	done
	[[ $(sed -n 2p "$BLOCKS/1") == make ]]
}

test_load()
{
	rmmod dm_ploop
	block 2 insmod
	[[ -d /sys/module/dm_ploop ]]
	rmmod dm_ploop
	block 3 'make install'
	[[ -d /sys/module/dm_ploop ]]
	[[ $(modinfo -F filename dm-ploop) == "/lib/modules/$(uname -r)/"*/dm-ploop.ko* ]]
}

test_attach()
{
	local said
	block 4 qemu-img
	cp -r docs /mnt/docs
	umount /mnt
	dmsetup remove disk
	block 5 'exec 5'
	said=$(block 6 'od ')
	[[ ${said//[[:space:]]/ } =~ ^\ *2048\ +2097152$ ]] || die "$said"
	dmsetup remove disk
}

test_use()
{
	local watcher said
	attach disk /srv/disk.hds
	mount /dev/mapper/disk /mnt
	diff -r docs /mnt/docs
	sed -i 's,^scripts/ploop-watch,timeout 5 &,' "$BLOCKS/7"
	said=$(block 7 scripts/ploop-watch 2>&1) || (($? == 124)) || die "$said"
	[[ $said == '0 2097152 ploop 1 v2 2048 o mode=rw used='*WATCHING* ]] || die "$said"
	block 8 'dmsetup wait' >"$BLOCKS/said" &
	watcher=$!
	wait_for 10 grep -q ' ploop ' "$BLOCKS/said"
	fill_fs /srv
	# More than the clusters that it has have room for.
	dd if=/dev/urandom of=/mnt/new bs=1M count=100 conv=fsync 2>/dev/null &
	wait "$watcher"
	wait_for 30 field_is disk mode nospace
	block 12 'dmsetup suspend'
	wait_for 30 field_is disk mode nospace
	free_fs /srv
	block 9 retry_enospc
	wait $!
	[[ $(stat -c %s /mnt/new) == 104857600 ]]
	diff -r docs /mnt/docs
	block 10 umount
	block 11 --readonly
	[[ $(blockdev --getro /dev/mapper/disk) == 1 ]]
	fsck.ext4 -fn /dev/mapper/disk >/dev/null 2>&1 || die 'fsck.ext4'
	dmsetup remove disk
	judge /srv/disk.hds
}

trap 'umount /mnt /srv 2>/dev/null' EXIT
run_suite
