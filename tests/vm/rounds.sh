# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# Out of space again and again, below eight writers who fsync what they write: no
# writer sees an error, each outage is told of, and all that was made durable is
# there in the end.
. tests/vm/lib.sh

HOST=/mnt/test/host
M=/mnt/test/above
RAW=/dev/shm/raw
NOTES=/dev/shm/notes
BUDGET=/dev/shm/budget
ROUNDS=4 WRITERS=8
FS_MB=112 SIZE_MB=128
LONG=60
# The debug kernel is there for its reports, not for their number.
[[ ${KERNEL:-} != debug ]] || ROUNDS=2
((!${LONG_RUN:-0})) || ROUNDS=$((ROUNDS * 3))

# ---- the writers: see rounds.py ----

# allow N: each may write so many records more
allow()
{
	budget=$((budget + $1))
	echo "$budget" >"$BUDGET.new"
	mv "$BUDGET.new" "$BUDGET"
}

begin_writing()
{
	rm -rf "$NOTES"
	mkdir "$NOTES"
	budget=0
	allow 0
	python3 -BS tests/vm/rounds.py write "$M" "$NOTES" --budget "$BUDGET" --writers "$WRITERS" &
	writers=$!
	allow 2
	wait_for "$LONG" all_written || die 'the writers do not begin'
}

no_error()
{
	local file
	for file in "$NOTES"/error-*; do
		[[ ! -e $file ]] || die "round ${round:-0}: writer ${file##*-} got $(<"$file")"
	done
	kill -0 "$writers" || die 'the writers have gone'
}

all_written()
{
	local writer
	no_error
	for ((writer = 0; writer < WRITERS; writer++)); do
		[[ -e $NOTES/$writer && $(<"$NOTES/$writer") == "$budget" ]] || return 1
	done
}

end_writing()
{
	rm "$BUDGET"
	wait "$writers"
}

# ---- above and below ----

# begin DIRECTORY [COMMAND...]: an image there, the device, made by the command,
# and a file system on it.
begin()
{
	watch_log
	image=$1/i
	shift
	make_image "$image" 256k "${SIZE_MB}M"
	image_table "$image" | "$@" dmsetup create p --noudevsync --noudevrules
	need_block p
	rm -f "$RAW"
	record p
	mkfs.ext4 -q -E lazy_itable_init=0 /dev/mapper/top "${FS_MB}M"
	mkdir -p "$M"
	mount /dev/mapper/top "$M"
}

# All is as it was written: as the file system sees it, as two other tools do, and
# after the device was made anew.
end()
{
	umount "$M"
	recorded "$RAW" "$image"
	mirror /dev/mapper/p "$RAW" --compare-only
	detach p
	judge "$image" "$RAW"
	rm "$RAW"
	attach p "$image"
	fsck.ext4 -fn /dev/mapper/p >/dev/null 2>&1 || die 'fsck.ext4'
	mount -o ro /dev/mapper/p "$M"
	python3 -BS tests/vm/rounds.py verify "$M" "$NOTES" --writers "$WRITERS" >"$NOTES/said" 2>&1 ||
		die "$(<"$NOTES/said")"
	umount "$M"
	detach p
	judge "$image"
	no_error_logged
}

# ---- a round ----

# watch NUMBER: as whoever waits for an outage should: for another event than that
# number's, until one tells of it.
watch()
{
	local number=$1
	while dmsetup wait --noflush p "$number" >/dev/null; do
		number=$(event_nr p)
		! field_is p mode nospace || return 0
	done
	return 1
}

# A host that copies on write may have no space for the map either: then a commit
# may be all that waits, and the flushes with it.
commit_may_wait=0
some_parked()
{
	(($(field p parked) > 0)) || { ((commit_may_wait)) && (($(field p dirty_bat_pages) > 0)); }
}

# round NO_SPACE SPACE: by these two commands the host has none, and has some again
round()
{
	local number events watcher reply
	number=$(event_nr p)
	events=$(field p enospc_events)
	watch "$number" &
	watcher=$!
	# They write when the space goes, and when there is none.
	allow 2
	"$1"
	allow 6
	wait_for "$LONG" not_running "$watcher" || die "round $round: no event: $(dm_status p --noflush)"
	wait "$watcher" || die "round $round: dmsetup wait"
	field_is p mode nospace || die "round $round: $(dm_status p --noflush)"
	# The only one may be tried just now.
	wait_for 5 some_parked || die "round $round: nothing parked: $(dm_status p --noflush)"
	(($(field p enospc_events) > events)) || die "round $round: enospc_events is still $events"
	reply=$(dm_message p get_event)
	[[ $reply == event_ENOSPC ]] || die "round $round: get_event said '$reply'"
	if all_written; then die "round $round: nobody had to wait"; fi
	"$2"
	# Now by itself, now when told to.
	((round % 2)) || dm_message p retry_enospc
	wait_for "$LONG" all_written || die "round $round: they still wait: $(dm_status p --noflush)"
	wait_for 10 field_is p mode rw || die "round $round: still $(dm_status p --noflush)"
}

all_rounds()
{
	begin_writing
	for ((round = 1; round <= ROUNDS; round++)); do
		echo "# round $round begins at $SECONDS s"
		round "$@"
	done
	end_writing
}

fill_host() { fill_fs "$HOST"; }
free_host() { free_fs "$HOST"; }

# on FS: a file system that is full below
on()
{
	make_host_fs "$1" /dev/vdb "$HOST"
	begin "$HOST"
	all_rounds fill_host free_host
	end
}

test_ext4() { on ext4; }
test_xfs() { on xfs; }
test_btrfs() { commit_may_wait=1 && on btrfs; }

# Less than is used already: the next block is one too many.
forbid_ext4() { setquota -P 42 0 1 0 0 "$HOST"; }
permit_ext4() { setquota -P 42 0 0 0 0 "$HOST"; }
forbid_xfs() { xfs_quota -x -c 'limit -p bhard=4k 42' "$HOST"; }
permit_xfs() { xfs_quota -x -c 'limit -p bhard=0 42' "$HOST"; }
# Told to the file system, not to the subvolume: the change needs space, too.
limit_btrfs() { btrfs qgroup limit "$1" "0/$(btrfs inspect-internal rootid "$HOST/limited")" "$HOST"; }
forbid_btrfs() { limit_btrfs 64k; }
permit_btrfs() { limit_btrfs none; }

# Used up is the quota of a project, or what btrfs has for that; see outage.sh.
test_quota()
{
	modprobe quota_v2
	HOST_FS_OPTIONS=prjquota make_host_fs ext4 /dev/vdb "$HOST" -O quota,project -E quotatype=prjquota
	mkdir "$HOST/limited"
	chattr -p 42 +P "$HOST/limited"
	begin "$HOST/limited" setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource
	all_rounds forbid_ext4 permit_ext4
	end
}

test_quota_xfs()
{
	HOST_FS_OPTIONS=prjquota make_host_fs xfs /dev/vdb "$HOST"
	mkdir "$HOST/limited"
	xfs_quota -x -c "project -s -p $HOST/limited 42" "$HOST" >/dev/null
	begin "$HOST/limited"
	all_rounds forbid_xfs permit_xfs
	end
}

test_quota_btrfs()
{
	commit_may_wait=1
	make_host_fs btrfs /dev/vdb "$HOST"
	btrfs quota enable "$HOST"
	btrfs subvolume create "$HOST/limited" >/dev/null
	begin "$HOST/limited"
	all_rounds forbid_btrfs permit_btrfs
	end
}

TEST_TIMEOUT=$([[ ${KERNEL:-} == debug ]] && echo 1500 || echo 600) run_suite
