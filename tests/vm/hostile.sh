# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2317 # tests are called by their names
#
# Images that lie: see tests/image/hostile.py and hostile_tables.py.
. tests/vm/lib.sh

make_host_fs xfs /dev/vda /mnt/hostile
python3 -BS tests/image/hostile.py /mnt/hostile/cases 2>&1
exec python3 -BS tests/vm/hostile_tables.py /mnt/hostile/cases
