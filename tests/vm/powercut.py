#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A power cut: the writer, the disk as it was then, and the judge of the records.

  write DIR ACKS DEVICE   numbered files, each fsynced; then its number is marked in the log of the
                          dm-log-writes device, and appended to ACKS
  cut LOG DISK SEED MODE  makes DISK (a new file) as it may be when the power fails at some moment
                          after the first acknowledged record: all up to the last flush before it,
                          and of what the volatile cache had, MODE: `dropped`, `kept` or `some`.
                          Prints the last acknowledged record.
  judge DIR LAST          every record up to LAST is there and right
"""
import os
import random
import struct
import subprocess
import sys

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<4Q")


def record(number):
    """Its size and bytes follow from its number."""
    source = random.Random(number)
    return source.randbytes(source.randint(1, 65536))


def write(directory, acks, device):
    numbers = random.Random()
    with open(acks, "a", encoding="ascii") as told:
        dirfd = os.open(directory, os.O_RDONLY)
        number = 0
        while True:
            number += 1
            fd = os.open(f"{directory}/{number}", os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(fd, record(number))
            os.fsync(fd)
            os.close(fd)
            os.fsync(dirfd)
            subprocess.run(["dmsetup", "message", device, "0", "mark", f"ack-{number}"],
                           check=True)
            told.write(f"{number}\n")
            told.flush()
            os.fsync(told.fileno())
            # Something that nobody waits for.
            with open(f"{directory}/noise-{numbers.randrange(8)}", "wb") as f:
                f.write(numbers.randbytes(numbers.randrange(300000)))


class Log:
    """Entries: (flags, sector, sectors, where the data is in the log), marks as numbers."""

    def __init__(self, path):
        self.file = open(path, "rb")
        magic, version, count, self.unit = SUPER.unpack(self.file.read(SUPER.size))
        if magic != MAGIC or version != 1:
            sys.exit(f"{path}: no log of dm-log-writes")
        self.entries, self.acks = [], {}
        where = self.unit
        for _ in range(count):
            self.file.seek(where)
            head = self.file.read(self.unit)
            sector, sectors, flags, length = ENTRY.unpack_from(head)
            where += self.unit
            if flags & MARK:
                text = head[ENTRY.size:ENTRY.size + length].split(b"\0")[0].decode()
                if text.startswith("ack-"):
                    self.acks[len(self.entries)] = int(text[4:])
            self.entries.append((flags, sector, sectors, where))
            if not flags & DISCARD:
                where += sectors * self.unit

    def apply(self, index, disk):
        flags, sector, sectors, where = self.entries[index]
        disk.seek(sector * self.unit)
        if flags & DISCARD:
            left = sectors * self.unit
            while left:
                left -= disk.write(bytes(min(left, 1 << 20)))
        elif sectors:
            self.file.seek(where)
            disk.write(self.file.read(sectors * self.unit))


def cut(log_path, disk_path, seed, mode):
    log = Log(log_path)
    source = random.Random(seed)
    if not log.acks:
        sys.exit("nothing was acknowledged")
    moment = source.randrange(min(log.acks), len(log.entries))
    flush = max(i for i in range(moment + 1) if log.entries[i][0] & FLUSH)
    end = next((i for i in range(flush + 1, len(log.entries)) if log.entries[i][0] & FLUSH),
               len(log.entries))
    with open(disk_path, "r+b") as disk:
        for index in range(flush + 1):
            log.apply(index, disk)
        # In the log, what a flush covers comes with it: so these were in the cache, but for
        # those with FUA.
        for index in range(flush + 1, end):
            through = log.entries[index][0] & FUA and index <= moment
            if through or mode == "kept" or (mode == "some" and source.randrange(2)):
                log.apply(index, disk)
    print(max(number for index, number in log.acks.items() if index <= moment))


def judge(directory, last):
    for number in range(1, last + 1):
        with open(f"{directory}/{number}", "rb") as f:
            if f.read() != record(number):
                sys.exit(f"record {number} of {last} is wrong")


def main():
    command, *args = sys.argv[1:]
    if command == "write":
        write(*args)
    elif command == "cut":
        cut(args[0], args[1], int(args[2]), args[3])
    elif command == "judge":
        judge(args[0], int(args[1]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
