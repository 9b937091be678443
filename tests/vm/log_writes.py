#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a dm-log-writes device has logged, of all that was written to it.

  log_writes.py LOG RAW GRAIN   does the same to RAW, where a discard makes zeros of whole grains of
                                so many bytes and leaves the rest
"""
import struct
import sys

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<4Q")


class Log:
    """Entries: (flags, sector, sectors, where the data is in the log), marks as numbers.

    A discard makes zeros of the whole grains of its range, which are so many bytes.
    """

    def __init__(self, path, grain=512):
        self.grain = grain
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
        first, last = sector * self.unit, (sector + sectors) * self.unit
        if flags & DISCARD:
            first = -(-first // self.grain) * self.grain
            left = last // self.grain * self.grain - first
            disk.seek(first)
            while left > 0:
                left -= disk.write(bytes(min(left, 1 << 20)))
        elif sectors:
            disk.seek(first)
            self.file.seek(where)
            disk.write(self.file.read(last - first))


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    log = Log(sys.argv[1], int(sys.argv[3]))
    if not log.entries:
        sys.exit("nothing was written")
    with open(sys.argv[2], "r+b") as raw:
        for index in range(len(log.entries)):
            log.apply(index, raw)


if __name__ == "__main__":
    main()
