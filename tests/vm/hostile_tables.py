#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Load a table for every case of tests/image/hostile.py, and judge the kernel's answers.

The errno is dmsetup's, the text that of the kernel's log. An image that is accepted is judged once
more when its table is gone.

That no table takes memory in proportion to what its image claims is shown exactly in tests/fuzz
(verdict.cc, memory_bound.h), on the simulated host, for the same images. Here MemAvailable is
sampled while a table loads: that sees only what is large and stays for some milliseconds, but
also what the kernel's side takes. The last test is of memory, too: what the kernel has, when all
is over, it had before.
"""
import dataclasses
import errno
import json
import os
import re
import subprocess
import sys
import threading

sys.path.insert(0, "tests/image")
import check_image  # noqa: E402
import make_image  # noqa: E402

PREFIX = os.environ.get("TEST_PREFIX", "")
LOSS_KIB = 24 << 10
# A right table takes a few MiB here, as dmsetup does; the rest is for what else goes on. The map
# for the least of the claims over the limit would take 512 MiB.
ONE_KIB = 128 << 10
SAMPLE_S = 0.001
COMPARE_MAX = 64 << 20
ERRORS = {os.strerror(number): name for number, name in errno.errorcode.items()}
ERRORS[os.strerror(errno.EOPNOTSUPP)] = "EOPNOTSUPP"  # it has two names


class Failure(Exception):
    """A case that was not answered as it should be."""


class Kernel:
    def __init__(self):
        self.log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.log, 0, os.SEEK_END)

    def said(self):
        lines = []
        while True:
            try:
                lines.append(os.read(self.log, 8192).decode(errors="replace").split(";", 1)[-1])
            except BlockingIOError:
                return "".join(lines)
            except BrokenPipeError:  # some were lost
                continue


def dmsetup(*args, table=None, limit=60):
    return subprocess.run(["dmsetup", *args, "--noudevsync", "--noudevrules"], input=table,
                          capture_output=True, text=True, timeout=limit, check=False)


def memory(*keys):
    with open("/proc/meminfo", encoding="ascii") as f:
        values = {line.split(":")[0]: int(line.split()[1]) for line in f}
    return sum(values[key] for key in keys)


class LeastAvailable:
    """Samples MemAvailable from begin to end: what is freed again at the end shows, too."""

    def __init__(self):
        self.before = self.least = memory("MemAvailable")
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.sample)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def sample(self):
        while not self.ended.wait(SAMPLE_S):
            self.least = min(self.least, memory("MemAvailable"))

    def taken(self):
        return self.before - self.least


def load(case, path):
    """None, or the name of the error."""
    with LeastAvailable() as available:
        result = dmsetup("load", "h",
                         table=f"0 {case['length']} ploop {case['cluster_log']} {path}\n")
    if available.taken() > ONE_KIB:
        raise Failure(f"it takes {available.taken()} KiB of memory")
    if result.returncode == 0:
        return None
    text = re.search(r"failed: (.*)", result.stderr)
    if not text or text[1] not in ERRORS:
        raise Failure(f"dmsetup said {result.stderr!r}")
    return ERRORS[text[1]]


def refuse(case, path, kernel):
    error = load(case, path)
    said = kernel.said()
    if error is None:
        raise Failure("it was accepted")
    if error != case["errno"]:
        raise Failure(f"{error}, not {case['errno']}: {said}")
    text = re.search(r"ploop: (.*) \(-\w+\)$", said, re.MULTILINE)
    if not text:
        raise Failure(f"no error text in {said!r}")
    if not re.search(case["text"], text[1], re.IGNORECASE):
        raise Failure(f"the text is: {text[1]}")


def attach(case, path, kernel):
    header = make_image.Header.read(path)
    error = load(case, path)
    if error:
        raise Failure(f"{error}: {kernel.said()}")
    try:
        result = dmsetup("resume", "h")
        if result.returncode:
            raise Failure(f"resume: {result.stderr} {kernel.said()}")
        if case["length"] * 512 <= COMPARE_MAX:
            compare(case, path)
    finally:
        removed = reset()
    if not removed:
        raise Failure("it cannot be removed")
    judge(path, header)


def compare(case, path):
    raw = os.path.join(os.path.dirname(path), "raw")
    make_image.to_raw(path, raw)
    subprocess.run(["dmsetup", "mknodes"], check=True)
    with open(raw, "rb") as wanted, open("/dev/mapper/h", "rb") as device:
        left = case["length"] * 512
        while left:
            length = min(left, 1 << 20)
            if wanted.read(length) != device.read(length):
                raise Failure("it reads as something else")
            left -= length


def judge(path, before):
    """What the device leaves has no fault, and at its end no space that nothing needs. Of the
    header only the in-use mark may have changed: what was no mark before is none now."""
    was_marked = before.in_use == make_image.IN_USE
    wanted = before if was_marked else dataclasses.replace(before, in_use=0)
    header = make_image.Header.read(path)
    if header != wanted:
        raise Failure(f"it leaves the header {header}, not {wanted}")
    faults = check_image.check(path, in_use_ok=was_marked)
    if faults:
        raise Failure("; ".join(faults.lines()))


def reset():
    """A device without a table, in place of the one that there is; was that removed?"""
    removed = dmsetup("remove", "--retry", "h").returncode == 0
    dmsetup("create", "h", "--notable")
    return removed


def main():
    outdir = sys.argv[1]
    with open(os.path.join(outdir, "cases.json"), encoding="ascii") as f:
        lists = json.load(f)
    kernel = Kernel()
    counts = {True: 0, False: 0}

    def result(name, why=None):
        counts[why is None] += 1
        print(f"not ok {PREFIX}{name}: {why}" if why else f"ok {PREFIX}{name}", flush=True)

    dmsetup("create", "h", "--notable")
    keys = ("Slab", "VmallocUsed", "Percpu")
    before = memory(*keys)
    for verdict, check in (("refuse", refuse), ("attach", attach)):
        for case in lists[verdict]:
            try:
                check(case, os.path.join(outdir, case["file"]), kernel)
                result(f"{verdict}.{case['name']}")
            except (Failure, subprocess.TimeoutExpired) as failure:
                result(f"{verdict}.{case['name']}", failure)
                reset()
    dmsetup("remove", "h")
    os.system("echo 2 >/proc/sys/vm/drop_caches")
    grown = memory(*keys) - before
    result("memory", f"the kernel has {grown} KiB more than before" if grown > LOSS_KIB else None)
    print(f"{counts[True]} passed, {counts[False]} failed")
    sys.exit(1 if counts[False] else 0)


if __name__ == "__main__":
    main()
