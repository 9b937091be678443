# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# Everything at once: fio's verification in four regions, discards and zeros in
# others, while the table is swapped every second.
. tests/vm/lib.sh

H=/mnt/verify
TIME=$([[ ${KERNEL:-} == debug ]] && echo 60 || echo 40)
((!${LONG_RUN:-0})) || TIME=$((TIME * 6))
# One a second is meant; each waits for the requests under way.
SWAP_SECONDS=$([[ ${KERNEL:-} == debug ]] && echo 3 || echo 2)

prepare() { make_host_fs "${VERIFY_HOST:-ext4}" /dev/vda "$H"; }

# By one process: starting several for each swap takes longer than the swap.
swap_tables()
{
	python3 -BS tests/vm/dm.py keep-swapping p "$1" --stop "$H/stop" >"$H/swaps" ||
		echo 'a table swap' >"$H/stop"
}

discard_and_zero()
{
	local n=0
	truncate -s 16M "$H/raw"
	while [[ ! -e $H/stop ]]; do
		n=$((n + 1))
		mirror /dev/mapper/region "$H/raw" --cluster 65536 --ops 200 --discard --seed "$n" || {
			echo 'the mirror' >"$H/stop"
			break
		}
	done
}

test_under_table_swaps()
{
	local table swapper mirror swaps steps status=0
	make_image "$H/i" 64k 112M
	table=$(image_table "$H/i")
	attach p "$H/i"
	# Behind those of fio.
	dm_create region "0 32768 linear /dev/mapper/p $((96 * 2048))"
	swap_tables "$table" &
	swapper=$!
	discard_and_zero &
	mirror=$!
	fio --minimal --filename=/dev/mapper/p --direct=1 --ioengine=libaio --iodepth=32 --size=16M \
		--offset_increment=16M --time_based --runtime="$TIME" --verify=crc32c --verify_fatal=1 \
		--verify_backlog=200 --randrepeat=0 \
		--name=some --numjobs=4 --rw=randwrite --blockalign=512 \
		--bssplit=512/10:3k/20:4k/30:20k/20:64k/10:150k/10 \
		--name=trim --numjobs=1 --offset=64M --rw=randtrimwrite --bs=64k \
		>"$H/fio" 2>&1 || status=$?
	[[ ! -e $H/stop ]] || die "$(<"$H/stop") failed"
	: >"$H/stop"
	wait "$swapper" "$mirror"
	((status == 0)) || { tail -n 5 "$H/fio"; die "fio: status $status"; }
	read -r swaps steps <"$H/swaps"
	echo "# $swaps swaps, at most $steps"
	((swaps >= TIME / SWAP_SECONDS)) || die "only $swaps swaps, at most $steps"
	mirror /dev/mapper/region "$H/raw" --compare-only
	dm_remove region
	dd if=/dev/mapper/p "of=$H/all" bs=1M iflag=direct conv=sparse 2>/dev/null
	truncate -s 112M "$H/all"
	detach p
	judge "$H/i" "$H/all"
	# In that the target had its part, but in the mirror's raw file it had none.
	rm "$H/all"
	qemu-img convert -f parallels -O raw "$H/i" "$H/all"
	cmp -n $((16 << 20)) -i $((96 << 20)):0 "$H/all" "$H/raw"
}

TEST_TIMEOUT=$((TIME * 2 + 600)) run_suite
