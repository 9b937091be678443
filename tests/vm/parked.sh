# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# Writes that wait for space, on bare devices: many of them, their timeout and
# their policy, and what becomes of them when somebody suspends, swaps, removes.
# The host is a tmpfs, which is full at once, but for one test.
. tests/vm/lib.sh

HOST=/mnt/test/host
M=/mnt/test/above
RAW=/dev/shm/parked.raw
SAYS=/dev/shm/parked.says
HOLD=/dev/shm/parked.hold
CLUSTER=32768
# So many are mapped from the beginning.
MAPPED=32
# How often what should never go wrong is tried.
MANY=10
if [[ ${KERNEL:-} == debug ]]; then MANY=$((${LONG_RUN:-0} ? 100 : 20)); fi

# ---- the device and its host ----

# set_up MIB CLUSTERS [OPTION...]: a host of that size, and the device p on it
set_up()
{
	rm -f "$RAW" "$SAYS"* "$HOLD"
	make_host_fs tmpfs "$1M" "$HOST"
	make_image "$HOST/i" 32k $(($2 * CLUSTER))
	truncate -s $(($2 * CLUSTER)) "$RAW"
	attach p "$HOST/i" "${@:3}"
	map_some
}

map_some()
{
	dd if=/dev/urandom "of=$RAW" bs=$CLUSTER count=$MAPPED conv=notrunc 2>/dev/null
	dd "if=$RAW" of=/dev/mapper/p bs=$CLUSTER count=$MAPPED oflag=direct conv=fsync 2>/dev/null
}

free_bytes() { echo $(($(stat -f -c %f "$HOST") * $(stat -f -c %S "$HOST"))); }

# leave MIB: that much is free in the host, without a moment of more or less.
leave()
{
	local fill=$HOST/.fill now wanted
	touch "$fill"
	now=$(stat -c %s "$fill")
	wanted=$((now + $(free_bytes) - ($1 << 20)))
	if ((wanted > now)); then fallocate -l "$wanted" "$fill"; else truncate -s "$wanted" "$fill"; fi
}

fill_host()
{
	leave 0
	(($(free_bytes) == 0)) || die "$(free_bytes) bytes are free"
}

free_host() { rm "$HOST/.fill"; }

# What p has is what was acknowledged, and so has its image.
take_down()
{
	mirror /dev/mapper/p "$RAW" --compare-only
	detach p
	judge "$HOST/i" "$RAW"
	rm "$RAW"
}

# ---- the writes: see parked.py ----

# write N FIRST [OPTION...]: in the background, into clusters from FIRST on
write()
{
	count=$1
	rm -f "$SAYS"
	python3 -BS tests/vm/parked.py /dev/mapper/p "$RAW" "$SAYS" --writes "$1" --cluster "$CLUSTER" \
		--first "$2" "${@:3}" &
	writer=$!
}

all_parked()
{
	[[ -e $SAYS || -d /proc/$writer ]] || die 'the writer has failed'
	field_is p parked "$count"
}

# The probe is away for a moment now and then.
parked()
{
	wait_for 30 all_parked ||
		die "${1:-}not $count are parked: $(dm_status p --noflush) $(cat "$SAYS" 2>/dev/null)"
}

# park N FIRST [OPTION...]: they all wait
park() { write "$@"; parked; }

still_waiting() { [[ ! -e $SAYS ]] || die "they have ended: $(<"$SAYS")"; }

