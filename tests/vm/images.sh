# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# Images of all sizes and kinds: made and written by qemu, attached, written by
# the target, and read again by qemu.
. tests/vm/lib.sh

H=/mnt/images

prepare() { make_host_fs xfs /dev/vda "$H"; }

# Everything that is not 16 TiB long is read and written all over.
write_and_judge()
{
	local image=$1 raw=$2 ops=$3 cluster
	shift 3
	cluster=$(($(cluster_sectors "$image") * 512))
	attach p "$image"
	mirror /dev/mapper/p "$raw" --cluster "$cluster" --ops "$ops" "$@"
	detach p
	judge "$image" "$raw"
}

test_every_cluster_size()
{
	local log cluster size end file
	for log in {6..17}; do
		cluster=$((512 << log))
		size=$((cluster * (log < 12 ? 12 : 3)))
		end=$((size - 4096))
		make_image "$H/i" "$cluster" "$size"
		truncate -s "$size" "$H/raw"
		for file in "parallels $H/i" "raw $H/raw"; do
			qemu-io -f "${file% *}" -c 'write -P 1 0 64k' -c "write -P 2 $((cluster - 512)) 1k" \
				-c "write -P 3 $end 4k" "${file#* }" >/dev/null
		done
		write_and_judge "$H/i" "$H/raw" 20 --seed "$log" --longest $((1 << 20)) --discard --whole
		rm "$H/i" "$H/raw"
	done
}

# The same judge must see an image that is not as it was written.
test_the_judge_sees_faults()
{
	make_image "$H/i" 64k 16M
	truncate -s 16M "$H/raw"
	attach p "$H/i"
	mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 20
	detach p
	judge "$H/i" "$H/raw"
	# One byte of the data.
	cp "$H/raw" "$H/other"
	printf 'x' | dd "of=$H/other" bs=1 seek=$((8 << 20)) conv=notrunc 2>/dev/null
	if (judge "$H/i" "$H/other") 2>/dev/null; then die 'other data was not seen'; fi
	# The third entry like the second.
	cp "$H/i" "$H/double"
	printf '\001\0\0\0\001\0\0\0' | dd "of=$H/double" bs=1 seek=68 conv=notrunc 2>/dev/null
	if (judge "$H/double") 2>/dev/null; then die 'a duplicate was not seen'; fi
	truncate -s +64k "$H/i"
	if (judge "$H/i") 2>/dev/null; then die 'a leak was not seen'; fi
	watch_log
	no_error_logged
	echo '<3>I/O error, dev dm-0, sector 8 op 0x1:(WRITE)' >/dev/kmsg
	if (no_error_logged); then die 'an error in the log was not seen'; fi
}

test_converted_by_qemu_img()
{
	dd if=/dev/urandom "of=$H/raw" bs=1M count=6 seek=5 2>/dev/null
	truncate -s 20M "$H/raw"
	qemu-img convert -f raw -O parallels -o cluster_size=256k "$H/raw" "$H/i"
	attach p "$H/i"
	mirror /dev/mapper/p "$H/raw" --compare-only
	qemu-img convert -f host_device -O raw /dev/mapper/p "$H/back"
	cmp "$H/raw" "$H/back"
	detach p
	judge "$H/i" "$H/raw"
}

test_one_mebibyte()
{
	make_image "$H/i" 32k 1M
	truncate -s 1M "$H/raw"
	write_and_judge "$H/i" "$H/raw" 60 --longest 65536 --cluster 32768 --discard
}

# large CLUSTER SIZE: both ends and the middle, each way; the rest is holes.
# qemu 7.2 cannot compare so much at once: it counts the holes in an int.
large()
{
	local size half at n=0
	make_image "$H/i" "$1" "$2"
	size=$(($(image_sectors "$H/i") * 512)) half=$(($(image_sectors "$H/i") * 256))
	qemu-io -f parallels -c "write -P 77 $((half + 262144)) 4k" "$H/i" >/dev/null
	attach p "$H/i"
	[[ $(blockdev --getsize64 /dev/mapper/p) == "$size" ]]
	qemu_reads host_device 77 $((half + 262144)) 4k /dev/mapper/p
	for at in 0 $((half - 4096)) $((size - 8192)); do
		n=$((n + 1))
		head -c 8192 /dev/zero | tr '\0' "\\$n" |
			dd of=/dev/mapper/p bs=4k seek=$((at / 4096)) iflag=fullblock conv=notrunc,fsync 2>/dev/null
	done
	detach p
	n=0
	for at in 0 $((half - 4096)) $((size - 8192)); do
		n=$((n + 1))
		qemu_reads parallels "$n" "$at" 8k "$H/i"
	done
	qemu_reads parallels 77 $((half + 262144)) 4k "$H/i"
	qemu_reads parallels 0 $((half + 4096)) 16k "$H/i"
	qemu_reads parallels 0 $((size / 4)) 64k "$H/i"
	judge "$H/i"
}

