#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write hostile, broken and odd images, with what the target must answer to each.

OUTDIR/cases.json holds two lists:
  refuse  the table must not load: `errno` is the name that docs/dm-ploop.rst has for it, `text` a
          regular expression for the error text (POSIX extended and Python alike, to be matched
          without regard to case): it has the field and the value
  attach  odd, but none of the manual's errors: must load, and read as `make_image.py to-raw`
          reads it; and when the table is gone the image must be right. `faults` are the kinds of
          fault that check_image.py finds in it before
Every case has name, file (relative to OUTDIR, or an absolute path), cluster_log and length (in
sectors) for the table. Those to be refused also have fault_in: what is at fault (image, table,
file, or limit: the format allows it, but not the target), so that a checker which knows no table
and no limits, or reads only regular files, knows what it can see; and checker_text: as `text`, but
for what check_image.py says.
"""
import argparse
import errno
import json
import os
import sys

from make_image import (
    CLOSED_V21, FLAG_CONVERSION, FLAG_EMPTY, HEADER_BYTES, IN_USE, SECTOR, SIGNATURE_V1, extension,
    make_image, set_entries, set_header)

# The names of the fields, as the texts have them.
TYPE = "^type is"
CLUSTER = "^cluster size is"
ENTRIES = "^BAT entries is"
SIZE = "^size is"
FIRST_BLOCK = "^first block offset is"
FLAGS = "^flags are"
ENTRY = "^BAT entry"
FILE_SIZE = "^file size"

# The two images that most cases start from, both with 32 KiB clusters, mapped in order.
LOG = 6
CLUSTER_SECTORS = 1 << LOG
CLUSTER_BYTES = CLUSTER_SECTORS * SECTOR
SMALL = 128    # entries: a BAT of one cluster, one page
WIDE = 20000   # a BAT of three clusters, twenty pages
WIDE_FIRST = 3
PAGE_END = (4096 - 64) // 4 - 1  # the last entry in the file's first page

MAX_ENTRIES = 67108864
MAX_CLUSTERS = MAX_ENTRIES - 1024  # of the device: a page of the BAT less
MIN_SECTORS, MAX_SECTORS = 64, 131072  # of a cluster
MAX_RATIO = 64
RATIO_FREE_ENTRIES = 65536  # so many may be claimed whatever the table's length


def says(field, *values):
    """A text whose first numbers after the field's name are these values."""
    return field + "".join(f"[^0-9]*{spell(value)}" for value in values)


def spell(value):
    """A number, decimal or hexadecimal."""
    return rf"(\b{value}\b|\b0x{value:x}\b)"


class Cases:
    def __init__(self, outdir):
        self.outdir = outdir
        self.lists = {"refuse": [], "attach": []}

    def path(self, name):
        return os.path.join(self.outdir, name + ".img")

    def add(self, verdict, name, length, cluster_log=LOG, file=None, **more):
        self.lists[verdict].append({"name": name, "file": file or name + ".img",
                                    "cluster_log": cluster_log, "length": length, **more})

    def refuse(self, name, code, text, length=SMALL * CLUSTER_SECTORS, checker=None,
               fault_in="image", **more):
        self.add("refuse", name, length, errno=code, text=text, checker_text=checker or text,
                 fault_in=fault_in, **more)

    def attach(self, name, length, faults=(), **more):
        self.add("attach", name, length, faults=list(faults), **more)

    def small(self, name, **fields):
        make_image(self.path(name), SMALL * CLUSTER_SECTORS, CLUSTER_SECTORS, fill=True)
        set_header(self.path(name), **fields)

    def wide(self, name, entries=None, **fields):
        make_image(self.path(name), WIDE * CLUSTER_SECTORS, CLUSTER_SECTORS, fill=True)
        set_header(self.path(name), **fields)
        set_entries(self.path(name), entries or {})

    def header(self, name, code, text, checker=None, **fields):
        """The small image with header fields changed."""
        self.small(name, **fields)
        self.refuse(name, code, text, checker=checker)

    def entry(self, name, code, index, value, bound, length=WIDE * CLUSTER_SECTORS):
        """The wide image with a BAT entry on the wrong side of a bound."""
        self.wide(name, {index: value})
        self.refuse(name, code, says(ENTRY, index, value, bound), length)

    def duplicate(self, name, changes, first, second, cluster, length):
        """The wide image with entries changed so that the second has the first one's cluster."""
        self.wide(name, changes)
        self.refuse(name, "EPROTO", says(ENTRY, second, cluster) + ".*duplicate", length,
                    checker=says(ENTRY, second, cluster, first))

    def resized(self, name, code, text, size, base="small", checker=None):
        """A base image whose file got another size, in bytes."""
        getattr(self, base)(name)
        os.truncate(self.path(name), size)
        self.refuse(name, code, text,
                    (SMALL if base == "small" else WIDE) * CLUSTER_SECTORS, checker)


