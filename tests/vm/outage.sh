# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# The host file system runs full below a mounted file system, and gets space
# again: nobody above notices more than a pause.
. tests/vm/lib.sh

HOST=/mnt/test/host
IMAGE=$HOST/i
M=/mnt/test/above
RAW=/dev/shm/raw
# The file system above has the first part of the device; what is behind it is
# written once, to be overwritten during the outage.
FS_MB=160 BEHIND_MB=168 SIZE_MB=192
# Seconds for what takes few.
LONG=30

# set_up FS [OPTION...]: a host file system with an image, and what is above.
set_up()
{
	local what=/dev/vdb
	if [[ $1 == tmpfs ]]; then what=300M; fi
	make_host_fs "$1" "$what" "$HOST"
	make_image "$IMAGE" 256k "${SIZE_MB}M"
	set_up_above "${@:2}"
}

# set_up_above [OPTION...]: a file system on the device, and a file in that.
set_up_above()
{
	watch_log
	rm -f "$RAW"
	attach p "$IMAGE" "$@"
	record p
	mkfs.ext4 -q -E lazy_itable_init=0 /dev/mapper/top "${FS_MB}M"
	mkdir -p "$M"
	mount /dev/mapper/top "$M"
	dd if=/dev/urandom of=/dev/shm/new bs=1M count=24 2>/dev/null
	dd if=/dev/urandom "of=$M/old" bs=1M count=4 2>/dev/null
	dd if=/dev/urandom of=/dev/mapper/top bs=1M count=1 "seek=$BEHIND_MB" oflag=direct conv=notrunc 2>/dev/null
	sync -f "$M"
}

# Fills the host; the rest is write_without_space.
begin_outage()
{
	fill_fs "$HOST"
	write_without_space
}

# Starts a writer that needs more space than the host has; it is known as $writer.
# Ends when the device has noticed.
write_without_space()
{
	dd if=/dev/shm/new "of=$M/new" bs=1M conv=fsync 2>/dev/null &
	writer=$!
	wait_for "$LONG" field_is p mode nospace || die "no outage: $(dm_status p --noflush)"
	(($(field p parked) > 0)) || die "nothing parked: $(dm_status p --noflush)"
	kill -0 "$writer" || die 'the writer did not wait'
}

writer_ends() { not_running "$writer"; }

# The writer has ended without an error, within so many seconds.
writer_finishes()
{
	wait_for "$1" writer_ends || die "the writer still waits: $(dm_status p --noflush)"
	wait "$writer" || die "the writer failed"
	wait_for 5 field_is p mode rw || die "still $(field p mode)"
	cmp /dev/shm/new "$M/new"
}

# All is as it was written, above and below.
take_down()
{
	local checksum
	checksum=$(cat "$M/old" "$M/new" | sha256sum)
	umount "$M"
	recorded "$RAW" "$IMAGE"
	mount -o ro /dev/mapper/p "$M"
	[[ $(cat "$M/old" "$M/new" | sha256sum) == "$checksum" ]] || die 'the data differs'
	umount "$M"
	fsck.ext4 -fn /dev/mapper/p >/dev/null 2>&1 || die 'fsck.ext4'
	mirror /dev/mapper/p "$RAW" --compare-only
	detach p
	judge "$IMAGE" "$RAW"
	rm "$RAW"
	no_error_logged
}

# behind read|write: some of the mapped data behind the file system, within 2 s.
behind()
{
	local -a where=("of=/dev/mapper/top" "seek=$((BEHIND_MB * 256))" "if=/dev/urandom")
	if [[ $1 == read ]]; then where=("if=/dev/mapper/top" "skip=$((BEHIND_MB * 256))" "of=/dev/null"); fi
	local flag=oflag
	if [[ $1 == read ]]; then flag=iflag; fi
	timeout $((2 * SLOW)) dd "${where[@]}" bs=4k count=8 "$flag=direct" conv=notrunc 2>/dev/null ||
		die "$1 of mapped data waits"
}

# The whole story, on one kind of host.
story()
{
	local number before waiter
	set_up "$1"
	number=$(event_nr p)
	dmsetup wait --noflush p "$number" >/dev/null &
	waiter=$!
	begin_outage
	wait_for 5 not_running "$waiter" || die 'dmsetup wait still waits'
	wait "$waiter"
	(($(event_nr p) > number))
	[[ $(dm_status p --noflush) == *' event_ENOSPC' ]] || die "$(dm_status p --noflush)"
	# Once, until something new happens. Nobody has freed anything: a probe that
	# fails again may tell so.
	before=$(field p enospc_events)
	[[ $(dm_message p get_event) == event_ENOSPC ]]
	if [[ -n $(dm_message p get_event) ]]; then (($(field p enospc_events) > before)); fi
	behind read
	# A file system that copies on write has no space for an overwrite either.
	[[ $1 == btrfs ]] || behind write
	cmp -n 65536 <(timeout $((2 * SLOW)) dd "if=$M/old" bs=64k count=1 iflag=direct 2>/dev/null) "$M/old"
	kill -0 "$writer" || die 'the writer did not wait'
	free_fs "$HOST"
	writer_finishes "$LONG"
	sync -f "$M"
	judge_suspended p "$IMAGE"
	take_down
}

test_ext4() { story ext4; }
test_xfs() { story xfs; }
test_btrfs() { story btrfs; }
test_tmpfs() { story tmpfs; }

test_retry_at_once()
{
	set_up ext4 enospc_retry_ms=60000
	begin_outage
	free_fs "$HOST"
	sleep 1
	kill -0 "$writer" || die 'it did not wait for the timer'
	dm_message p retry_enospc
	writer_finishes $((LONG / 6))
	take_down
}

