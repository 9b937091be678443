#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write the seeds of the fuzz targets: small images, right and wrong, from tests/image/, and
lines. The corpus is kept in the tree; this remakes it when the formats of the inputs change.
"""
import argparse
import hashlib
import os
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "image"))

import hostile  # noqa: E402
import mutate  # noqa: E402
from make_image import make_image  # noqa: E402

LOGS = (6, 6, 6, 7, 8, 17, 5, 18)  # as in image_fuzz.cc
BLOCK_DEVICE, READ_ONLY, FALLOCATE, INLINE, NO_DIRECT, ALIGN_4K = (1 << i for i in range(6))
PREFIX_BYTES = 1600  # of an image; longer ones are left to the differential test
MUTATED = 60
NO_END_OF_SPACE = 255


def seed(outdir, data):
    name = hashlib.sha1(data).hexdigest()[:16]
    with open(os.path.join(outdir, name), "wb") as f:
        f.write(data)


def image_seed(path, log, length, flags=0, off=0, space=NO_END_OF_SPACE, seed_byte=1, ops=(7, 1)):
    """An image as image_fuzz.cc takes it, or None if it is too large for a seed."""
    if log not in LOGS:
        return None
    cluster = 512 << log
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        prefix = f.read(min(size, 1 << 20)).rstrip(b"\0")
    if len(prefix) > PREFIX_BYTES:
        prefix = prefix[:PREFIX_BYTES]
        if struct.unpack_from("<I", prefix, 32)[0] > (PREFIX_BYTES - 64) // 4 and any(prefix[64:]):
            return None  # its BAT goes on
    clusters = -(-length // (1 << log))
    if not 0 < clusters <= 2048:
        return None
    file_clusters, extra = divmod(size, cluster)
    if extra >= 1 << 15:
        file_clusters, extra = file_clusters + 1, extra - cluster
    if not -(1 << 15) <= extra < 1 << 15:
        return None
    if file_clusters >= 8192:
        file_clusters |= 1 << 31
    if file_clusters >= 1 << 32:
        return None
    return struct.pack("<BBHBBhIBBBB", LOGS.index(log), flags, clusters - 1,
                       min(255, clusters * (1 << log) - length), off, extra, file_clusters, space,
                       seed_byte, *ops) + prefix


def image_seeds(outdir):
    with tempfile.TemporaryDirectory() as work:
        for cases in hostile.write_cases(work).values():
            for case in cases:
                path = os.path.join(work, case["file"])
                if os.path.isfile(path):
                    yield image_seed(path, case["cluster_log"], case["length"])
        path = os.path.join(work, "mutated")
        for number in range(MUTATED):
            image, _ = mutate.mutated(f"corpus/{number}")
            image.write(path)
            yield image_seed(path, image.log, image.length, flags=number % 64, seed_byte=number)
        # Right images, on all kinds of files, with all kinds of requests, with little space.
        for number in range(48):
            make_image(path, 100 * 64, 64, bat={0: 1, 5: 3, 63: 2, 99: 7}, in_use=0)
            yield image_seed(path, 6, 100 * 64, flags=number & ~BLOCK_DEVICE,
                             space=(NO_END_OF_SPACE, 0, 3, 20)[number % 4], seed_byte=number * 5,
                             ops=(number, number // 2))
        make_image(path, 300 * 64, 64, fill=True, seed=3)
        for flags in (BLOCK_DEVICE, BLOCK_DEVICE | NO_DIRECT, READ_ONLY, FALLOCATE | ALIGN_4K):
            yield image_seed(path, 6, 300 * 64, flags=flags)
        make_image(path, 2000 * 64, 64, bat={0: 4, 1100: 3, 1999: 5})
        yield image_seed(path, 6, 300 * 64, off=17)
        yield image_seed(path, 6, 300 * 64, off=255)
        make_image(path, 10 * 64, 64, entries=20, bat={0: 1, 15: 2})
        yield image_seed(path, 6, 10 * 64)
        make_image(path, 100 * 64, 64, bat={0: 1, 101: 5})  # a tail that is not zero
        yield image_seed(path, 6, 100 * 64)
        for bat in ({0: 1}, {0: 2, 1: 1}, {3: 5, 4: 5}, {3: 5, 100: 5}, {0: 4, 1: 99}):
            make_image(path, 9000 * 64, 64, bat=bat, file_clusters=20)  # a BAT of two clusters
            yield image_seed(path, 6, 2000 * 64)
        for log in (5, 18):
            make_image(path, 4 << log, 1 << log, fill=True)
            yield image_seed(path, log, 4 << log)


TABLE_LINES = """6 /img
6 3
6 raw@/img
6 raw@3
7 /img
5 /img
18 /img
6 4
6 5
6 6
6 1
6 /none
6 /ro
6 image
6 3 image
6 /img /img
6 off=8 /img
6 off=18014398509481984 /img
6 off=18446744073709551616 /img
6 falloc_new_clu nokblkcg /img
6 enospc_retry_ms=100 enospc_timeout_s=60 /img
6 enospc_retry_ms=0 /img
6 enospc_timeout_s=31536001 /img
6 low_water=1024 error_if_no_space /img
6 low_water=x /img
6 2147483648x
6 99999999999
6 falloc_new_clu

6
""".split("\n")

MESSAGES = """get_event
retry_enospc
enospc_retry_ms 100
enospc_retry_ms 0
enospc_retry_ms 60001
enospc_timeout_s 60
enospc_timeout_s 31536001
low_water 100
low_water 1073741825
error_if_no_space
queue_if_no_space
set_falloc_new_clu 1
set_falloc_new_clu 2
get_img_name 0
get_img_name 1
get_img_name 18446744073709551616
get_img_name
get_event now
unknown

merge
notify_merged 1 2
resize 100
snapshot 3
tracking_start
push_backup_start
flip_upper_deltas
update_delta_index 0 3""".split("\n")


def line_seeds():
    for number, line in enumerate(TABLE_LINES):
        messages = [MESSAGES[(number * 3 + i) % len(MESSAGES)] for i in range(4)]
        yield bytes([number * 37 % 256]) + "\n".join([line, *messages]).encode()
    for number, message in enumerate(MESSAGES):
        for how in (0x07, 0x4a):
            yield bytes([how]) + f"6 /img\n{message}\nget_event\n{message}\n{message}".encode()


def main():
    parser = argparse.ArgumentParser(description="write the seeds of the fuzz targets")
    parser.add_argument("outdir", nargs="?", default=os.path.join(HERE, "corpus"))
    args = parser.parse_args()
    for target, seeds in (("image", image_seeds(args.outdir)), ("line", line_seeds())):
        directory = os.path.join(args.outdir, target)
        os.makedirs(directory, exist_ok=True)
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        for data in seeds:
            if data is not None:
                seed(directory, data)
        files = [os.path.join(directory, name) for name in os.listdir(directory)]
        print(f"{target}: {len(files)} seeds, {sum(map(os.path.getsize, files))} bytes")


if __name__ == "__main__":
    main()