# qemu_reads FORMAT BYTE OFFSET LENGTH FILE; qemu-io tells a difference only in words.
qemu_reads()
{
	local said
	said=$(qemu-io -r -f "$1" -c "read -P $2 $3 $4" "$5")
	[[ $said != *failed* && $said == *read*bytes* ]] || die "$5 at byte $3: $said"
}

test_16_tib() { large 1M 16T; }
test_1_tib_of_small_clusters() { large 32k 1T; }

test_size_not_a_cluster_multiple()
{
	local extra
	for extra in 512 1536 1048064; do
		rm -f "$H/raw"
		make_image "$H/i" 1M $(((5 << 20) + extra))
		truncate -s $(((5 << 20) + extra)) "$H/raw"
		write_and_judge "$H/i" "$H/raw" 20 --seed "$extra"
	done
}

# discard_alignment: of device p, in sectors. The file of that name in sysfs has something else,
# so a SCSI target of the kernel's is asked, which has to tell its clients.
discard_alignment()
{
	local dir=/sys/kernel/config/target/core/iblock_0
	modprobe target_core_iblock
	mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
	mkdir "$dir" "$dir/p"
	echo udev_path=/dev/mapper/p >"$dir/p/control"
	echo 1 >"$dir/p/enable"
	cat "$dir/p/attrib/unmap_granularity_alignment"
	rmdir "$dir/p" "$dir"
}

test_offset()
{
	local off=2055 sectors=20480 aligned
	make_image "$H/i" 64k 10M
	truncate -s 10M "$H/raw"
	for file in "parallels $H/i" "raw $H/raw"; do
		qemu-io -f "${file% *}" -c 'write -P 9 512k 4M' "${file#* }" >/dev/null
	done
	dm_create p "0 $((sectors - off)) ploop 7 off=$off $H/i"
	mirror /dev/mapper/p "$H/raw" --off "$off" --cluster 65536 --ops 40
	[[ $(dmsetup table p) == "0 $((sectors - off)) ploop 1 v2 128 o off=$off" ]]
	# The first whole cluster begins behind the rest of one.
	if [[ $KERNEL != debug ]]; then
		aligned=$(discard_alignment)
		[[ $aligned == $((128 - off % 128)) ]] || die "discard_alignment is $aligned sectors"
	fi
	detach p
	judge "$H/i" "$H/raw"
}

# queue_limit NAME: of device p
queue_limit() { cat "/sys/block/$(dmsetup info -c --noheadings -o blkdevname p)/queue/$1"; }

# What is told of clusters is cut short where it would be taken for the amount to read ahead.
test_queue_limits()
{
	local cluster
	for cluster in 32768 1048576 67108864; do
		make_image "$H/i" "$cluster" $((3 * cluster))
		attach p "$H/i"
		[[ $(queue_limit discard_granularity) == "$cluster" ]] || die "$cluster: granularity"
		(($(queue_limit optimal_io_size) == (cluster < 1048576 ? cluster : 1048576))) ||
			die "$cluster: optimal_io_size is $(queue_limit optimal_io_size)"
		(($(queue_limit read_ahead_kb) <= 2048)) ||
			die "$cluster: read_ahead_kb is $(queue_limit read_ahead_kb)"
		detach p
		rm "$H/i"
	done
}