# A quota is an end of space like another. Root has to obey it if it may not do
# without, and it is the constructor's right that counts.
test_quota()
{
	modprobe quota_v2 2>/dev/null || true
	HOST_FS_OPTIONS=prjquota make_host_fs ext4 /dev/vdb "$HOST" -O quota,project -E quotatype=prjquota
	mkdir "$HOST/limited"
	chattr -p 42 +P "$HOST/limited"
	make_image "$HOST/limited/i" 256k "${SIZE_MB}M"
	local table
	table=$(image_table "$HOST/limited/i")
	echo "$table" | setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \
		dmsetup create p --noudevsync --noudevrules
	dmsetup mknodes p
	need_block p
	dd if=/dev/urandom of=/dev/shm/data bs=1M count=32 2>/dev/null
	dd if=/dev/shm/data of=/dev/mapper/p bs=1M count=8 oflag=direct 2>/dev/null
	setquota -P 42 0 16384 0 0 "$HOST"
	dd if=/dev/shm/data of=/dev/mapper/p bs=1M oflag=direct conv=fsync 2>/dev/null &
	writer=$!
	wait_for "$LONG" field_is p mode nospace || die "no outage: $(dm_status p --noflush)"
	kill -0 "$writer" || die 'the writer did not wait'
	setquota -P 42 0 0 0 0 "$HOST"
	wait_for "$LONG" writer_ends || die 'the writer still waits'
	wait "$writer" || die 'the writer failed'
	cmp -n $((32 << 20)) /dev/shm/data /dev/mapper/p
	truncate -s "${SIZE_MB}M" /dev/shm/data
	detach p
	judge "$HOST/limited/i" /dev/shm/data
	rm /dev/shm/data
}

# A table is swapped while writes wait: they are the next table's then.
test_table_swap()
{
	set_up ext4
	begin_outage
	for _ in 1 2; do
		dm_suspend p --noflush --nolockfs
		dm_load p "$(image_table "$IMAGE")"
		dm resume p --noflush
		wait_for 10 field_is p mode nospace || die "no outage any more: $(dm_status p --noflush)"
		kill -0 "$writer" || die 'the writer did not wait'
	done
	(($(field p enospc_events) >= 3)) || die "enospc_events=$(field p enospc_events)"
	free_fs "$HOST"
	writer_finishes "$LONG"
	take_down
}

test_remove_force()
{
	local began checksum
	set_up ext4
	checksum=$(sha256sum <"$M/old")
	begin_outage
	began=$SECONDS
	# It is open, so it stays, as a device of which every request fails.
	timeout 20 dmsetup remove --force --noudevsync --noudevrules p >/dev/null 2>&1 || true
	((SECONDS - began <= 5)) || die "it took $((SECONDS - began)) s"
	# ext4 writes its superblock for each page that it gives up.
	wait_for "$LONG" writer_ends || die 'the writer still waits'
	if wait "$writer"; then die 'the writer knows of no error'; fi
	umount "$M"
	dm_remove top
	dm_remove p
	# What was acknowledged is there.
	free_fs "$HOST"
	check_image "$IMAGE"
	attach p "$IMAGE"
	fsck.ext4 -fy /dev/mapper/p >/dev/null 2>&1 || (($? <= 1)) || die 'fsck.ext4'
	fsck.ext4 -fn /dev/mapper/p >/dev/null 2>&1 || die 'fsck.ext4 again'
	mount -o ro /dev/mapper/p "$M"
	[[ $(sha256sum <"$M/old") == "$checksum" ]] || die 'what was durable differs'
	umount "$M"
	detach p
	judge "$IMAGE"
}

# low_has MIB: the block device below is so large.
low_has()
{
	echo "0 $(($1 * 2048)) linear /dev/vdb 0" | dm load low
	dm resume --noflush --nolockfs low
}

noticed_again() { (($(field p enospc_events) > $1)) && field_is p mode nospace; }

# A block device has as much space as it is long: a discard above makes some, and
# whoever makes it longer. What is there then must not be seen above.
test_block_device()
{
	local free events
	IMAGE=/dev/mapper/low
	dmsetup create low --notable --noudevsync --noudevrules
	low_has 100
	dmsetup mknodes low
	make_image /dev/shm/i 256k "${SIZE_MB}M"
	dd if=/dev/shm/i of=/dev/mapper/low bs=1M conv=fsync 2>/dev/null
	rm /dev/shm/i
	head -c $((40 << 20)) /dev/zero | tr '\0' x |
		dd of=/dev/vdb bs=1M seek=100 iflag=fullblock oflag=direct 2>/dev/null
	set_up_above
	# Behind what is overwritten during the outage, something to be discarded.
	dd if=/dev/urandom of=/dev/mapper/top bs=1M count=8 seek=$((BEHIND_MB + 4)) oflag=direct \
		conv=notrunc 2>/dev/null
	free=$((100 - $(field p used) / 4))
	((free > 12)) || die "only $free MiB are free"
	dd if=/dev/urandom "of=$M/filler" bs=1M count=$((free - 8)) conv=fsync 2>/dev/null
	write_without_space
	behind read
	behind write
	events=$(field p enospc_events)
	blkdiscard -f -o $(((BEHIND_MB + 4) << 20)) -l $((8 << 20)) /dev/mapper/top
	wait_for "$LONG" noticed_again "$events" ||
		die "not released by the discard: $(dm_status p --noflush)"
	kill -0 "$writer" || die 'the writer did not wait'
	low_has 140
	writer_finishes "$LONG"
	take_down
}

run_suite
