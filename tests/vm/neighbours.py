#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write parts of the same blocks at the same time, each part by a writer of its own.

Of every pair of 4 KiB blocks the first belongs to eight writers, a sector each, the second as a
whole to a ninth, who then changes a sector of it. Whoever has written reads it back at once, and
all do at the end. One more reads sector by sector from the beginning to the end, as whoever makes
a host read ahead.

  neighbours.py /dev/mapper/p --pairs 64 --rounds 200
"""
import argparse
import mmap
import os
import random
import struct
import sys
import threading

SECTOR = 512
BLOCK = 4096


class Writer(threading.Thread):
    def __init__(self, device, args, number):
        super().__init__()
        self.device = device
        self.args = args
        self.random = random.Random(args.seed * 100 + number)
        self.length = BLOCK if number == 8 else SECTOR
        self.first = BLOCK if number == 8 else number * SECTOR
        self.number = number
        # Direct I/O wants memory at the start of a page.
        self.buffer = mmap.mmap(-1, BLOCK)
        self.last = {}
        self.why = None

    def content(self, pair):
        words = struct.pack("<QQ", self.number + 1, self.last[pair])
        content = bytearray(words * (self.length // 16))
        if self.number == 8:
            start = self.last[pair] % 8 * SECTOR
            content[start:start + SECTOR] = bytes([self.last[pair] % 256]) * SECTOR
        return content

    def place(self, pair):
        return pair * 2 * BLOCK + self.first

    def write(self, pair):
        self.last[pair] = self.last.get(pair, 0) + 1
        content = self.content(pair)
        if self.number == 8:
            start = self.last[pair] % 8 * SECTOR
            self.buffer[:BLOCK] = content[:start] + bytes(SECTOR) + content[start + SECTOR:]
            self.put(self.place(pair), BLOCK)
            self.buffer[:SECTOR] = content[start:start + SECTOR]
            self.put(self.place(pair) + start, SECTOR)
        else:
            self.buffer[:SECTOR] = content
            self.put(self.place(pair), SECTOR)

    def put(self, place, length):
        if os.pwritev(self.device, [memoryview(self.buffer)[:length]], place) != length:
            raise OSError("short write")

    def check(self, pair):
        view = memoryview(self.buffer)[:self.length]
        if os.preadv(self.device, [view], self.place(pair)) != self.length:
            raise OSError("short read")
        if view != self.content(pair):
            raise ValueError(f"writer {self.number}, pair {pair}: not what was written last")

    def run(self):
        try:
            for _ in range(self.args.rounds):
                pair = self.random.randrange(self.args.pairs)
                self.write(pair)
                self.check(pair)
        except (OSError, ValueError) as error:
            self.why = error

    def check_all(self):
        for pair in self.last:
            self.check(pair)


def read_on(device, args, writers):
    buffer = mmap.mmap(-1, BLOCK)
    while any(writer.is_alive() for writer in writers):
        for place in range(0, args.pairs * 2 * BLOCK, SECTOR):
            os.preadv(device, [memoryview(buffer)[:SECTOR]], place)


def main():
    parser = argparse.ArgumentParser(description="writers of parts of the same blocks")
    parser.add_argument("device")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    device = os.open(args.device, os.O_RDWR | os.O_DIRECT)
    writers = [Writer(device, args, number) for number in range(9)]
    for writer in writers:
        writer.start()
    read_on(device, args, writers)
    for writer in writers:
        writer.join()
        if writer.why:
            sys.exit(str(writer.why))
    for writer in writers:
        writer.check_all()


if __name__ == "__main__":
    main()