said()
{
	local words
	words=" $(<"$SAYS")"
	[[ $words == *" $1="* ]] || return 0
	words=${words#*" $1="}
	printf '%s\n' "${words%% *}"
}
have_ended() { [[ -e $SAYS ]]; }

# end SECONDS HOW: all end so within that time, which is generous: a busy machine may need
# seconds before the writer runs. What is exact is counted from the submission.
end()
{
	wait_for "$1" have_ended || die "they still wait: $(dm_status p --noflush)"
	[[ $(said "$2") == "$count" ]] || die "not all $2: $(<"$SAYS")"
	[[ -e $HOLD ]] || wait "$writer"
}

# ended_between MS MS: the first and the last, counted from their submission
ended_between()
{
	(($(said earliest_ms) >= $1)) || die "too early: $(<"$SAYS")"
	(($(said latest_ms) <= $2)) || die "too late: $(<"$SAYS")"
}

# There is space now, and it is used.
all_is_well()
{
	free_host
	dm_message p retry_enospc
	write 20 "$1"
	end 10 ok
	field_is p mode rw || die "$(dm_status p --noflush)"
	take_down
}

# ---- how many ----

# What the kernel has allocated for itself.
kernel_kib() { awk '/^(SUnreclaim|VmallocUsed|PageTables|Percpu):/ { sum += $2 } END { print sum }' "$1"; }
available_kib() { awk '/^MemAvailable:/ { print $2 }' "$1"; }
tasks() { ps -e --no-headers | wc -l; }

# mapped read|write: some of what is mapped, without a wait
mapped()
{
	if [[ $1 == read ]]; then
		timeout $((2 * SLOW)) dd if=/dev/mapper/p of=/dev/shm/some bs=4k count=64 iflag=direct 2>/dev/null ||
			die 'a read of mapped data waits'
		cmp -n 262144 /dev/shm/some "$RAW"
	else
		dd if=/dev/urandom of=/dev/shm/some bs=64k count=4 2>/dev/null
		dd if=/dev/shm/some "of=$RAW" bs=64k conv=notrunc 2>/dev/null
		timeout $((2 * SLOW)) dd if=/dev/shm/some of=/dev/mapper/p bs=4k oflag=direct 2>/dev/null ||
			die 'an overwrite of mapped data waits'
	fi
	rm /dev/shm/some
}

test_ten_thousand()
{
	local before kernel available most=20000
	[[ ${KERNEL:-} != debug ]] || most=40000
	set_up 64 10100
	fill_host
	before=$(tasks)
	park 10000 64
	kernel=$(($(kernel_kib /proc/meminfo) - $(kernel_kib "$SAYS.before")))
	available=$(($(available_kib "$SAYS.before") - $(available_kib /proc/meminfo)))
	echo "# 10000 parked: $kernel KiB of the kernel's, $available KiB less available"
	# Each is two bios, a split's books and the submitter's request: one KiB, and
	# as much again for who debugs the kernel. The writer itself takes a few MiB.
	((kernel < most && available < most + 8192)) || die "$kernel and $available KiB"
	(($(tasks) - before < 30)) || die "$(tasks) tasks, before $before"
	mapped read
	mapped write
	mapped read
	parked
	still_waiting
	free_host
	dm_message p retry_enospc
	end 30 ok
	take_down
}

# ---- timeout and policy ----

test_timeout()
{
	set_up 16 256 enospc_timeout_s=5
	fill_host
	write 50 64
	end 15 ENOSPC
	ended_between 5000 $((7000 + 1000 * SLOW))
	[[ $(dm_message p get_event) == event_ENOSPC ]] || die 'no event'
	wait_for 5 field_is p mode rw || die "$(dm_status p --noflush)"
	field_is p parked 0
	field_is p enospc_errors 50 || die "$(dm_status p --noflush)"
	all_is_well 64
}

test_error_if_no_space()
{
	set_up 16 256 error_if_no_space
	fill_host
	write 50 64
	end 30 ENOSPC
	ended_between 0 $((2000 * SLOW))
	[[ $(dm_message p get_event) == event_ENOSPC ]] || die 'no event'
	dm_message p queue_if_no_space
	park 50 64
	sleep 1
	still_waiting
	dm_message p error_if_no_space
	end 10 ENOSPC
	dm_message p queue_if_no_space
	park 50 128
	sleep 1
	still_waiting
	free_host
	dm_message p retry_enospc
	end 10 ok
	take_down
}

test_timeout_message()
{
	set_up 16 256
	fill_host
	# They have waited longer than that already.
	park 50 64
	sleep 3
	still_waiting
	dm_message p enospc_timeout_s 2
	end 10 ENOSPC
	# And these have not.
	dm_message p enospc_timeout_s 0
	park 50 64
	dm_message p enospc_timeout_s $((4 * SLOW))
	end 12 ENOSPC
	ended_between $((4000 * SLOW)) $((7000 * SLOW))
	all_is_well 64
}

# ---- suspend ----

# swap_table TABLE: as one should
swap_table()
{
	dm_suspend p --noflush --nolockfs
	dm_load p "$1"
	dm resume p --noflush
}

# Every tenth swap they get their space, and are compared; others wait then. On the
# debug kernel, where that takes half a minute, it is every twentieth.
test_swap_noflush()
{
	local table i n each=10
	if [[ ${KERNEL:-} == debug ]]; then each=20; fi
	set_up 64 $((64 + 10 * MANY))
	table=$(image_table "$HOST/i")
	for ((n = 0; n < MANY; n += each)); do
		fill_host
		park 100 $((64 + 10 * n))
		for i in 1 2; do
			swap_table "$table"
			parked "after swap $((n + i)): "
		done
		python3 -BS tests/vm/dm.py swap p "$table" --times $((each - 2)) --limit $((30 * SLOW))
		still_waiting
		(($(field p enospc_events) > n + each)) || die "enospc_events=$(field p enospc_events)"
		free_host
		end 30 ok
		mirror /dev/mapper/p "$RAW" --compare-only
	done
	take_down
}

# To more of the image than before, and, once they wait there, to less again.
test_swap_to_bigger()
{
	local bigger
	set_up 16 512
	bigger=$(image_table "$HOST/i")
	detach p
	dm_create p "${bigger/ $((512 * 64)) / $((256 * 64)) }"
	fill_host
	park 100 64
	swap_table "$bigger"
	parked
	[[ $(blockdev --getsz /dev/mapper/p) == $((512 * 64)) ]] || die "$(blockdev --getsz /dev/mapper/p)"
	still_waiting
	free_host
	end 30 ok
	take_down
}

test_swap_to_errors()
{
	set_up 16 256
	fill_host
	park 100 64
	swap_table "0 $(blockdev --getsz /dev/mapper/p) error"
	end 10 EIO
	swap_table "$(image_table "$HOST/i")"
	all_is_well 64
}

is_suspended() { [[ $(dmsetup info -c --noheadings -o suspended "$1") == Suspended ]]; }

# Device-mapper keeps what waits, for a table that can be resumed.
test_resume_fails()
{
	set_up 16 256
	make_image "$HOST/j" 32k $((256 * CLUSTER))
	attach q "$HOST/j"
	fill_host
	park 100 64
	if swap_table "$(image_table "$HOST/j")" 2>/dev/null; then die 'an image is used twice'; fi
	is_suspended p || die 'p is not suspended'
	sleep 1
	still_waiting
	dm_load p "$(image_table "$HOST/i")"
	dm resume p --noflush
	parked
	detach q
	check_image "$HOST/j"
	free_host
	end 10 ok
	take_down
}

# It must finish all writes, and says how many it could not.
test_flush_suspend()
{
	local said
	set_up 16 256
	fill_host
	park 50 64
	dmesg --clear
	timeout $((30 * SLOW)) dmsetup suspend --noudevsync p || die "suspend: status $?"
	end 15 ENOSPC
	said=$(dmesg | grep ENOSPC)
	[[ $said == *': 50 requests ended with ENOSPC; dmsetup suspend --noflush --nolockfs keeps them' &&
		$said != *$'\n'* ]] || die "the log: $said"
	dm_resume p
	all_is_well 64
}

# set_up_block: the image is on a block device, `low`, which has room for 63 of its
# 256 clusters. A read that waits for `low` keeps p busy.
set_up_block()
{
	rm -f "$RAW" "$SAYS"* "$HOLD"
	make_image /dev/shm/i 32k $((256 * CLUSTER))
	dd if=/dev/shm/i of=/dev/vdb bs=1M conv=fsync 2>/dev/null
	rm /dev/shm/i
	truncate -s $((256 * CLUSTER)) "$RAW"
	dm_create low "0 $((64 * CLUSTER / 512)) linear /dev/vdb 0"
	dm_create p "0 $((256 * CLUSTER / 512)) ploop 6 /dev/mapper/low"
	map_some
}

# Reads under way in p, of which `low` has none.
reads() { read -r under_way _ <"/sys/block/$1/inflight" && ((under_way == 1)); }

# A suspend that has to wait for a read, and is told to give up.
interrupt_a_suspend()
{
	local reader suspender
	dm_suspend low --noflush --nolockfs
	dd if=/dev/mapper/p of=/dev/null bs=$CLUSTER count=1 iflag=direct 2>/dev/null &
	reader=$!
	wait_for 10 reads "$(dmsetup info -c --noheadings -o blkdevname p)" || die 'no read'
	dmsetup suspend --noflush --nolockfs --noudevsync p 2>/dev/null &
	suspender=$!
	# Device-mapper has them back then, and waits for the read.
	wait_for 10 field_is p parked 0 || die "no suspend: $(dm_status p --noflush)"
	sleep 0.5
	kill -TERM "$suspender" || die 'the suspend waits for nothing'
	if wait "$suspender"; then die 'the suspend was not interrupted'; fi
	if is_suspended p; then die 'p is suspended'; fi
	parked 'after an interrupted suspend: '
	dm_resume low
	wait "$reader" || die 'a read failed'
	still_waiting
}

test_interrupted_suspend()
{
	set_up_block
	# For some of them there is space.
	write 50 64
	count=$((50 - (63 - MAPPED)))
	parked
	for _ in 1 2 3; do
		interrupt_a_suspend
	done
	blkdiscard -l $((MAPPED * CLUSTER)) /dev/mapper/p
	dd if=/dev/zero "of=$RAW" bs=$CLUSTER count=$MAPPED conv=notrunc 2>/dev/null
	count=50
	end 30 ok
	mirror /dev/mapper/p "$RAW" --compare-only
	detach p
	judge /dev/mapper/low "$RAW"
}

# ---- who holds what ----

is_gone() { ! dmsetup info "$1" >/dev/null 2>&1; }

# busy COMMAND...: refuses, without a wait, because of who uses it
busy()
{
	local said status=0
	said=$(timeout $((5 * SLOW)) "$@" 2>&1) || status=$?
	((status != 0 && status != 124)) || die "$*: status $status"
	[[ $said == *busy* || $said == *'in use'* ]] || die "$*: $said"
}

test_remove_force()
{
	local i began table error_table
	set_up 16 256
	fill_host
	detach p
	table=$(image_table "$HOST/i")
	error_table="0 $((256 * CLUSTER / 512)) error "
	# One writer for all rounds.
	write 100 64 --hold "$HOLD" --rounds "$MANY"
	for ((i = 1; i <= 4; i++)); do
		dm_create p "$table"
		rm -f "$SAYS"
		: >"$HOLD"
		parked
		began=$SECONDS
		# Whether it goes by itself when it is closed, or somebody has to come again.
		if ((i % 2)); then
			timeout 60 dmsetup remove --force --deferred --noudevsync --noudevrules p >/dev/null 2>&1 ||
				die "remove $i: status $?"
		else
			busy dmsetup remove --force --noudevsync --noudevrules p
		fi
		((SECONDS - began <= 5)) || die "remove $i took $((SECONDS - began)) s"
		[[ $(dmsetup table p) == "$error_table" ]] || die "the table is $(dmsetup table p)"
		end 15 EIO
		rm "$HOLD"
		((i % 2)) || dm_remove p
		wait_for 10 is_gone p || die "p is still there after remove $i"
	done
	python3 -BS tests/vm/dm.py remove p "$table" --times $((MANY - 4)) --limit $((5 * SLOW)) \
		--says "$SAYS" --hold "$HOLD"
	wait "$writer"
	free_host
	attach p "$HOST/i"
	write 100 64
	end 10 ok
	take_down
}

test_held()
{
	set_up 16 256
	fill_host
	: >"$HOLD"
	park 50 64 --hold "$HOLD"
	busy rmmod dm_ploop
	busy umount "$HOST"
	busy dmsetup remove --noudevsync --noudevrules p
	timeout $((5 * SLOW)) dmsetup remove --deferred --noudevsync --noudevrules p || die "deferred: status $?"
	parked
	still_waiting
	free_host
	end 10 ok
	if is_gone p; then die 'p went while it was open'; fi
	rm "$HOLD"
	wait "$writer"
	wait_for 10 is_gone p || die 'p did not go'
	judge "$HOST/i" "$RAW"
	wait_for 10 umount "$HOST" || die 'something holds the host file system'
}

# ---- above and below ----

# durable_now: the image as it is on the disk, while p still uses it and its host has
# no space, has all that the notes tell of. In a copy, which another device is on.
durable_now()
{
	local copy=/dev/shm/copy
	dd if="$HOST/i" of="$copy" bs=1M ${1:+"iflag=$1"} conv=sparse 2>/dev/null
	truncate -s "$(stat -c %s "$HOST/i")" "$copy"
	python3 -BS tests/image/check_image.py --in-use-ok --leak-ok --quiet "$copy" || die 'check_image'
	attach q "$copy"
	mkdir -p "$M-copy"
	mount /dev/mapper/q "$M-copy"
	verify_notes "$M-copy"
	umount "$M-copy"
	detach q
	rm "$copy"
}

verify_notes()
{
	python3 -BS tests/vm/rounds.py verify "$1" "$notes" >"$notes/said" 2>&1 || die "$(<"$notes/said")"
}

# Of each writer, and durable.
three_records() { [[ $(cat "$notes"/[0-7] 2>/dev/null) == 33333333 ]]; }

# No space, and behind the file system new clusters that are not in the map's file
# yet: the next flush has to put them there. By itself the target does so after five
# seconds, so that is tried with the little that is left.
fill_with_map_to_write()
{
	local mib
	for mib in 80 84 88 92; do fallocate -l 8M "$HOST/spare-$mib"; done
	fill_fs "$HOST"
	for mib in 80 84 88 92; do
		fill_fs "$HOST" --spare "$HOST/spare-$mib" --device /dev/mapper/p --at "$mib"
		(($(field p dirty_bat_pages) == 0)) || return 0
	done
	die "nothing to commit: $(dm_status p --noflush)"
}

# fsync_above [FLAG]: the image on the host is read with that flag of dd's. With a
# timeout, an outage is an error for the file system above: it may fail as it likes, but
# what an fsync has promised is there, at once and for good.
fsync_above()
{
	local notes=/dev/shm/notes budget=/dev/shm/budget writers
	make_image "$HOST/i" 256k 96M
	attach p "$HOST/i" enospc_timeout_s=3
	mkfs.ext4 -q -E lazy_itable_init=0 /dev/mapper/p 80M
	mkdir -p "$M"
	# It flushes when it is told to, and not by itself.
	mount -o commit=900 /dev/mapper/p "$M"
	rm -rf "$notes"
	mkdir "$notes"
	echo 3 >"$budget"
	python3 -BS tests/vm/rounds.py write "$M" "$notes" --budget "$budget" &
	writers=$!
	wait_for 30 three_records || die "not three of each: $(cat "$notes"/[0-7])"
	fill_with_map_to_write
	echo 1000 >"$budget.new"
	mv "$budget.new" "$budget"
	wait_for 60 not_running "$writers" || die "fsync hangs: $(dm_status p --noflush)"
	wait "$writers"
	[[ $(cat "$notes"/error-* | sort -u | paste -sd' ') =~ ^((EIO|ENOSPC|EROFS) ?)+$ ]] ||
		die "errors: $(cat "$notes"/error-*)"
	(($(find "$notes" -name 'error-*' | wc -l) == 8)) || die 'not all have an error'
	grep -qE 'EIO|ENOSPC' "$notes"/error-*
	echo "# $(dm_status p --noflush)"
	durable_now "$@"
	timeout $((60 * SLOW)) umount "$M" || die "umount: status $?"
	free_fs "$HOST"
	detach p
	check_image "$HOST/i"
	attach p "$HOST/i"
	fsck.ext4 -fy /dev/mapper/p >/dev/null 2>&1 || (($? <= 1)) || die 'fsck.ext4'
	fsck.ext4 -fn /dev/mapper/p >/dev/null 2>&1 || die 'fsck.ext4 again'
	mount -o ro /dev/mapper/p "$M"
	verify_notes "$M"
	umount "$M"
	detach p
	judge "$HOST/i"
}

test_fsync_above()
{
	make_host_fs tmpfs 80M "$HOST"
	fsync_above
}

# Here the map needs space, too: it may be a commit that fails, and the flush with it.
test_fsync_above_btrfs()
{
	make_host_fs btrfs /dev/vdb "$HOST"
	fsync_above direct
}

# ---- before it happens ----

# sees MIB: it has looked, and found that much
sees() { wait_for 10 field_is p host_free_mib "$1" || die "$1 MiB: $(dm_status p --noflush)"; }
told() { wait_for 10 field_is p lowspace_events "$1" || die "$1: $(dm_status p --noflush)"; }

test_low_water()
{
	set_up 48 256 low_water=16
	leave 20
	sees 20
	field_is p lowspace_events 0
	[[ $(dm_status p) != *event_LOWSPACE* ]]
	leave 10
	told 1
	[[ $(dm_status p) == *' event_LOWSPACE' ]] || die "$(dm_status p)"
	[[ $(dm_message p get_event) == event_LOWSPACE ]]
	[[ -z $(dm_message p get_event) ]]
	# Above the mark, but by less than an eighth of it.
	leave 17
	sees 17
	leave 10
	sees 10
	field_is p lowspace_events 1 || die "$(dm_status p)"
	leave 19
	sees 19
	leave 10
	told 2
	# Both, and what is worse comes first.
	fill_host
	park 20 64
	[[ $(dm_status p) == *' event_ENOSPC event_LOWSPACE' ]] || die "$(dm_status p)"
	[[ $(dm_message p get_event) == $'event_ENOSPC\nevent_LOWSPACE' ]] || die 'get_event'
	[[ $(dm_message p get_event) != *LOWSPACE* ]]
	dm_message p low_water 0
	free_host
	end 10 ok
	[[ $(dm_status p) != *low_water* ]] || die "$(dm_status p)"
	take_down
}

TEST_TIMEOUT=$((300 * SLOW)) run_suite
