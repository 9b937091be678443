#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Writers who know what was promised to them: numbered records, each made durable by fsync.

Each of several writers appends records to a file of its own in DIR and, after the fsync of each,
notes their count in NOTES/<writer>. A later run compares all that was noted with what is there:

  rounds.py write /mnt/fs /dev/shm/notes --budget /dev/shm/budget
  rounds.py verify /mnt/fs /dev/shm/notes

The file BUDGET has the number of records that each may have written; the writers wait for it to
grow, and end when it is gone. An error ends its writer, and stands in NOTES/error-<writer>.
"""
import argparse
import errno
import mmap
import os
import random
import sys
import threading
import time


def record(writer, number, size):
    return random.Random(f"{writer}/{number}").randbytes(size)


def note(args, name, what):
    path = os.path.join(args.notes, name)
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(what)
    os.rename(path + ".new", path)


class Writer(threading.Thread):
    """Every other one writes past the page cache."""

    def __init__(self, args, number):
        super().__init__()
        self.args = args
        self.number = number
        self.written = 0
        self.buffer = mmap.mmap(-1, args.record)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_DIRECT if number % 2 else 0)
        self.file = os.open(os.path.join(args.dir, str(number)), flags, 0o600)
        note(args, str(number), "0")

    def allowed(self):
        """None: the end."""
        try:
            with open(self.args.budget, encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def write_one(self):
        self.buffer[:] = record(self.number, self.written, self.args.record)
        offset = self.written * self.args.record
        if os.pwrite(self.file, self.buffer, offset) != self.args.record:
            raise OSError(errno.EIO, "a short write")
        os.fsync(self.file)
        self.written += 1
        note(self.args, str(self.number), str(self.written))

    def run(self):
        try:
            while (allowed := self.allowed()) is not None:
                if self.written < allowed:
                    self.write_one()
                else:
                    time.sleep(0.05)
        except OSError as error:
            note(self.args, f"error-{self.number}", errno.errorcode[error.errno])


def verify(args):
    for number in range(args.writers):
        with open(os.path.join(args.notes, str(number)), encoding="ascii") as file:
            count = int(file.read())
        with open(os.path.join(args.dir, str(number)), "rb") as file:
            for i in range(count):
                if file.read(args.record) != record(number, i, args.record):
                    sys.exit(f"writer {number}: record {i} of {count} that were durable is lost")


def main():
    parser = argparse.ArgumentParser(description="writers that note what was made durable")
    parser.add_argument("what", choices=("write", "verify"))
    parser.add_argument("dir")
    parser.add_argument("notes")
    parser.add_argument("--budget")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--record", type=int, default=65536, help="bytes")
    args = parser.parse_args()
    if args.what == "verify":
        verify(args)
        return
    for writer in [Writer(args, number) for number in range(args.writers)]:
        writer.start()


if __name__ == "__main__":
    main()
