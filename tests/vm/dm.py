#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Do to a device with parked writes, many times, what dmsetup does in a process for each command:
starting them would take most of the time on a slow machine.

  dm.py swap p TABLE --times 100 --parked 100
      suspend --noflush --nolockfs, load, resume --noflush, until as many are parked again
  dm.py remove p TABLE --times 90 --parked 100 --says SAYS --hold HOLD
      create, and when parked.py has its writes parked there: an error table, removal, as dmsetup
      remove --force has it, every other time with --deferred; all writes end with EIO
  dm.py keep-swapping p TABLE --stop FILE
      loads the table while the old one is live or is suspended, or only suspends, once a second
      until FILE is there; says how often, and how long each of the steps took at most
"""
import argparse
import errno
import fcntl
import os
import stat
import struct
import sys
import time

# struct dm_ioctl and dm_target_spec of linux/dm-ioctl.h, its commands, and its flags
# DM_SUSPEND_FLAG, DM_SKIP_LOCKFS_FLAG, DM_NOFLUSH_FLAG and DM_DEFERRED_REMOVE
HEADER = struct.Struct("=3I I I I i I I I Q 128s 129s 7s")
TARGET = struct.Struct("=Q Q i I 16s")
CREATE, REMOVE, SUSPEND, INFO, LOAD, STATUS, MESSAGE = 3, 4, 6, 7, 9, 12, 14
IS_SUSPEND, SKIP_LOCKFS, NOFLUSH, DEFERRED = 1 << 1, 1 << 10, 1 << 11, 1 << 17
ROOM = 16384
REMOVAL = 5  # seconds that the commands of a removal may take


class Device:
    def __init__(self, args):
        self.args = args
        self.name = args.name.encode()
        self.node = "/dev/mapper/" + args.name
        self.control = os.open("/dev/mapper/control", os.O_RDWR)

    def ioctl(self, number, flags=0, targets=0, data=b""):
        buffer = bytearray(ROOM)
        HEADER.pack_into(buffer, 0, 4, 0, 0, ROOM, HEADER.size, targets, 0, flags, 0, 0, 0,
                         self.name, b"", b"")
        buffer[HEADER.size:HEADER.size + len(data)] = data
        request = 3 << 30 | HEADER.size << 16 | 0xFD << 8 | number
        fcntl.ioctl(self.control, request, buffer)
        return buffer

    def load(self, table):
        start, length, kind, params = table.split(" ", 3)
        spec = TARGET.pack(int(start), int(length), 0, 0, kind.encode())
        self.ioctl(LOAD, targets=1, data=spec + params.encode() + b"\0")

    def suspend(self, flags=0):
        self.ioctl(SUSPEND, IS_SUSPEND | flags)

    def resume(self, flags=NOFLUSH):
        self.ioctl(SUSPEND, flags)

    def message(self, text):
        """To the target at sector 0, as struct dm_target_msg."""
        self.ioctl(MESSAGE, data=struct.pack("=Q", 0) + text.encode() + b"\0")

    def create(self):
        device = HEADER.unpack_from(self.ioctl(CREATE))[10]
        self.load(self.args.table)
        self.resume()
        major, minor = device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00
        os.mknod(self.node, stat.S_IFBLK | 0o600, os.makedev(major, minor))

    def remove(self, flags=0):
        """False if it is busy."""
        try:
            self.ioctl(REMOVE, flags)
            return True
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False

    def is_gone(self):
        try:
            self.ioctl(INFO)
            return False
        except OSError as error:
            return error.errno == errno.ENXIO

    def status(self):
        answer = self.ioctl(STATUS, NOFLUSH)
        start = HEADER.unpack_from(answer)[4] + TARGET.size
        return answer[start:answer.index(0, start)].decode()

    def has_parked(self):
        return int(self.status().split(" parked=")[1].split()[0]) == self.args.parked


def wait_for(what, condition, limit, why=str):
    """What is parked may be on its way as the probe, now and then."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit:
            sys.exit(f"{what}: {why()}")
        time.sleep(0.02)


def swap(device, args):
    for n in range(1, args.times + 1):
        device.suspend(NOFLUSH | SKIP_LOCKFS)
        device.load(args.table)
        device.resume()
        wait_for(f"swap {n}", device.has_parked, args.limit, device.status)


def remove(device, args):
    length = args.table.split(" ")[1]
    longest = 0
    for n in range(1, args.times + 1):
        device.create()
        if os.path.exists(args.says):
            os.unlink(args.says)
        with open(args.hold, "w", encoding="ascii"):
            pass
        wait_for(f"round {n}", device.has_parked, args.limit, device.status)
        began = time.monotonic()
        device.load(f"0 {length} error ")
        device.resume()
        # It is open: it goes when it is closed, or when somebody comes again.
        if device.remove(DEFERRED if n % 2 else 0) != bool(n % 2):
            sys.exit(f"round {n}: removal of an open device")
        longest = max(longest, time.monotonic() - began)
        if longest > REMOVAL:
            sys.exit(f"round {n} took {longest} s")
        wait_for(f"round {n}", lambda: os.path.exists(args.says), args.limit)
        with open(args.says, encoding="ascii") as said:
            ends = said.read().split()
        if f"EIO={args.parked}" not in ends:
            sys.exit(f"round {n}: {ends}")
        os.unlink(args.hold)
        if n % 2 == 0:
            wait_for(f"round {n}", device.remove, args.limit)
        wait_for(f"round {n}", device.is_gone, args.limit)
        os.unlink(device.node)
    print(f"# the longest removal took {longest:.2f} s")


def keep_swapping(device, args):
    steps = {
        "load": lambda: device.load(args.table),
        "suspend": device.suspend,
        "suspend_noflush": lambda: device.suspend(NOFLUSH),
        "resume": lambda: device.resume(0),
    }
    longest = dict.fromkeys(steps, 0.0)
    ways = (("suspend", "resume"), ("load", "suspend", "resume"),
            ("suspend_noflush", "load", "resume"))
    n = 0
    while not os.path.exists(args.stop):
        n += 1
        due = time.monotonic() + 1
        for step in ways[n % 3]:
            began = time.monotonic()
            steps[step]()
            longest[step] = max(longest[step], time.monotonic() - began)
        time.sleep(max(0.1, due - time.monotonic()))
    print(n, " ".join(f"{step}={seconds:.1f}s" for step, seconds in longest.items()))


def main():
    parser = argparse.ArgumentParser(description="what dmsetup does, many times")
    parser.add_argument("what", choices=["swap", "remove", "keep-swapping"])
    parser.add_argument("name")
    parser.add_argument("table")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--parked", type=int, default=100)
    parser.add_argument("--limit", type=float, default=5, help="seconds that a step may take")
    parser.add_argument("--says", help="what parked.py says")
    parser.add_argument("--hold", help="has parked.py open the device")
    parser.add_argument("--stop", help="the file that ends it")
    args = parser.parse_args()
    what = {"swap": swap, "remove": remove, "keep-swapping": keep_swapping}[args.what]
    what(Device(args), args)


if __name__ == "__main__":
    main()