test_read_only()
{
	local before
	make_image "$H/i" 1M 8M
	qemu-io -f parallels -c 'write -P 5 1M 2M' "$H/i" >/dev/null
	qemu-img convert -f parallels -O raw "$H/i" "$H/raw"
	before=$(sha256sum <"$H/i")
	mount -o remount,ro "$H"
	if attach p "$H/i" 2>/dev/null; then die 'a writable table on a read-only file system'; fi
	dmesg | tail -n 3 | grep -q 'ploop: delta .*read-only table' || die 'no word of why'
	dm_create p "$(image_table "$H/i")" --readonly
	field_is p mode ro
	[[ $(blockdev --getro /dev/mapper/p) == 1 ]]
	mirror /dev/mapper/p "$H/raw" --compare-only
	if dd if=/dev/zero of=/dev/mapper/p bs=4k count=1 oflag=direct 2>/dev/null; then die 'written'; fi
	if blkdiscard /dev/mapper/p 2>/dev/null; then die 'discarded'; fi
	dm_suspend p
	dm_resume p
	detach p
	mount -o remount,rw "$H"
	# On a file system that could be written nothing is, either.
	dm_create p "$(image_table "$H/i")" --readonly
	mirror /dev/mapper/p "$H/raw" --compare-only
	detach p
	[[ $(sha256sum <"$H/i") == "$before" ]] || die 'the image was changed'
	judge "$H/i" "$H/raw"
}

test_descriptors()
{
	make_image "$H/i" 1M 8M
	truncate -s 8M "$H/raw"
	exec 9<>"$H/i"
	dm_create p '0 16384 ploop 11 9'
	exec 9>&-
	mirror /dev/mapper/p "$H/raw" --ops 20
	detach p
	judge "$H/i" "$H/raw"
	exec 9<"$H/i"
	if dm_create p '0 16384 ploop 11 9' 2>"$H/said"; then die 'written without the right to'; fi
	grep -q 'Permission denied' "$H/said"
	if dm_create p '0 16384 ploop 11 77' 2>"$H/said"; then die 'no such descriptor'; fi
	dm_create p '0 16384 ploop 11 9' --readonly
	mirror /dev/mapper/p "$H/raw" --compare-only
	detach p
}

# Whoever holds a file open for writing may make it longer, whatever became of the permission
# to open it. Root is asked for that, too, without one of its capabilities.
test_growth_asks_for_no_permission()
{
	local -a load=(setpriv --bounding-set '-dac_override,-dac_read_search' dmsetup create p
		--noudevsync --noudevrules --table)
	local by
	truncate -s 8M "$H/raw"
	for by in path descriptor; do
		make_image "$H/i" 64k 8M
		chown 65534:65534 "$H/i"
		chmod 600 "$H/i"
		if "${load[@]}" "0 16384 ploop 7 $H/i" 2>/dev/null; then die 'this root can open it'; fi
		chmod 666 "$H/i"
		if [[ $by == path ]]; then
			"${load[@]}" "0 16384 ploop 7 $H/i"
		else
			python3 -BS tests/vm/descriptor.py '' "$H/i" -- "${load[@]}" '0 16384 ploop 7 9'
		fi
		chmod 600 "$H/i"
		watch_log
		timeout 60 python3 -BS tests/vm/mirror.py /dev/mapper/p "$H/raw" --cluster 65536 \
			--ops 20 --discard || die "$by: $(dmesg | tail -n 3)"
		field_is p mode rw
		detach p
		judge "$H/i" "$H/raw"
		rm "$H/i"
		truncate -s 0 "$H/raw"
		truncate -s 8M "$H/raw"
	done
}

# What can be no image is told by a look: to open a FIFO, a terminal or a tape does something.
test_other_files_are_not_opened()
{
	local name writer
	mkfifo "$H/fifo"
	mknod "$H/device" c 240 7
	# It waits for the other end to be opened.
	(: >"$H/fifo") &
	writer=$!
	nap 0.2
	for name in fifo device .; do
		watch_log
		if dm_create p "0 16384 ploop 11 $H/$name" 2>/dev/null; then die "$name"; fi
		dmesg | grep -q "ploop: delta $H/$name: neither a regular file nor a block device" ||
			die "$name: $(dmesg)"
		if dm_create p "0 16384 ploop 11 $H/$name" --readonly 2>/dev/null; then die "$name"; fi
		nap 0.3
		kill -0 "$writer" 2>/dev/null || die 'the FIFO has been opened'
	done
	kill "$writer"
}