def truncate_sparse(path, size):
    """As large as asked, or as the host file system lets a file be (ext4: 16 TiB)."""
    while True:
        try:
            os.truncate(path, size)
            return size
        except OSError:
            size //= 2


def bad_signatures(c):
    c.header("signature-v1", "EOPNOTSUPP", r"^signature is WithoutFreeSpace \(version 1\)",
             r"^signature is b'WithoutFreeSpace' \(format v1\)", signature=SIGNATURE_V1)
    for name, value in (("garbage", bytes(range(128, 144))), ("zero", bytes(16)),
                        ("one-letter", b"WithouFreSpacEx_"), ("case", b"withouFreSpacExt"),
                        ("format-string", b"%s%s%n%x%p%s%s%n")):
        # What cannot be shown is a dot.
        shown = "".join(chr(byte) if 0x20 < byte < 0x7F else r"\." for byte in value)
        c.header(f"signature-{name}", "EOPNOTSUPP", f"^signature is {shown}, not WithouFreSpacExt",
                 "^signature is b'.*', not b'WithouFreSpacExt'", signature=value)


def bad_types(c):
    for value in (0, 1, 3, 0xFFFFFFFF):
        c.header(f"type-{value}", "EINVAL", says(TYPE, value, 2), type=value)


def bad_clusters(c):
    for value in (0, 1, 32, 63, 96, 128, 262144, 1 << 31, 0xFFFFFFFF):
        checker = says(CLUSTER, value, MIN_SECTORS, MAX_SECTORS)
        if value == 128:  # wrong only beside the table's, and with the rest of the header
            checker = says(FIRST_BLOCK, CLUSTER_SECTORS, 128, SMALL)
        c.header(f"cluster-{value}", "EINVAL", says(CLUSTER, value, CLUSTER_SECTORS), checker,
                 cluster_sectors=value)
    name = "cluster-not-of-table"
    make_image(c.path(name), SMALL * 128, 128, fill=True)
    c.refuse(name, "EINVAL", says(CLUSTER, 128, CLUSTER_SECTORS), fault_in="table")
    # Image and table agree, on a size that the format does not allow.
    for log in (5, 18):
        name = f"cluster-log-{log}"
        make_image(c.path(name), 4 << log, 1 << log, fill=True)
        c.refuse(name, "EINVAL", says("^cluster_log is", log, 6, 17), 4 << log,
                 says(CLUSTER, 1 << log, MIN_SECTORS, MAX_SECTORS), cluster_log=log)


