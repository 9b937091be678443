#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Do the same random operations to a device and to a raw file, and compare them.

What the file has is known without the target: it is the raw copy that an image is compared with.
Before and after the operations the whole device is read, past the page cache.

  mirror.py /dev/mapper/p raw.img --cluster 1048576 --ops 100 --seed 1 --discard
"""
import argparse
import fcntl
import mmap
import os
import random
import struct
import sys

BLKDISCARD, BLKZEROOUT = 0x1277, 0x127F
SECTOR = 512
PIECE = 4 << 20


class Mirror:
    def __init__(self, args):
        self.args = args
        self.random = random.Random(args.seed)
        flags = os.O_RDONLY if args.compare_only else os.O_RDWR
        self.device = os.open(args.device, flags | os.O_DIRECT)
        self.raw = os.open(args.raw, flags)
        self.skip = args.off * SECTOR
        self.size = os.lseek(self.device, 0, os.SEEK_END)
        if self.size + self.skip != os.lseek(self.raw, 0, os.SEEK_END):
            sys.exit(f"{args.device}: {self.size} bytes, and the raw file has another size")
        # Direct I/O wants memory at the start of a page.
        self.buffer = mmap.mmap(-1, max(PIECE, args.longest))

    def compare(self, when):
        for start in range(0, self.size, PIECE):
            length = min(PIECE, self.size - start)
            view = memoryview(self.buffer)[:length]
            flags = self.random.choice((0, os.RWF_NOWAIT))
            if self.transfer(os.preadv, view, start, flags) != length:
                sys.exit(f"{when}: short read at byte {start}")
            wanted = os.pread(self.raw, length, start + self.skip)
            # Views are compared byte by byte, bytes all at once.
            if self.buffer[:length] != wanted:
                at = next(i for i in range(length) if view[i] != wanted[i])
                sys.exit(f"{when}: byte {start + at} is {view[at]:#x}, not {wanted[at]:#x}")

    def transfer(self, call, view, start, flags):
        try:
            done = call(self.device, [view], start, flags)
            if done == len(view) or not flags & os.RWF_NOWAIT:
                return done
        except BlockingIOError:
            pass
        return call(self.device, [view], start)

    def some_range(self):
        """Often at the edges of clusters, often short, sometimes several clusters long."""
        cluster = self.args.cluster
        kind = self.random.randrange(4)
        if kind == 0:
            length = self.random.randint(1, 8) * SECTOR
        elif kind == 1:
            length = cluster * self.random.randint(1, 3)
        else:
            length = self.random.randint(1, self.args.longest // SECTOR) * SECTOR
        length = min(length, self.args.longest, self.size)
        start = self.random.randrange(0, self.size - length + 1, SECTOR)
        if self.random.randrange(3) == 0:
            start -= start % cluster
        elif self.random.randrange(3) == 0:
            start = max(0, start - start % cluster - SECTOR)
        return start, min(length, self.size - start)

    def write(self, start, length):
        view = memoryview(self.buffer)[:length]
        if self.random.randrange(10) == 0:
            view[:] = bytes(length)
        else:
            word = self.random.randbytes(SECTOR)
            view[:] = (word * (length // SECTOR + 1))[:length]
            for pos in range(0, length, SECTOR):
                struct.pack_into("<Q", self.buffer, pos, start + pos)
        # As it comes, with FUA, or without waiting, which may be refused.
        flags = self.random.choice((0, 0, os.RWF_DSYNC, os.RWF_NOWAIT))
        if self.transfer(os.pwritev, view, start, flags) != length:
            sys.exit(f"short write at byte {start}")
        os.pwrite(self.raw, view, start + self.skip)

    def zero(self, start, length):
        fcntl.ioctl(self.device, BLKZEROOUT, struct.pack("QQ", start, length))
        self.clear(start, length)

    def discard(self, start, length):
        """Whole clusters become zeros, the rest stays."""
        fcntl.ioctl(self.device, BLKDISCARD, struct.pack("QQ", start, length))
        cluster = self.args.cluster
        first = -(-(start + self.skip) // cluster) * cluster
        last = (start + self.skip + length) // cluster * cluster
        if first < last:
            self.clear(first - self.skip, last - first)

    def clear(self, start, length):
        for pos in range(start, start + length, PIECE):
            os.pwrite(self.raw, bytes(min(PIECE, start + length - pos)), pos + self.skip)

    def run(self):
        self.compare("before")
        if self.args.compare_only:
            return
        kinds = [self.write] * 8 + [self.zero]
        if self.args.discard:
            kinds += [self.discard] * 2
        for _ in range(self.args.ops):
            self.random.choice(kinds)(*self.some_range())
            if self.random.randrange(10) == 0:
                os.fsync(self.device)
        if self.args.whole:
            self.whole_cluster()
        self.compare("after")

    def whole_cluster(self):
        """The last one: written, unmapped, written in part, which must not bring back what it
        had, zeroed, and unmapped by half, which does nothing."""
        cluster = self.args.cluster
        start = (self.size // cluster - 1) * cluster
        for pos in range(start, start + cluster, PIECE):
            self.write(pos, min(PIECE, start + cluster - pos))
        os.fsync(self.device)
        self.discard(start, cluster)
        self.write(start + cluster // 2 - SECTOR, 3 * SECTOR)
        self.compare("after the unmapping")
        self.zero(start, cluster)
        self.write(start, min(PIECE, cluster // 8))
        self.discard(start, cluster // 2)


def main():
    parser = argparse.ArgumentParser(description="the same operations on a device and a raw file")
    parser.add_argument("device")
    parser.add_argument("raw")
    parser.add_argument("--cluster", type=int, default=1 << 20, help="bytes")
    parser.add_argument("--ops", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=int, default=1 << 20, help="bytes of an operation")
    parser.add_argument("--off", type=int, default=0, help="sectors before the device's first")
    parser.add_argument("--discard", action="store_true")
    parser.add_argument("--whole", action="store_true", help="of a cluster, at last")
    parser.add_argument("--compare-only", action="store_true")
    Mirror(parser.parse_args()).run()


if __name__ == "__main__":
    main()