test_reload()
{
	make_image "$H/i" 64k 8M
	truncate -s 8M "$H/raw"
	attach p "$H/i"
	for seed in 1 2 3; do
		mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 15 --seed "$seed" --discard
		if ((seed % 2)); then
			dm_load p "$(image_table "$H/i")" && dm_suspend p
		else
			dm_suspend p && dm_load p "$(image_table "$H/i")"
		fi
		# Suspended means still: the image is closed, whole and right.
		judge "$H/i" "$H/raw"
		dm_resume p
		# A live device with a loaded table takes it at a resume, too.
		dm_load p "$(image_table "$H/i" falloc_new_clu)"
		dm_resume p
		[[ $(dmsetup table p) == *' 128 f' ]] || die "$(dmsetup table p)"
	done
	mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 15 --seed 9
	dm_load p "$(image_table "$H/i")"
	dm clear p
	detach p
	judge "$H/i" "$H/raw"
}

test_reload_to_another_image()
{
	for name in a b; do
		make_image "$H/$name" 64k 8M
		qemu-io -f parallels -c "write -P 0x6$name 0 1M" "$H/$name" >/dev/null
		qemu-img convert -f parallels -O raw "$H/$name" "$H/raw-$name"
	done
	attach p "$H/a"
	mirror /dev/mapper/p "$H/raw-a" --cluster 65536 --ops 10
	dm_load p "$(image_table "$H/b")"
	dm_resume p
	blockdev --flushbufs /dev/mapper/p
	mirror /dev/mapper/p "$H/raw-b" --cluster 65536 --ops 10
	detach p
	judge "$H/a" "$H/raw-a"
	judge "$H/b" "$H/raw-b"
}

test_one_device_for_an_image()
{
	make_image "$H/i" 64k 8M
	truncate -s 8M "$H/raw"
	attach p "$H/i"
	if attach q "$H/i" 2>"$H/said"; then die 'two devices write to one image'; fi
	grep -q 'busy' "$H/said" || die "$(<"$H/said")"
	dm_remove q 2>/dev/null || true
	mirror /dev/mapper/p "$H/raw" --cluster 65536 --ops 10
	detach p
	judge "$H/i" "$H/raw"
}

test_module_stays_while_in_use()
{
	make_image "$H/i" 1M 8M
	attach p "$H/i"
	if rmmod dm_ploop 2>/dev/null; then die 'the module went'; fi
	detach p
	rmmod dm_ploop
	insmod "build/$(uname -r)/dm-ploop.ko"
	judge "$H/i"
}

test_text_of_status()
{
	local word
	make_image "$H/i" 1M 8M
	attach p "$H/i"
	dd if=/dev/urandom of=/dev/mapper/p bs=4k count=1 oflag=direct conv=fsync 2>/dev/null
	sleep 0.2
	[[ $(dmsetup status p) == '0 16384 ploop 1 v2 2048 o '* ]] || die "$(dmsetup status p)"
	for word in mode=rw used=1 total=8 parked=0 parked_oldest_ms=0 enospc_events=0 retries=0 \
		retry_ms=100 last_error=0; do
		field_is p "${word%=*}" "${word#*=}" || die "no $word in $(dmsetup status p)"
	done
	[[ $(dmsetup table p) == '0 16384 ploop 1 v2 2048 o' ]] || die "$(dmsetup table p)"
	[[ $(dm_message p get_img_name 0) == "$H/i" ]] || die "$(dm_message p get_img_name 0)"
	[[ -z $(dm_message p get_event) ]]
	# Somebody has not closed the image.
	[[ $(header_field "$H/i" 44 4) == $((0x746F6E59)) ]] || die 'no in-use mark'
	if dm_message p no_such_message 2>/dev/null; then die 'an unknown message'; fi
	dm_message p enospc_retry_ms 250
	field_is p retry_ms 250
	detach p
	judge "$H/i"
}

# What the kernel's integrity measurement writes down of a table, which the debug
# kernel does not have.
test_ima_status()
{
	local ima=/sys/kernel/security/ima measured
	[[ -d $ima ]] || mount -t securityfs securityfs /sys/kernel/security
	echo 'measure func=CRITICAL_DATA label=device-mapper template=ima-buf' >"$ima/policy"
	make_image "$H/i" 1M 8M
	attach p "$H/i"
	measured=$(awk '/ dm_table_load / { hex = $NF } END { print hex }' "$ima/ascii_runtime_measurements")
	measured=$(python3 -BS -c "print(bytes.fromhex('$measured').decode())")
	[[ $measured == *'target_name=ploop,target_version=1.0.0,deltas=1,format=v2,cluster_sectors=2048,mode=rw;'* ]] ||
		die "measured: $measured"
	detach p
	judge "$H/i"
}

run_suite
