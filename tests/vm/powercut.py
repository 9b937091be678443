#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A power cut: the writer, the disk as it was then, and the judge of the records.

  write DIR ACKS DEVICE   numbered files, each fsynced; then its number is marked in the log of the
                          dm-log-writes device, and appended to ACKS
  cut LOG DISK SEED MODE  makes DISK (a new file) as it may be when the power fails at some moment
                          after the first acknowledged record: all up to the last flush before it,
                          and of what the volatile cache had, MODE: `dropped`, `kept` or `some`.
                          `dropped` is at once when a record is acknowledged: then a flush that
                          ended too early shows. Prints the last acknowledged record.
  judge DIR LAST          every record up to LAST is there and right
"""
import argparse
import os
import random
import sys

from dm import Device
from log_writes import FLUSH, FUA, Log


def record(number):
    """Its size and bytes follow from its number."""
    source = random.Random(number)
    return source.randbytes(source.randint(1, 65536))


def write(directory, acks, device):
    numbers = random.Random()
    log = Device(argparse.Namespace(name=device))
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
            # Without a program to start: nothing may become durable meanwhile by itself.
            log.message(f"mark ack-{number}")
            told.write(f"{number}\n")
            told.flush()
            os.fsync(told.fileno())
            # Something that nobody waits for.
            with open(f"{directory}/noise-{numbers.randrange(8)}", "wb") as f:
                f.write(numbers.randbytes(numbers.randrange(300000)))


def cut(log_path, disk_path, seed, mode):
    log = Log(log_path)
    source = random.Random(seed)
    if not log.acks:
        sys.exit("nothing was acknowledged")
    if mode == "dropped":
        moment = source.choice(list(log.acks))
    else:
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
