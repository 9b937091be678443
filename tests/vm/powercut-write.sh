# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Runs until the power fails: ext4 on ploop on ext4 on a disk whose writes and
# flushes are logged on another.
. tests/vm/lib.sh

set -e
for name in dm-mod dm-log-writes; do modprobe "$name"; done
insmod "build/$(uname -r)/dm-ploop.ko"
dm_create log "0 $(blockdev --getsz /dev/vda) log-writes /dev/vda /dev/vdb"
make_host_fs ext4 /dev/mapper/log /mnt/host
make_image /mnt/host/i 64k 128M
attach p /mnt/host/i
mkfs.ext4 -q -E lazy_itable_init=0 /dev/mapper/p
mkdir -p /mnt/above
mount -o discard /dev/mapper/p /mnt/above
mkdir /mnt/above/records
sync
python3 -BS tests/vm/powercut.py write /mnt/above/records /run/share/acks log
