# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# scripts/ploop-watch: what it says, and that it misses nothing.
. tests/vm/lib.sh

HOST=/mnt/test/host
BIN=/tmp/watch-bin
SAID=/tmp/watch-said

# set_up [NAME [OPTION...]]: a small host file system, and a device on it
set_up()
{
	make_host_fs tmpfs 24M "$HOST"
	make_image "$HOST/i" 1M 16M
	attach "${1:-p}" "$HOST/i" "${@:2}"
	mkdir -p "$BIN"
	rm -f "$BIN"/* "$SAID"
}

# watch ARGS...: in the background, with what `wrap` put before dmsetup
watch()
{
	PATH=$BIN:$PATH scripts/ploop-watch "$@" >"$SAID" 2>&1 &
	watcher=$!
}

# wrap COMMANDS: run the first time that the watcher reads a status, when the
# answer is there but it has not got it yet.
wrap()
{
	cat >"$BIN/dmsetup" <<-END
		#!/bin/bash
		PATH=\${PATH#$BIN:}
		echo "\$*" >>$BIN/calls
		if [[ \$1 != status || -e $BIN/done ]]; then exec dmsetup "\$@"; fi
		touch $BIN/done
		answer=\$(dmsetup "\$@")
		{ $1; } >$BIN/log 2>&1 </dev/null
		printf '%s\n' "\$answer"
	END
	chmod +x "$BIN/dmsetup"
}

# out_of_space NAME: there is none, and a write waits for some
out_of_space()
{
	# A tmpfs has no reserve and frees nothing later: it is full at once.
	head -c 1G /dev/zero >"$HOST/.fill-0" 2>/dev/null || true
	dd if=/dev/urandom "of=/dev/mapper/$1" bs=64k count=1 oflag=direct 2>/dev/null &
	until [[ $(dmsetup status "$1") == *mode=nospace* ]]; do sleep 0.1; done
}
# What a wrapper runs has none of the functions here.
OUT_OF_SPACE="HOST=$HOST; $(declare -f out_of_space)"

# Whatever the watcher was shown, the images are right in the end, but for that of the
# device that a test has broken.
broken=''
after()
{
	local name image
	local -a names
	rm -f "$HOST"/.fill-*
	devices
	for name in "${names[@]}"; do
		[[ $name != "$broken" && $(dmsetup table "$name") == *' ploop '* ]] || continue
		dm_message "$name" retry_enospc
		wait_for 60 field_is "$name" parked 0 || die "after it: $(dm_status "$name" --noflush)"
		detach "$name"
	done
	for image in "$HOST"/i "$HOST"/other; do
		[[ ! -e $image ]] || judge "$image"
	done
}

# Have exactly these events been told?
events() { awk '/^[0-9]/ { print $4 }' "$SAID" | paste -sd' '; }
told() { [[ $(events) == "$*" ]]; }
tells() { wait_for 60 told "$@" || die "told '$(events)' and not '$*': $(tail -n 3 "$SAID")"; }

test_an_outage()
{
	local line
	set_up
	watch p
	tells WATCHING
	out_of_space p
	tells WATCHING ENOSPC
	line=$(tail -n 1 "$SAID")
	[[ $line == 20??-??-??\ ??:??:??\ "p ENOSPC mode=nospace parked="?*" image=$HOST/i free=0MiB"* &&
		$line == *": free some space in $HOST, then: dmsetup message p 0 retry_enospc" ]] ||
		die "said: $line"
	# It only looked.
	[[ $(dm_message p get_event) == event_ENOSPC ]]
	rm "$HOST/.fill-0"
	dm_message p retry_enospc
	# A probe that failed after get_event had told of it again.
	wait_for 60 grep -q SPACE_BACK "$SAID" || die "told '$(events)'"
	[[ $(events) =~ ^WATCHING\ ENOSPC(\ ENOSPC)?\ SPACE_BACK$ ]] || die "told '$(events)'"
	detach p
	wait_for 60 grep -q ' p GONE ' "$SAID"
}

test_an_event_while_the_status_is_read()
{
	set_up
	wrap "$OUT_OF_SPACE; out_of_space p"
	watch p
	tells WATCHING ENOSPC
	[[ -e $BIN/done ]]
}

test_the_device_is_made_anew_while_its_status_is_read()
{
	set_up
	wrap "$OUT_OF_SPACE; dmsetup remove p
		dmsetup create p --table '$(image_table "$HOST/i")'; out_of_space p"
	watch p
	tells WATCHING GONE WATCHING ENOSPC
}

test_removed_and_made_anew()
{
	set_up
	watch p
	tells WATCHING
	detach p
	tells WATCHING GONE
	attach p "$HOST/i"
	tells WATCHING GONE WATCHING
	out_of_space p
	tells WATCHING GONE WATCHING ENOSPC
}

# A device in use: it gets a table of errors at once, and goes at the last close.
test_removed_by_force()
{
	set_up
	watch p
	tells WATCHING
	exec 5</dev/mapper/p
	dm remove --force p && die 'the device was not in use'
	tells WATCHING GONE
	exec 5<&-
}

# device-mapper tells nobody of the removal at the last close.
test_removed_at_the_last_close()
{
	set_up
	watch p
	tells WATCHING
	exec 5</dev/mapper/p
	dm remove --deferred p
	sleep 2
	told WATCHING || die "told '$(events)' of a device that is in use"
	exec 5<&-
	tells WATCHING GONE
}

test_renamed()
{
	set_up
	watch p
	tells WATCHING
	dm rename p q
	tells WATCHING GONE
	dm rename q p
	tells WATCHING GONE WATCHING
}

test_not_there_yet()
{
	set_up
	watch q
	sleep 1
	attach_other
	tells WATCHING
	grep -q " q WATCHING mode=rw parked=0 image=$HOST/other " "$SAID"
}
attach_other()
{
	make_image "$HOST/other" 1M 8M
	attach q "$HOST/other"
}

test_two_devices()
{
	set_up
	attach_other
	watch p q
	tells WATCHING WATCHING
	out_of_space q
	tells WATCHING WATCHING ENOSPC
	tail -n 1 "$SAID" | grep -q " q ENOSPC .*image=$HOST/other "
}

# A watcher that starts in the middle of an outage tells of it.
test_begins_in_an_outage()
{
	set_up
	out_of_space p
	watch p
	tells WATCHING ENOSPC
}

test_exec()
{
	local hook="echo \$PLOOP_DEVICE \$PLOOP_EVENT \$PLOOP_IMAGE \$PLOOP_FREE_MIB >>$BIN/ran"
	set_up
	# The command fails, which is said, and hurts nobody.
	watch --exec "$hook; false" p
	tells WATCHING
	out_of_space p
	tells WATCHING ENOSPC
	rm "$HOST/.fill-0"
	tells WATCHING ENOSPC SPACE_BACK
	wait_for 60 grep -q SPACE_BACK "$BIN/ran"
	[[ $(sed 's/ [0-9]*$//' "$BIN/ran") == "$(printf "p %s $HOST/i\n" WATCHING ENOSPC SPACE_BACK)" ]] ||
		die "ran: $(<"$BIN/ran")"
	grep -q "^p ENOSPC $HOST/i 0$" "$BIN/ran"
	grep -q 'ploop-watch: .*: status 1$' "$SAID"
}

told_twice() { [[ $(events) == *'ENOSPC ENOSPC'* ]]; }
nothing_pending() { [[ $(dm_status p) != *event_ENOSPC* ]]; }

test_acknowledge()
{
	set_up
	watch --acknowledge p
	tells WATCHING
	out_of_space p
	wait_for 60 grep -q ENOSPC "$SAID"
	# As long as there is no space, a probe tells anew what was acknowledged.
	wait_for 60 told_twice || die "told '$(events)'"
	rm "$HOST/.fill-0"
	wait_for 60 grep -q SPACE_BACK "$SAID"
	wait_for 60 nothing_pending
}

looked_again() { (($(field p host_free_mib) > 20)); }

test_low_space()
{
	set_up p low_water=12
	watch p
	tells WATCHING
	fallocate -l 16M "$HOST/.fill-0"
	tells WATCHING LOWSPACE
	rm "$HOST/.fill-0"
	# Armed again when the free space is well above the mark.
	wait_for 60 looked_again
	fallocate -l 16M "$HOST/.fill-0"
	tells WATCHING LOWSPACE LOWSPACE
}

# The new table finds out for itself that there is no space: nobody says that it is back.
test_table_swapped_in_an_outage()
{
	set_up
	watch p
	tells WATCHING
	out_of_space p
	tells WATCHING ENOSPC
	dm_suspend p --noflush --nolockfs
	dm_load p "$(image_table "$HOST/i")"
	dm_resume p --noflush
	tells WATCHING ENOSPC ENOSPC
	rm "$HOST/.fill-0"
	tells WATCHING ENOSPC ENOSPC SPACE_BACK
}

test_failed()
{
	local size
	set_up other
	size=$(blockdev --getsz /dev/vdb)
	dd if="$HOST/i" of=/dev/vdb bs=1M conv=fsync 2>/dev/null
	dm_create low "0 $size linear /dev/vdb 0"
	dm_create p '0 32768 ploop 11 /dev/mapper/low'
	watch p
	tells WATCHING
	grep -q ' p WATCHING .* free=unknown$' "$SAID" || die "said: $(<"$SAID")"
	dd if=/dev/urandom of=/dev/mapper/p bs=64k count=1 oflag=direct 2>/dev/null
	dm_suspend low --noflush --nolockfs
	dm_load low "0 $size error"
	dm_resume low
	# A page of the map that cannot be written is not the end.
	if sync /dev/mapper/p 2>/dev/null; then die 'the map could be written'; fi
	tells WATCHING MAP_ERROR
	[[ $(field p map_error) == -5 ]] || die "the status: $(dmsetup status p)"
	dm_suspend low --noflush --nolockfs
	dm_load low "0 $size linear /dev/vdb 0"
	dm_resume low
	tells WATCHING MAP_ERROR MAP_BACK
	[[ -z $(field p map_error) ]] || die "the status: $(dmsetup status p)"
	# A sync's error is.
	dm_suspend low --noflush --nolockfs
	dm_load low "0 $size flakey /dev/vdb 0 0 60 1 error_writes"
	dm_resume low
	broken=p
	if sync /dev/mapper/p 2>/dev/null; then die 'the device below could be flushed'; fi
	tells WATCHING MAP_ERROR MAP_BACK FAILED
}

# Installed as its head says, what the unit runs is there and has the options that it names.
test_unit()
{
	local unit=scripts/ploop-watch@.service commands start option program options=0
	commands=$(sed -n 's/^#\t\(install .*\)/\1/p' "$unit")
	[[ $commands == *ploop-watch* ]]
	bash -e -c "$commands"
	while read -r start; do
		read -r program _ <<<"$start"
		[[ -x $program ]] || die "$program is not installed"
		# %I would make "vm/disk" of the device "vm-disk".
		[[ $start == *' %i' && $start != *%I* ]] || die "the device is not %i: $start"
		for option in $(grep -o -e '--[a-z-]*' <<<"$start" || true); do
			"$program" --help | grep -q -e "^ *$option " || die "no option $option"
			options=$((options + 1))
		done
	done < <(sed -n 's/^[#\t]*ExecStart=\(.\)/\1/p' "$unit")
	((options > 0))
	[[ -s /usr/local/share/man/man8/dm-ploop.8 ]]
	if command -v systemd-analyze >/dev/null; then
		systemd-analyze verify --man=no /etc/systemd/system/ploop-watch@vm-disk.service
	fi
}

# Between events it does nothing at all, but for a rare look.
test_does_not_poll()
{
	local before
	set_up
	wrap :
	watch p
	tells WATCHING
	sleep 1
	before=$(wc -l <"$BIN/calls")
	sleep 4
	[[ $(wc -l <"$BIN/calls") == "$before" ]] || die "it ran: $(tail -n 3 "$BIN/calls")"
	kill "$watcher"
}

run_suite
