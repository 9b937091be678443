#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Takes all free space of a file system, what is reserved for root included.

	fill.py MOUNTPOINT [--spare FILE --device DEVICE --at MIB]

The space is in files .fill-* there. With --spare, that file is given up first, and
4 MiB of random bytes are written to the device, past the page cache: what the
device's host makes of them is newer than all else, and then there is no space. One
program does it all, because starting programs takes long in a VM.

Fails if there is room left: without that, a test would prove nothing.
"""

import argparse
import ctypes
import errno
import mmap
import os
import sys
import time

MIB = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)


def free_bytes(where):
    now = os.statvfs(where)
    return now.f_bfree * now.f_frsize


def sync_fs(where):
    fd = os.open(where, os.O_RDONLY)
    # What could not be written is not there, and its space is not taken.
    if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0 and ctypes.get_errno() not in FULL:
        sys.exit(f"fill: syncfs {where}: {os.strerror(ctypes.get_errno())}")
    os.close(fd)


class Filler:
    def __init__(self, where):
        self.where = where
        # A name that an earlier call has taken would free what that one took.
        self.first, self.count = time.time_ns(), 0

    def fits(self, work, *args):
        """Does what this does to a new file find its space?"""
        self.count += 1
        name = f"{self.where}/.fill-{self.first}-{self.count}"
        fd = None
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            work(fd, *args)
        except OSError as error:
            if error.errno not in FULL:
                raise
            return False
        finally:
            if fd is not None:
                os.close(fd)
        return True

    def allocate(self):
        """The bulk, without writing it."""
        size = free_bytes(self.where)
        while size >= MIB:
            if not self.fits(os.posix_fallocate, 0, size):
                size //= 2
            size = min(size, free_bytes(self.where))

    def fill(self):
        """A file system that frees some at a commit is filled again."""
        for _ in range(3):
            free = free_bytes(self.where)
            self.allocate()
            for size in (65536, 4096):
                while self.fits(write_16_mib, size):
                    pass
            sync_fs(self.where)
            if free_bytes(self.where) == free:
                break


def write_16_mib(fd, size):
    for _ in range(16 * MIB // size):
        os.write(fd, bytes(size))


def write_durably(fd):
    if os.write(fd, bytes(65536)) < 65536:
        raise OSError(errno.ENOSPC, "a short write")
    os.fsync(fd)


def write_new(device, at_mib):
    buffer = mmap.mmap(-1, MIB)
    fd = os.open(device, os.O_WRONLY | os.O_DIRECT)
    for mib in range(at_mib, at_mib + 4):
        buffer[:] = os.urandom(MIB)
        if os.pwrite(fd, buffer, mib * MIB) != MIB:
            sys.exit(f"fill: {device} took less than was written")
    os.close(fd)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("where")
    parser.add_argument("--spare")
    parser.add_argument("--device")
    parser.add_argument("--at", type=int)
    options = parser.parse_args()
    if options.spare:
        os.unlink(options.spare)
        sync_fs(options.where)
        write_new(options.device, options.at)
    filler = Filler(options.where)
    filler.fill()
    if filler.fits(write_durably):
        sys.exit(f"fill: {options.where} still has room")


main()
