#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Have many direct writes under way at once, each into a cluster of its own; say how each ended.

What was acknowledged is written to the raw file, too: it is what the device and its image are
compared with later. What to expect is the caller's to know: the counts are the last line of SAYS,

  ended=20 ok=0 ENOSPC=20 earliest_ms=5012 latest_ms=5020

with the time from the first submission to the first and the last end. All writes take their data
from a few pages, so that the memory they need is the kernel's.

  parked.py /dev/mapper/p raw.img says --writes 100 --cluster 32768 --first 64
"""
import argparse
import collections
import ctypes
import errno
import mmap
import os
import struct
import time

PAGE = 4096
PAGES = 61  # a prime: neighbours differ, and so do those a power of two apart
EVENTS = 256
IO_SETUP, IO_GETEVENTS, IO_SUBMIT = 206, 208, 209  # x86-64
PWRITE = 1

LIBC = ctypes.CDLL(None, use_errno=True)


def syscall(number, *arguments):
    """Python has no asynchronous I/O of the kernel's, and the C library none either."""
    while True:
        result = LIBC.syscall(ctypes.c_long(number), *arguments)
        if result >= 0:
            return result
        if ctypes.get_errno() not in (errno.EINTR, errno.EAGAIN):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Writes:
    def __init__(self, args):
        self.args = args
        self.raw = os.open(args.raw, os.O_RDWR)
        self.pages = mmap.mmap(-1, PAGES * PAGE)
        self.pages[:] = os.urandom(PAGES * PAGE)
        self.context = ctypes.c_ulong(0)
        syscall(IO_SETUP, ctypes.c_long(args.writes), ctypes.byref(self.context))
        self.blocks = ctypes.create_string_buffer(64 * args.writes)

    def offset(self, number):
        """Not all at the start of their cluster."""
        in_cluster = number * PAGE % self.args.cluster
        return (self.args.first + number) * self.args.cluster + in_cluster

    def submit(self):
        self.device = os.open(self.args.device, os.O_RDWR | os.O_DIRECT)
        self.ends = collections.Counter()
        self.times = []
        first = ctypes.addressof(self.blocks)
        data = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))
        for number in range(self.args.writes):
            struct.pack_into("<QIIHhIQqqQII", self.blocks, 64 * number, number, 0, 0, PWRITE, 0,
                             self.device, data + number % PAGES * PAGE, PAGE,
                             self.offset(number), 0, 0, 0)
        with open("/proc/meminfo", encoding="ascii") as before:
            self.say(before.read(), ".before")
        self.began = time.monotonic()
        done = 0
        while done < self.args.writes:
            count = self.args.writes - done
            pointers = (ctypes.c_void_p * count)(*(first + 64 * (done + i) for i in range(count)))
            done += syscall(IO_SUBMIT, self.context, ctypes.c_long(count), pointers)

    def take_ends(self):
        """An event is the number of its write, its address, and how it ended."""
        events = ctypes.create_string_buffer(32 * EVENTS)
        left = self.args.writes
        while left > 0:
            count = syscall(IO_GETEVENTS, self.context, ctypes.c_long(1), ctypes.c_long(EVENTS),
                            events, ctypes.c_void_p(None))
            self.times.append(time.monotonic() - self.began)
            for i in range(count):
                self.ended(*struct.unpack_from("<QQqq", events, 32 * i)[::2])
            left -= count

    def ended(self, number, result):
        if result == PAGE:
            at = number % PAGES * PAGE
            os.pwrite(self.raw, self.pages[at:at + PAGE], self.offset(number))
        self.ends["ok" if result == PAGE else errno.errorcode.get(-result, "short")] += 1

    def say(self, what, suffix=""):
        """Whoever reads it sees all of it or nothing."""
        with open(self.args.says + ".new", "w", encoding="ascii") as file:
            file.write(what)
        os.rename(self.args.says + ".new", self.args.says + suffix)

    def wait_for_hold(self, wanted):
        while self.args.hold and os.path.exists(self.args.hold) != wanted:
            time.sleep(0.05)

    def run(self):
        self.wait_for_hold(True)
        self.submit()
        self.take_ends()
        kinds = " ".join(f"{kind}={count}" for kind, count in sorted(self.ends.items()))
        first, last = (int(1000 * self.times[i]) for i in (0, -1))
        self.say(f"ended={self.args.writes} {kinds} earliest_ms={first} latest_ms={last}\n")
        self.wait_for_hold(False)
        os.close(self.device)


def main():
    parser = argparse.ArgumentParser(description="many direct writes at once")
    parser.add_argument("device")
    parser.add_argument("raw")
    parser.add_argument("says")
    parser.add_argument("--writes", type=int, default=100)
    parser.add_argument("--cluster", type=int, default=32768, help="bytes")
    parser.add_argument("--first", type=int, default=0, help="the first write's cluster")
    parser.add_argument("--hold", metavar="FILE", help="have the device open while it is there")
    parser.add_argument("--rounds", type=int, default=1, help="so often, each with its --hold")
    args = parser.parse_args()
    writes = Writes(args)
    for _ in range(args.rounds):
        writes.run()


if __name__ == "__main__":
    main()
