#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write a block and a sector of it at the same time, as two requests.

Whichever is the last to write the sector, the rest of the block is as the whole write has it.

  parts.py /dev/mapper/p --rounds 100
"""
import argparse
import mmap
import os
import sys
import threading

SECTOR = 512
BLOCK = 4096


def memory(byte, length):
    # Direct I/O wants it at the start of a page.
    buffer = mmap.mmap(-1, BLOCK)
    buffer[:] = bytes([byte]) * BLOCK
    return memoryview(buffer)[:length]


def main():
    parser = argparse.ArgumentParser(description="writes of a block and of a part of it")
    parser.add_argument("device")
    parser.add_argument("--rounds", type=int, default=100)
    args = parser.parse_args()
    device = os.open(args.device, os.O_RDWR | os.O_DIRECT)
    back = mmap.mmap(-1, BLOCK)
    for turn in range(args.rounds):
        whole, part = turn % 250 + 1, 255
        place, sector = turn % 16 * BLOCK, turn % 8
        barrier = threading.Barrier(2)

        def write(byte, length, offset, first):
            buffer = memory(byte, length)
            barrier.wait()
            # Now the one, now the other begins.
            if not first:
                os.sched_yield()
            os.pwritev(device, [buffer], offset)

        threads = [
            threading.Thread(target=write, args=(whole, BLOCK, place, turn % 2 == 0)),
            threading.Thread(target=write,
                             args=(part, SECTOR, place + sector * SECTOR, turn % 2 == 1)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.preadv(device, [back], place)
        for i in range(BLOCK):
            may_be = (whole, part) if i // SECTOR == sector else (whole,)
            if back[i] not in may_be:
                sys.exit(f"round {turn}: byte {i} is {back[i]}, of sector {sector} and {whole}")


if __name__ == "__main__":
    main()