def bad_sizes(c):
    right = SMALL * CLUSTER_SECTORS
    c.header("entries-0", "EINVAL", says(ENTRIES, 0), "^BAT entries: none", entries=0)
    c.header("entries-0-size-0", "EINVAL", says(ENTRIES, 0), "^BAT entries: none", entries=0,
             size_sectors=0)
    for value in (SMALL - 1, 1):
        c.header(f"entries-{value}", "EINVAL", says(SIZE, right, value), entries=value)
    # Too many for the table, and for the first block offset that the header gives; also:
    # 64 + 4 * entries overflows.
    for value in (1 << 29, 1 << 30, (1 << 30) - 16, 0xFFFFFFFF):
        c.header(f"entries-{value:#x}", "EFBIG", says(ENTRIES, value, MAX_RATIO, SMALL),
                 says(FIRST_BLOCK, CLUSTER_SECTORS), entries=value)
    c.header("entries-huge-size-too", "EFBIG", says(ENTRIES, 0xFFFFFFFF, MAX_RATIO, SMALL),
             says(FIRST_BLOCK, CLUSTER_SECTORS), entries=0xFFFFFFFF,
             size_sectors=0xFFFFFFFF * CLUSTER_SECTORS)

    c.header("size-0", "EBADSLT", says(SIZE, 0, right), says(SIZE, 0), size_sectors=0)
    for value in (1, right - 1):
        name = f"size-{value}"
        c.small(name, size_sectors=value)
        c.refuse(name, "EBADSLT", says(SIZE, value, right), fault_in="table")
    for value in (right + 1, (1 << 32) + 1, (1 << 32) + right, 1 << 55, 1 << 63, (1 << 64) - 1):
        c.header(f"size-{value:#x}", "EINVAL", says(SIZE, value, SMALL), size_sectors=value)
    for extra in (1, CLUSTER_SECTORS):
        name = f"table-longer-by-{extra}"
        c.small(name)
        c.refuse(name, "EBADSLT", says(SIZE, right, right + extra), right + extra,
                 fault_in="table")


def bad_first_blocks(c):
    for value in (0, 1, 63, 65, 128, 128 * 64, 1 << 31, 0xFFFFFFC0, 0xFFFFFFFF):
        c.header(f"first-block-{value}", "EINVAL",
                 says(FIRST_BLOCK, value, SMALL, CLUSTER_SECTORS),
                 says(FIRST_BLOCK, value, CLUSTER_SECTORS, SMALL), first_block=value)
    right = WIDE_FIRST * CLUSTER_SECTORS
    for value in (64, 128, 256):  # inside the BAT, or a cluster behind its end
        name = f"first-block-wide-{value}"
        c.wide(name, first_block=value)
        c.refuse(name, "EINVAL", says(FIRST_BLOCK, value, WIDE, right), WIDE * CLUSTER_SECTORS,
                 says(FIRST_BLOCK, value, right, WIDE))


def bad_flags(c):
    for name, value in (("conversion", FLAG_CONVERSION),
                        ("conversion-and-empty", FLAG_CONVERSION | FLAG_EMPTY)):
        c.header(f"flags-{name}", "EINVAL", says(FLAGS, value) + ".*conversion", flags=value)


def bad_entries(c):
    end = WIDE + WIDE_FIRST  # the first cluster behind the file
    last = WIDE - 1
    part = 1000 * CLUSTER_SECTORS
    c.entry("entry-inside-bat-first", "EXDEV", 0, 1, WIDE_FIRST)
    c.entry("entry-inside-bat-last", "EXDEV", last, WIDE_FIRST - 1, WIDE_FIRST)
    c.entry("entry-inside-bat-behind-page", "EXDEV", PAGE_END + 1, 2, WIDE_FIRST)
    c.entry("entry-inside-bat-behind-table", "EXDEV", 15000, 2, WIDE_FIRST, part)
    for name, index, value in (
            ("file-end", 0, end), ("file-end-last", last, end), ("file-end-page", PAGE_END, end),
            ("behind-file", 5000, end + 1000), ("all-ones", 7, 0xFFFFFFFF),
            ("all-ones-last", last, 0xFFFFFFFF), ("sign", 9, 1 << 31), ("max-int", 9, 0x7FFFFFFF),
            # Right again where the offset is kept in 32 bits of sectors, or of bytes.
            ("sectors-wrap", 100, (1 << 26) + 10), ("bytes-wrap", 100, (1 << 17) + 10),
            # A sector number, as in format v1.
            ("in-sectors", 4000, 1000 * CLUSTER_SECTORS)):
        c.entry(f"entry-{name}", "EPROTO", index, value, end)
    c.entry("entry-behind-table", "EPROTO", 15000, end, end, part)
    c.entry("entry-behind-table-by-one", "EPROTO", 1000, end, end, part)

    name = "entry-all-ones-everywhere"
    c.wide(name, dict.fromkeys(range(WIDE), 0xFFFFFFFF))
    c.refuse(name, "EPROTO", says(ENTRY, 0, 0xFFFFFFFF, end), WIDE * CLUSTER_SECTORS)

    name = "entry-far-in-sparse-file"
    c.small(name)
    far = truncate_sparse(c.path(name), 1 << 47) // CLUSTER_BYTES - 1
    set_entries(c.path(name), {3: far})
    c.refuse(name, "EFBIG", says(ENTRY, 3, far) + ".* beyond .*needs", fault_in="limit")

    name = "entry-behind-last"  # the BAT's tail, up to the cluster's end
    c.small(name)
    set_entries(c.path(name), {SMALL: 7, 8000: 0xFFFFFFFF})
    c.refuse(name, "EPROTO", says(ENTRY, SMALL, 7, SMALL),
             checker=says("^BAT tail is not zero: byte", HEADER_BYTES + 4 * SMALL, SMALL) +
             ".* 0x07$")


