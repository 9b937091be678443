# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Helpers for tests that run inside the VM; source it. A test is a function that
# run_test runs: it fails when a command in it fails, or by calling die.
#
#	. tests/vm/lib.sh
#	test_reads_zeroes() { dm_create d "0 8 zero"; cmp -n 4096 /dev/mapper/d /dev/zero; }
#	run_test test_reads_zeroes
#	finish

# What a driver puts before each name, so that the names of all suites differ.
TEST_PREFIX=${TEST_PREFIX:-}

# nap SECONDS: a sleep that starts no program. That takes longer than the nap, in an
# emulated machine with a debug kernel, and whoever waits must not keep the cpu from
# what is waited for. That the time is over is an error of read, and none of ours.
exec {tests_nap}<> <(:)
nap() { read -rt "$1" -u "$tests_nap" || true; }

# How much longer than a stock kernel the debug kernel may take for something.
# shellcheck disable=SC2034 # the suites use it
SLOW=1
[[ ${KERNEL:-} != debug ]] || SLOW=5

tests_passed=0
tests_failed=0
tests_why=$(mktemp)

# ---- results ----

pass() { printf 'ok %s%s\n' "$TEST_PREFIX" "$1"; tests_passed=$((tests_passed + 1)); }
fail()
{
	printf 'not ok %s%s: %s\n' "$TEST_PREFIX" "$1" "${2:-no reason given}"
	tests_failed=$((tests_failed + 1))
}
skip() { printf 'ok %s%s # skip: %s\n' "$TEST_PREFIX" "$1" "$2"; }

# Ends the test that calls it; its words are the reason that run_test reports.
die() { printf '%s' "$*" >"$tests_why"; exit 1; }

# The last word of a test script: nothing that ran is no success.
finish()
{
	rm -f "$tests_why"
	printf '%d passed, %d failed\n' "$tests_passed" "$tests_failed"
	((tests_failed == 0 && tests_passed > 0)) || exit 1
	exit 0
}

