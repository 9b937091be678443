#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Do to a device with parked writes, many times, what dmsetup does in a process for each command:
starting them would take most of the time on a slow machine.

  dm.py swap p TABLE --times 100 --parked 100
      suspend --noflush --nolockfs, load, resume --noflush, until as many are parked again
  dm.py remove p TABLE --times 90 --parked 100 --says SAYS --hold HOLD
      create, and when parked.py has its writes parked there: an error table, removal, as dmsetup
      remove --force has it, every other time with --deferred; all writes end with EIO
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
CREATE, REMOVE, SUSPEND, INFO, LOAD, STATUS = 3, 4, 6, 7, 9, 12
IS_SUSPEND, SKIP_LOCKFS, NOFLUSH, DEFERRED = 1 << 1, 1 << 10, 1 << 11, 1 << 17
ROOM = 16384


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

    def resume(self):
        self.ioctl(SUSPEND, NOFLUSH)

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
        device.ioctl(SUSPEND, IS_SUSPEND | NOFLUSH | SKIP_LOCKFS)
        device.load(args.table)
        device.resume()
        wait_for(f"swap {n}", device.has_parked, args.limit, device.status)


def remove(device, args):
    length = args.table.split(" ")[1]
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
        if time.monotonic() - began > args.limit:
            sys.exit(f"round {n} took {time.monotonic() - began} s")
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


def main():
    parser = argparse.ArgumentParser(description="what dmsetup does, many times")
    parser.add_argument("what", choices=["swap", "remove"])
    parser.add_argument("name")
    parser.add_argument("table")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--parked", type=int, default=100)
    parser.add_argument("--limit", type=float, default=5, help="seconds that a step may take")
    parser.add_argument("--says", help="what parked.py says")
    parser.add_argument("--hold", help="has parked.py open the device")
    args = parser.parse_args()
    (swap if args.what == "swap" else remove)(Device(args), args)


if __name__ == "__main__":
    main()