def duplicates(c):
    """Entry i of the wide image has cluster i + WIDE_FIRST, so a copy of that makes a pair. The
    later one is the one that is found."""
    full, part = WIDE * CLUSTER_SECTORS, 1000 * CLUSTER_SECTORS
    for name, index, owner, length in (
            ("adjacent", 1, 0, full), ("adjacent-last", WIDE - 1, WIDE - 2, full),
            ("far-apart", WIDE - 1, 0, full), ("backwards", 0, WIDE - 1, full),
            ("same-page", 100, 900, full), ("across-page-border", PAGE_END + 1, PAGE_END, full),
            ("other-page", 3000, 12000, full), ("behind-table", 15000, 19000, part),
            ("across-table-end", 1000, 999, part), ("behind-table-of-inside", 15000, 10, part)):
        cluster = owner + WIDE_FIRST
        c.duplicate(f"duplicate-{name}", {index: cluster}, min(index, owner), max(index, owner),
                    cluster, length)
    cluster = 50 + WIDE_FIRST
    c.duplicate("duplicate-three", {1: cluster, 7000: cluster}, 1, 50, cluster, full)
    c.duplicate("duplicate-all", dict.fromkeys(range(WIDE), WIDE_FIRST), 0, 1, WIDE_FIRST, full)


