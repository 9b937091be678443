#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Read and write pieces of 4 KiB without waiting, where something is mapped and where nothing is.

Each request ends with success or with EAGAIN; then it is done again and may wait. Of what is
mapped some must be read without a wait: a target that refused all would be right, and useless.
What was written is written to the raw file, too, and all that is read is compared with that.

  nowait.py /dev/mapper/p raw.img --ops 400 --seed 1
"""
import argparse
import collections
import mmap
import os
import random
import sys

PIECE = 4096


class Pieces:
    def __init__(self, args):
        self.random = random.Random(args.seed)
        self.device = os.open(args.device, os.O_RDWR | os.O_DIRECT)
        self.raw = os.open(args.raw, os.O_RDWR)
        self.pieces = os.lseek(self.device, 0, os.SEEK_END) // PIECE
        self.buffer = mmap.mmap(-1, PIECE)
        self.written = []
        self.ends = collections.Counter()

    def transfer(self, call, kind, offset):
        """Any other error than EAGAIN ends the program, and so does a part of a piece."""
        try:
            done = call(self.device, [self.buffer], offset, os.RWF_NOWAIT)
            self.ends[kind, "at once"] += 1
        except BlockingIOError:
            self.ends[kind, "EAGAIN"] += 1
            done = call(self.device, [self.buffer], offset)
        if done != PIECE:
            sys.exit(f"{kind} at byte {offset}: {done} bytes")

    def write(self, offset):
        kind = "overwrite" if offset in self.written else "write"
        self.buffer[:] = self.random.randbytes(PIECE)
        self.transfer(os.pwritev, kind, offset)
        os.pwrite(self.raw, self.buffer, offset)
        self.written.append(offset)

    def read(self, offset):
        kind = "read" if offset in self.written else "read of anything"
        # Nothing that was there before may be taken for what was read.
        self.buffer[:] = b"\xa5" * PIECE
        self.transfer(os.preadv, kind, offset)
        if self.buffer[:] != os.pread(self.raw, PIECE, offset):
            sys.exit(f"{kind} at byte {offset}: not what was written")

    def run(self, ops):
        for _ in range(ops):
            call = self.random.choice((self.write, self.read))
            if self.written and self.random.randrange(2):
                call(self.random.choice(self.written))
            else:
                call(self.random.randrange(self.pieces) * PIECE)
        print("#", ", ".join(f"{kind} {end}: {count}"
                             for (kind, end), count in sorted(self.ends.items())))
        for kind in ("write", "overwrite", "read", "read of anything"):
            if not self.ends[kind, "at once"] + self.ends[kind, "EAGAIN"]:
                sys.exit(f"no {kind}")
        if not self.ends["read", "at once"]:
            sys.exit("nothing that is mapped was read without a wait")


def main():
    parser = argparse.ArgumentParser(description="requests that must not wait")
    parser.add_argument("device")
    parser.add_argument("raw")
    parser.add_argument("--ops", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    Pieces(args).run(args.ops)


if __name__ == "__main__":
    main()