# run_test FUNCTION [SECONDS]: runs it in a subshell with a process group of its
# own, so that its time limit (300 s) ends everything that it started. A function
# `after`, if there is one, is the end of each. A test that not even SIGKILL ends, because it hangs in the kernel, is left behind.
run_test()
{
	local test=$1 name=${1#test_} limit=${2:-${TEST_TIMEOUT:-300}} pid began status=0 monitor=+m
	: >"$tests_why"
	[[ $- != *m* ]] || monitor=-m
	set -m
	(
		set -eEuo pipefail
		trap '[[ -s $tests_why ]] ||
			printf "%s failed in line %s" "$BASH_COMMAND" "$LINENO" >"$tests_why"' ERR
		"$test"
		! declare -F after >/dev/null || after
	) </dev/null &
	pid=$!
	set "$monitor"

	began=$SECONDS
	while kill -0 "$pid" 2>/dev/null; do
		if ((SECONDS - began >= limit)); then
			printf 'timeout after %s s' "$limit" >"$tests_why"
			[[ ! -w /proc/sysrq-trigger ]] || echo w >/proc/sysrq-trigger
			kill -KILL -- "-$pid" 2>/dev/null || true
			if wait_for 5 not_running "$pid"; then
				{ wait "$pid" || true; } 2>/dev/null
			else
				printf ', and it cannot be killed' >>"$tests_why"
			fi
			fail "$name" "$(<"$tests_why")"
			return
		fi
		nap 0.1
	done
	{ wait "$pid" || status=$?; } 2>/dev/null
	# What a test leaves running must not meet the next one.
	kill -KILL -- "-$pid" 2>/dev/null || true
	if ((status == 0)); then
		pass "$name"
	else
		[[ -s $tests_why ]] || printf 'exit status %s' "$status" >"$tests_why"
		fail "$name" "$(<"$tests_why")"
	fi
}

# run_suite: every test_* function of the calling script, in its order, or those
# that TESTS names; before each what the last one left is cleared away, the files
# in the directory H too. A function `prepare`, if there is one, runs once before
# the first.
run_suite()
{
	local test began
	local -a wanted
	read -ra wanted <<<"${TESTS:-$(sed -n 's/^test_\([a-z0-9_]*\)().*/\1/p' "$0" | tr '\n' ' ')}"
	if declare -F prepare >/dev/null; then
		# Everything else would fail with it.
		prepare || { fail prepare 'see above'; finish; }
	fi
	for test in "${wanted[@]}"; do
		clear_away
		[[ -z ${H:-} ]] || rm -rf "${H:?}"/*
		began=$SECONDS
		run_test "test_$test"
		printf '# %s%s took %d s\n' "$TEST_PREFIX" "$test" $((SECONDS - began))
	done
	clear_away
	finish
}

# Neither there nor a zombie that only waits for its parent.
not_running() { [[ $(ps -o stat= -p "$1") != [!Z]* ]]; }

# wait_for SECONDS COMMAND...: tries it until it succeeds; fails after that time, on
# the debug kernel after SLOW times that.
wait_for()
{
	local limit=$(($1 * SLOW)) began=$SECONDS
	shift
	until "$@"; do
		((SECONDS - began < limit)) || return 1
		nap 0.1
	done
}

# ---- device-mapper, where no udev makes nodes ----

dm() { dmsetup "$@" --noudevsync --noudevrules; }

# On a path that is no device a test would run, and pass, on a plain file.
need_block() { [[ -b /dev/mapper/$1 ]] || die "/dev/mapper/$1 is not a block device"; }

# dm_create NAME TABLE [OPTIONS...]; a table may have several lines.
dm_create()
{
	local name=$1 table=$2
	shift 2
	dm create "$name" "$@" <<<"$table" && need_block "$name"
}

# dm_load NAME TABLE: into the inactive slot; dm_resume makes it live.
dm_load() { dm load "$1" <<<"$2"; }

# dm_suspend NAME [--noflush] [--nolockfs]
dm_suspend() { dm suspend "$@"; }

dm_resume() { dm resume "$@" && need_block "$1"; }

# dm_remove NAME [--force] [--deferred]; a device that was just closed may be
# held for a moment.
dm_remove() { dm remove --retry "$@"; }

# dm_message NAME WORDS...: prints the reply, if there is one.
dm_message() { dmsetup message "$1" 0 "${*:2}"; }

# dm_status NAME [--noflush ...]: the whole line, as dmsetup prints it.
dm_status() { dmsetup status "$@"; }

# clear_away: what a test has left, the topmost first: mounts below /mnt/test,
# devices, loop devices. Never waits long for what hangs: but not even SIGKILL ends
# an umount whose writes wait for space, so these end first. Devices of other
# targets refuse that message, which is no fault.
clear_away()
{
	local name dir
	local -a names
	devices
	for _ in 1 2 3; do
		for name in "${names[@]}"; do
			dm message "$name" 0 error_if_no_space >/dev/null 2>&1 || true
		done
		while read -r _ dir _; do
			[[ $dir == /mnt/test* ]] || continue
			timeout 20 umount "$dir" 2>/dev/null || umount -l "$dir" 2>/dev/null || true
		done < <(tac /proc/mounts)
		((${#names[@]})) || break
		for name in "${names[@]}"; do
			timeout 20 dmsetup remove --noudevsync --noudevrules "$name" >/dev/null 2>&1 ||
				timeout 20 dmsetup remove --force --noudevsync --noudevrules "$name" \
					>/dev/null 2>&1 || true
		done
		devices
	done
	if compgen -G '/sys/block/loop*/loop' >/dev/null; then losetup -D; fi
	# The nodes of those that went by themselves.
	[[ $(echo /dev/mapper/*) == /dev/mapper/control ]] || dmsetup mknodes >/dev/null 2>&1
}

# All that there are, into the caller's `names`; also those without a table.
devices()
{
	mapfile -t names < <(dmsetup info -c --noheadings -o name 2>/dev/null | grep -v '^No ')
}

# ---- images ----

# header_field IMAGE OFFSET BYTES: a number of an image's header.
header_field()
{
	local number
	read -r number < <(od -An -v -t "u$3" -j "$2" -N "$3" "$1")
	echo "$number"
}
cluster_sectors() { header_field "$1" 28 4; }
image_sectors() { header_field "$1" 36 8; }

# log2 N, of a power of two
log2() { local n=$1 log=0; while ((n > 1)); do n=$((n >> 1)); log=$((log + 1)); done; echo "$log"; }

# make_image FILE CLUSTER SIZE: by qemu-img, which is not of our making.
make_image() { qemu-img create -q -f parallels -o "cluster_size=$2" "$1" "$3"; }

# image_table IMAGE [OPTION...]: the table line for all of an image.
image_table()
{
	local image=$1
	shift
	printf '0 %s ploop %s %s\n' "$(image_sectors "$image")" \
		"$(log2 "$(cluster_sectors "$image")")" "${*:+$* }$image"
}

# attach NAME IMAGE [OPTION...]; detach NAME
attach() { dm_create "$1" "$(image_table "${@:2}")"; }
detach() { dm_remove "$1"; }

# field NAME KEY: a key=value word of the status; prints the value.
# Without other programs: much is polled, and starting one takes long in a VM.
field()
{
	local words
	words=" $(dm_status "$1" --noflush) " || return
	[[ $words == *" $2="* ]] || return 0
	words=${words#*" $2="}
	printf '%s\n' "${words%% *}"
}
field_is() { [[ $(field "$1" "$2") == "$3" ]]; }
event_nr() { dmsetup info -c --noheadings -o events "$1" | tr -d ' '; }

# check_image IMAGE: both checkers find it right, and closed.
check_image()
{
	local image=$1 status=0 said
	python3 -BS tests/image/check_image.py --quiet "$image" >&2 || die "check_image: $image is wrong"
	said=$(qemu-img check -f parallels "$image" 2>&1) || status=$?
	((status != 0)) || return 0
	# A block device is longer than the image on it: that alone is no fault.
	if ((status == 3)) && [[ -b $image ]]; then return 0; fi
	# qemu 7.2 takes a BAT of several clusters with nothing mapped for a leak.
	if ((status == 3)) && (($(header_field "$image" 48 4) > $(cluster_sectors "$image"))) &&
		[[ $said =~ (^|[^0-9])0/[0-9]+.*allocated ]]; then
		return 0
	fi
	printf '%s\n' "$said" | head -n 5 >&2
	die "qemu-img check: $image: status $status"
}

# same_image IMAGE RAW: qemu reads the same from both.
same_image()
{
	qemu-img compare -f raw -F parallels "$2" "$1" >/dev/null || die "$1 differs from $2"
}

# judge IMAGE [RAW]: what every test ends with, when the image is detached.
judge() { check_image "$1" && { (($# == 1)) || same_image "$1" "$2"; }; }

# judge_suspended NAME IMAGE: suspended means still, with the image closed and right.
judge_suspended() { dm_suspend "$1" && judge "$2" && dm_resume "$1"; }

# no_error_logged: since watch_log the kernel has told of no error of a request, nor of
# a file system: a writer may not notice what only a writeback has met.
watch_log() { dmesg --clear; }
no_error_logged()
{
	local log
	log=$(dmesg)
	log=$(grep -E 'I/O error|EXT4-fs (error|warning)' <<<"$log") || return 0
	die "the log: ${log:0:300}"
}

# record NAME: a device `top` above it, which logs on /dev/vda all that is written.
record() { dm_create top "0 $(blockdev --getsz "/dev/mapper/$1") log-writes /dev/mapper/$1 /dev/vda"; }

# recorded RAW IMAGE: removes `top`, and does to RAW what was done to that. So RAW
# has what the image has to have, and the target has no part in it.
recorded()
{
	dm_remove top
	truncate -s $(($(image_sectors "$2") * 512)) "$1"
	python3 -BS tests/vm/log_writes.py /dev/vda "$1" $(($(cluster_sectors "$2") * 512))
}

# mirror DEVICE RAW [OPTIONS...]: see mirror.py
mirror() { python3 -BS tests/vm/mirror.py "$@"; }

# ---- host file systems ----

# make_host_fs ext4|xfs|btrfs DEVICE MOUNTPOINT [MKFS OPTIONS...]
# make_host_fs tmpfs SIZE MOUNTPOINT
# HOST_FS_OPTIONS has mount options.
make_host_fs()
{
	local type=$1 what=$2 where=$3
	shift 3
	mkdir -p "$where"
	# Some tools want what only the loaded module brings, like /dev/btrfs-control.
	[[ $type == tmpfs ]] || modprobe "$type" || return
	case $type in
	# The tables are written now, not by a thread that disturbs the test later.
	ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$@" "$what" >/dev/null ;;
	xfs) mkfs.xfs -q -f "$@" "$what" >/dev/null ;;
	btrfs) mkfs.btrfs -q -f "$@" "$what" >/dev/null ;;
	tmpfs)
		mount -t tmpfs -o "size=$what${HOST_FS_OPTIONS:+,$HOST_FS_OPTIONS}" tmpfs "$where"
		return
		;;
	*) die "make_host_fs: $type?" ;;
	esac || return
	mount -t "$type" -o "${HOST_FS_OPTIONS:-defaults}" "$what" "$where"
}

# fill_fs MOUNTPOINT: takes all free space, what is reserved for root included. With
# more words see fill.py.
fill_fs() { python3 -BS tests/vm/fill.py "$@"; }

# free_fs MOUNTPOINT: gives back what fill_fs took.
free_fs() { rm -f "$1"/.fill-* && sync -f "$1"; }

# ---- the debug kernel ----

# Fails if kmemleak knows of a leak that has to do with ploop. Objects younger
# than 5 s do not count for it, and one scan may miss a pointer on the move.
# Without the module its functions have no names: they are addresses that nothing
# else has. Only the debug kernel has kmemleak, and there it must be at work: it
# switches itself off when it has no memory, and then refuses to scan.
kmemleak_check()
{
	local control=/sys/kernel/debug/kmemleak report
	[[ ${KERNEL:-} == debug || -e $control ]] || return 0
	sleep 10
	for _ in 1 2; do
		echo scan >"$control" || { echo 'kmemleak does not scan'; return 1; }
	done
	report=$(<"$control") || { echo 'kmemleak tells nothing'; return 1; }
	echo clear >"$control"
	if grep -qE 'ploop|^ +(\[<[^>]*>\] )?0xffffffff' <<<"$report"; then
		printf '%s\n' "$report"
		return 1
	fi
}