def bad_file_sizes(c):
    small = (SMALL + 1) * CLUSTER_BYTES
    for size in (0, 1, 16, 63):
        c.resized(f"file-{size}-bytes", "ENODATA", says(FILE_SIZE, size) + ".*too short", size,
                  checker=says("^header: the file has only", size))
    # A header, and a part of its page: that is what the target reads.
    for size in (64, 512):
        c.resized(f"file-{size}-bytes", "ENODATA", says(FILE_SIZE, size) + ".*too short", size,
                  checker=says(FILE_SIZE, size))
    c.resized("file-4096-bytes", "EPROTO", says(FILE_SIZE, 4096, CLUSTER_BYTES), 4096)
    c.resized("file-header-cluster-only", "EPROTO", says(ENTRY, 0, 1, 1), CLUSTER_BYTES)
    c.resized("file-bat-cut-at-cluster", "ENODATA", says(FILE_SIZE, 2 * CLUSTER_BYTES, WIDE),
              2 * CLUSTER_BYTES, "wide", says("^BAT of", WIDE, WIDE_FIRST, 2))
    c.resized("file-bat-cut-at-page", "EPROTO", says(FILE_SIZE, 3 * 4096, CLUSTER_BYTES),
              3 * 4096, "wide")
    c.resized("file-bat-only", "EPROTO", says(ENTRY, 0, WIDE_FIRST, WIDE_FIRST),
              WIDE_FIRST * CLUSTER_BYTES, "wide")
    c.resized("file-last-cluster-cut-off", "EPROTO", says(ENTRY, SMALL - 1, SMALL, SMALL),
              small - CLUSTER_BYTES)
    for change in (-1, -512, -4096, -CLUSTER_BYTES // 2, 1, 512, CLUSTER_BYTES - 1):
        c.resized(f"file-size{change:+d}", "EPROTO",
                  says(FILE_SIZE, small + change, CLUSTER_BYTES), small + change)


def not_files(c):
    def refuse(name, code, text, file=None):
        path = file or rf"/.*/{name}\.img"
        c.refuse(name, code, f"^delta {path}: {text}", fault_in="file", file=file)

    neither = "neither a regular file nor a block device"
    os.mkdir(c.path("directory"))
    refuse("directory", "EINVAL", neither)
    os.mkfifo(c.path("fifo"))
    refuse("fifo", "EINVAL", neither)
    refuse("character-device", "EINVAL", neither, "/dev/zero")
    refuse("missing", "ENOENT", "no such file")
    os.symlink("symlink-loop.img", c.path("symlink-loop"))
    refuse("symlink-loop", "ELOOP", rf"cannot be opened, error -{errno.ELOOP}\b")


def absurd_claims(c):
    """Everything fits together; the file is sparse, so every size can be made true."""
    def claim(name, entries, table_clusters, truncate=None, verdict="refuse"):
        sectors = entries * CLUSTER_SECTORS
        make_image(c.path(name), sectors, CLUSTER_SECTORS)
        if truncate:
            truncate_sparse(c.path(name), truncate)
        if verdict == "attach":
            c.attach(name, table_clusters * CLUSTER_SECTORS)
            return
        text = says(ENTRIES, entries, MAX_RATIO, table_clusters)
        if table_clusters > MAX_CLUSTERS:
            text = says("^table has", table_clusters, MAX_CLUSTERS)
        c.refuse(name, "EFBIG", text, table_clusters * CLUSTER_SECTORS, fault_in="table")

    claim("claim-all-entries", 0xFFFFFFFF, SMALL)
    claim("claim-all-entries-and-1-PiB", 0xFFFFFFFF, SMALL, 1 << 50)
    claim("claim-all-entries-and-table", 0xFFFFFFFF, 0xFFFFFFFF)
    claim("claim-over-limit", MAX_ENTRIES + 1, MAX_ENTRIES + 1)
    claim("claim-over-limit-short-table", MAX_ENTRIES + 1, 1)
    claim("claim-over-ratio", MAX_RATIO * 2048 + 1, 2048)
    claim("claim-over-ratio-1-PiB", MAX_RATIO * 2048 + 1, 2048, 1 << 50)
    claim("claim-over-free-entries", RATIO_FREE_ENTRIES + 1, 1)
    claim("claim-at-ratio", MAX_RATIO * 2048, 2048, verdict="attach")
    claim("claim-at-free-entries", RATIO_FREE_ENTRIES, 1, verdict="attach")


def odd_image(c, name, length=SMALL * CLUSTER_SECTORS, size=SMALL * CLUSTER_SECTORS, bat=None,
              faults=(), **more):
    """An image with data, of which every third cluster is mapped if nothing else is said."""
    if bat is None:
        bat = {k: 1 + k for k in range(0, SMALL, 3)}
    make_image(c.path(name), size, CLUSTER_SECTORS, bat=bat, data=True, **more)
    c.attach(name, length, faults)


def odd_but_right(c):
    length = SMALL * CLUSTER_SECTORS

    def odd(name, **more):
        odd_image(c, name, **more)

    odd("ok-plain")
    odd("ok-nothing-mapped", bat={})
    odd("ok-backwards", bat={k: SMALL - k for k in range(SMALL)})
    odd("ok-in-use", in_use=IN_USE)
    odd("ok-closed-v21", in_use=CLOSED_V21)
    odd("ok-flag-empty", bat={}, flags=FLAG_EMPTY)
    odd("ok-geometry", heads=0xFFFFFFFF, cylinders=0)
    odd("ok-image-larger", length=10 * CLUSTER_SECTORS)
    odd("ok-table-ends-inside-cluster", length=10 * CLUSTER_SECTORS + 8)
    odd("ok-size-not-cluster-multiple", length=length - 8, size=length - 8, entries=SMALL)
    odd("ok-size-one-sector", length=1, size=1, bat={0: 1})
    odd("ok-holes-in-file", bat={0: 9, 5: 40, 127: 4})
    odd("ok-clusters-at-end", file_clusters=2 * SMALL)
    odd("ok-file-of-clusters-only-at-end", bat={}, file_clusters=SMALL)

    name = "ok-extension"
    odd(name, in_use=CLOSED_V21, bat={0: 1, 1: 2, 9: 4}, ext_offset=3 * CLUSTER_SECTORS)
    with open(c.path(name), "r+b") as f:
        f.seek(3 * CLUSTER_BYTES)
        f.write(extension(CLUSTER_SECTORS))

    name = "ok-bat-of-clusters"
    make_image(c.path(name), WIDE * CLUSTER_SECTORS, CLUSTER_SECTORS, fill=True, seed=1)
    c.attach(name, WIDE * CLUSTER_SECTORS)
    # The BAT ends exactly where a page, and where the cluster ends: there is no tail.
    for name, entries in (("page", PAGE_END + 1), ("cluster", (CLUSTER_BYTES - 64) // 4)):
        name = f"ok-bat-fills-{name}"
        make_image(c.path(name), entries * CLUSTER_SECTORS, CLUSTER_SECTORS, fill=True)
        c.attach(name, entries * CLUSTER_SECTORS)
    for log in range(6, 18):
        name = f"ok-cluster-{1 << log}"
        make_image(c.path(name), 5 << log, 1 << log, bat={0: 3, 4: 1, 2: 2}, data=8)
        c.attach(name, 5 << log, cluster_log=log)


def odd_but_served(c):
    """What the format leaves open, or a checker takes amiss: no reason for an error."""
    odd_image(c, "flags-unknown", flags=0xFFFFFFFC)
    odd_image(c, "flag-empty-but-mapped", flags=FLAG_EMPTY)
    odd_image(c, "in-use-mark-unknown", in_use=0xDEADBEEF, faults=["in-use"])
    odd_image(c, "extension-offset-wild", in_use=CLOSED_V21, ext_offset=1 << 60,
              faults=["extension"])
    odd_image(c, "extension-in-bat", in_use=CLOSED_V21, ext_offset=1, faults=["extension"])
    odd_image(c, "extension-is-data", in_use=CLOSED_V21, ext_offset=4 * CLUSTER_SECTORS,
              faults=["extension", "duplicate"])
    # More entries than the size needs, as an image that has shrunk.
    length = 10 * CLUSTER_SECTORS
    odd_image(c, "entries-more-than-size", length=length, size=length, entries=SMALL)
    odd_image(c, "file-1-PiB")
    truncate_sparse(c.path("file-1-PiB"), 1 << 50)


def write_cases(outdir):
    os.makedirs(outdir, exist_ok=True)
    cases = Cases(outdir)
    for group in (bad_signatures, bad_types, bad_clusters, bad_sizes, bad_first_blocks, bad_flags,
                  bad_entries, duplicates, bad_file_sizes, not_files, absurd_claims,
                  odd_but_right, odd_but_served):
        group(cases)
    with open(os.path.join(outdir, "cases.json"), "w", encoding="ascii") as f:
        json.dump(cases.lists, f, indent=1)
        f.write("\n")
    return cases.lists


def main():
    parser = argparse.ArgumentParser(description="write hostile and odd images with cases.json")
    parser.add_argument("outdir", help="a new or empty directory")
    args = parser.parse_args()
    if os.path.isdir(args.outdir) and os.listdir(args.outdir):
        parser.error(f"{args.outdir} is not empty")
    lists = write_cases(args.outdir)
    print(", ".join(f"{len(cases)} {name}" for name, cases in lists.items()), file=sys.stderr)


if __name__ == "__main__":
    main()
