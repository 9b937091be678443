#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Load a table for every case of tests/image/hostile.py, and judge the kernel's answers.

The errno is dmsetup's, the text that of the kernel's log. The last test is that of memory: what
the kernel has, when all is over, it had before.
"""
import errno
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, "tests/image")
import make_image  # noqa: E402

PREFIX = os.environ.get("TEST_PREFIX", "")
LOSS_KIB = 24 << 10
ONE_KIB = 600 << 10  # less than the VM has: a table may not take that much
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


def load(case, outdir):
    """None, or the name of the error."""
    path = os.path.join(outdir, case["file"])
    before = memory("MemAvailable")
    result = dmsetup("load", "h", table=f"0 {case['length']} ploop {case['cluster_log']} {path}\n")
    if before - memory("MemAvailable") > ONE_KIB:
        raise Failure("it takes too much memory")
    if result.returncode == 0:
        return None
    text = re.search(r"failed: (.*)", result.stderr)
    if not text or text[1] not in ERRORS:
        raise Failure(f"dmsetup said {result.stderr!r}")
    return ERRORS[text[1]]


def refuse(case, outdir, kernel):
    error = load(case, outdir)
    said = kernel.said()
    if error is None:
        raise Failure("it was accepted")
    if error not in case["errno"]:
        raise Failure(f"{error}, not {' or '.join(case['errno'])}")
    text = re.search(r"ploop: (.*) \(-\w+\)$", said, re.MULTILINE)
    if not text:
        raise Failure(f"no error text in {said!r}")
    if not re.search(case["text"], text[1], re.IGNORECASE):
        raise Failure(f"the text is: {text[1]}")


def attach(case, outdir, kernel):
    error = load(case, outdir)
    if error:
        raise Failure(f"{error}: {kernel.said()}")
    result = dmsetup("resume", "h")
    if result.returncode:
        raise Failure(f"resume: {result.stderr} {kernel.said()}")
    try:
        if case["length"] * 512 <= COMPARE_MAX:
            compare(case, outdir)
    finally:
        reset()


def compare(case, outdir):
    raw = os.path.join(outdir, "raw")
    make_image.to_raw(os.path.join(outdir, case["file"]), raw)
    subprocess.run(["dmsetup", "mknodes"], check=True)
    with open(raw, "rb") as wanted, open("/dev/mapper/h", "rb") as device:
        left = case["length"] * 512
        while left:
            length = min(left, 1 << 20)
            if wanted.read(length) != device.read(length):
                raise Failure("it reads as something else")
            left -= length


def either(case, outdir, kernel):
    error = load(case, outdir)
    kernel.said()
    if error is None:
        dmsetup("resume", "h")
        subprocess.run(["dmsetup", "mknodes"], check=True)
        try:
            # That it comes to an end is all there is to say about it.
            subprocess.run(["dd", "if=/dev/mapper/h", "of=/dev/null", "bs=1M", "count=16"],
                           capture_output=True, timeout=60, check=False)
        finally:
            reset()
    elif error not in case["errno"]:
        raise Failure(f"{error}, not {' or '.join(case['errno'])}")


def reset():
    dmsetup("remove", "--retry", "h")
    dmsetup("create", "h", "--notable")


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
    for verdict, check in (("refuse", refuse), ("attach", attach), ("either", either)):
        for case in lists[verdict]:
            try:
                check(case, outdir, kernel)
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
