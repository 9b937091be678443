#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write hostile, broken and odd images, with what the target must answer to each.

OUTDIR/cases.json holds three lists:
  refuse  the table must not load: `errno` lists the acceptable names, `text` is a regular
          expression for the error text (POSIX extended and Python alike, to be matched without
          regard to case): it names the field and the value
  attach  right, though odd: must load, and read as `make_image.py to-raw` reads it
  either  the format leaves it open: may load, or be refused with one of `errno`; in any case
          without a crash or memory in proportion to the claim
Every case has name, file (relative to OUTDIR, or an absolute path), cluster_log and length (in
sectors) for the table; those to be refused also fault_in: where the fault is, so that a checker
which knows no table, or reads only regular files, knows what it can see.
"""
import argparse
import json
import os
import sys

from make_image import (
    CLOSED_V21, FLAG_CONVERSION, FLAG_EMPTY, IN_USE, SECTOR, SIGNATURE_V1, extension, make_image,
    set_entries, set_header)

# The words that a text may use for a field.
SIGNATURE = "signature|magic"
TYPE = "type"
CLUSTER = "cluster[ _-]?(size|log|sectors)"
ENTRIES = "entries"
SIZE = "size"
FIRST_BLOCK = "first[ _-]?block"
FLAGS = "flag"
ENTRY = "entry|entries"
FILE = "file|image|short|truncated|header|BAT"
ANY = ".*"

# The two images that most cases start from, both with 32 KiB clusters, mapped in order.
LOG = 6
CLUSTER_SECTORS = 1 << LOG
CLUSTER_BYTES = CLUSTER_SECTORS * SECTOR
SMALL = 128    # entries: a BAT of one cluster, one page
WIDE = 20000   # a BAT of three clusters, twenty pages
WIDE_FIRST = 3
PAGE_END = (4096 - 64) // 4 - 1  # the last entry in the file's first page

MAX_ENTRIES = 67108864
MAX_RATIO = 64
RATIO_FREE_ENTRIES = 65536  # so many may be claimed whatever the table's length


def says(*alternatives):
    """A text that has a field's name and its value, in any order: (name, value, value...)."""
    found = []
    for field, *values in alternatives:
        value = "|".join(text for v in values for text in spell(v))
        found.append(f"({field}).*({value})|({value}).*({field})")
    return "|".join(found)


def spell(value):
    return [rf"\b{value}\b", rf"\b0x{value:x}\b"] if isinstance(value, int) else [value]


class Cases:
    def __init__(self, outdir):
        self.outdir = outdir
        self.lists = {"refuse": [], "attach": [], "either": []}

    def path(self, name):
        return os.path.join(self.outdir, name + ".img")

    def add(self, verdict, name, length, cluster_log=LOG, file=None, **more):
        self.lists[verdict].append({"name": name, "file": file or name + ".img",
                                    "cluster_log": cluster_log, "length": length, **more})

    def refuse(self, name, errno, text, length=SMALL * CLUSTER_SECTORS, fault_in="image", **more):
        self.add("refuse", name, length, errno=errno.split(), text=text, fault_in=fault_in,
                 **more)

    def small(self, name, **fields):
        make_image(self.path(name), SMALL * CLUSTER_SECTORS, CLUSTER_SECTORS, fill=True)
        set_header(self.path(name), **fields)

    def wide(self, name, entries=None, **fields):
        make_image(self.path(name), WIDE * CLUSTER_SECTORS, CLUSTER_SECTORS, fill=True)
        set_header(self.path(name), **fields)
        set_entries(self.path(name), entries or {})

    def header(self, name, errno, text, **fields):
        """The small image with header fields changed."""
        self.small(name, **fields)
        self.refuse(name, errno, text)

    def entries(self, name, errno, changes, length=WIDE * CLUSTER_SECTORS):
        """The wide image with BAT entries changed; the text names an entry's value."""
        self.wide(name, changes)
        self.refuse(name, errno, says((ENTRY, *set(changes.values()))), length)

    def resized(self, name, errno, text, size, base="small"):
        """A base image whose file got another size, in bytes."""
        getattr(self, base)(name)
        os.truncate(self.path(name), size)
        self.refuse(name, errno, text,
                    (SMALL if base == "small" else WIDE) * CLUSTER_SECTORS)


def truncate_sparse(path, size):
    """As large as asked, or as the host file system lets a file be (ext4: 16 TiB)."""
    while True:
        try:
            os.truncate(path, size)
            return size
        except OSError:
            size //= 2


def bad_signatures(c):
    c.header("signature-v1", "EOPNOTSUPP", says((SIGNATURE, "v1", "version 1", "WithoutFreeSpace")),
             signature=SIGNATURE_V1)
    for name, value in (("garbage", bytes(range(128, 144))), ("zero", bytes(16)),
                        ("one-letter", b"WithouFreSpacEx_"), ("case", b"withouFreSpacExt"),
                        ("format-string", b"%s%s%n%x%p%s%s%n")):
        c.header(f"signature-{name}", "EOPNOTSUPP", f"({SIGNATURE})", signature=value)


def bad_types(c):
    for value in (0, 1, 3, 0xFFFFFFFF):
        c.header(f"type-{value}", "EINVAL EPROTO EOPNOTSUPP", says((TYPE, value)), type=value)


def bad_clusters(c):
    for value in (0, 1, 32, 63, 96, 128, 262144, 1 << 31, 0xFFFFFFFF):
        c.header(f"cluster-{value}", "EINVAL", says((CLUSTER, value)), cluster_sectors=value)
    name = "cluster-not-of-table"
    make_image(c.path(name), SMALL * 128, 128, fill=True)
    c.refuse(name, "EINVAL", says((CLUSTER, 128, 64)), fault_in="table")
    # Image and table agree, on a size that the format does not allow.
    for log in (5, 18):
        name = f"cluster-log-{log}"
        make_image(c.path(name), 4 << log, 1 << log, fill=True)
        c.refuse(name, "EINVAL", says((CLUSTER, log, 1 << log)), 4 << log, cluster_log=log)


def bad_sizes(c):
    entries = (ENTRIES, 0)
    c.header("entries-0", "EINVAL EPROTO EBADSLT",
             says(entries, (SIZE, SMALL * CLUSTER_SECTORS)), entries=0)
    c.header("entries-0-size-0", "EINVAL EPROTO EBADSLT", says(entries, (SIZE, 0)), entries=0,
             size_sectors=0)
    for value in (SMALL - 1, 1):
        c.header(f"entries-{value}", "EINVAL EPROTO EBADSLT",
                 says((ENTRIES, value), (SIZE, SMALL * CLUSTER_SECTORS)), entries=value)
    # Too many for the first block offset that the header gives; also: 64 + 4 * entries overflows.
    for value in (1 << 29, 1 << 30, (1 << 30) - 16, 0xFFFFFFFF):
        c.header(f"entries-{value:#x}", "EFBIG EINVAL",
                 says((ENTRIES, value), (FIRST_BLOCK, CLUSTER_SECTORS)), entries=value)
    c.header("entries-huge-size-too", "EFBIG EINVAL",
             says((ENTRIES, 0xFFFFFFFF), (FIRST_BLOCK, CLUSTER_SECTORS),
                  (SIZE, 0xFFFFFFFF * CLUSTER_SECTORS)),
             entries=0xFFFFFFFF, size_sectors=0xFFFFFFFF * CLUSTER_SECTORS)

    c.header("size-0", "EBADSLT EINVAL", says((SIZE, 0)), size_sectors=0)
    for value in (1, SMALL * CLUSTER_SECTORS - 1):
        name = f"size-{value}"
        c.small(name, size_sectors=value)
        c.refuse(name, "EBADSLT", says(("size|length", value, SMALL * CLUSTER_SECTORS)),
                 fault_in="table")
    for value in (SMALL * CLUSTER_SECTORS + 1, (1 << 32) + 1, (1 << 32) + SMALL * CLUSTER_SECTORS,
                  1 << 55, 1 << 63, (1 << 64) - 1):
        c.header(f"size-{value:#x}", "EINVAL EPROTO EBADSLT EFBIG", says((SIZE, value)),
                 size_sectors=value)
    for extra in (1, CLUSTER_SECTORS):
        name = f"table-longer-by-{extra}"
        c.small(name)
        length = SMALL * CLUSTER_SECTORS + extra
        c.refuse(name, "EBADSLT", says(("size|length", SMALL * CLUSTER_SECTORS, length)), length,
                 fault_in="table")


def bad_first_blocks(c):
    for value in (0, 1, 63, 65, 128, 128 * 64, 1 << 31, 0xFFFFFFC0, 0xFFFFFFFF):
        c.header(f"first-block-{value}", "EINVAL", says((FIRST_BLOCK, value)), first_block=value)
    for value in (64, 128, 256):  # inside the BAT, or a cluster behind its end
        name = f"first-block-wide-{value}"
        c.wide(name, first_block=value)
        c.refuse(name, "EINVAL", says((FIRST_BLOCK, value)), WIDE * CLUSTER_SECTORS)


def bad_flags(c):
    c.header("flags-conversion", "EINVAL EOPNOTSUPP EPROTO", says((FLAGS, 2)),
             flags=FLAG_CONVERSION)
    c.header("flags-conversion-and-empty", "EINVAL EOPNOTSUPP EPROTO", says((FLAGS, 3)),
             flags=FLAG_CONVERSION | FLAG_EMPTY)


def bad_entries(c):
    end = WIDE + WIDE_FIRST  # the first cluster behind the file
    last = WIDE - 1
    c.entries("entry-inside-bat-first", "EXDEV", {0: 1})
    c.entries("entry-inside-bat-last", "EXDEV", {last: WIDE_FIRST - 1})
    c.entries("entry-inside-bat-behind-page", "EXDEV", {PAGE_END + 1: 2})
    c.entries("entry-inside-bat-behind-table", "EXDEV", {15000: 2}, 1000 * CLUSTER_SECTORS)
    for name, index, value in (
            ("file-end", 0, end), ("file-end-last", last, end), ("file-end-page", PAGE_END, end),
            ("behind-file", 5000, end + 1000), ("all-ones", 7, 0xFFFFFFFF),
            ("all-ones-last", last, 0xFFFFFFFF), ("sign", 9, 1 << 31), ("max-int", 9, 0x7FFFFFFF),
            # Right again where the offset is kept in 32 bits of sectors, or of bytes.
            ("sectors-wrap", 100, (1 << 26) + 10), ("bytes-wrap", 100, (1 << 17) + 10),
            # A sector number, as in format v1.
            ("in-sectors", 4000, 1000 * CLUSTER_SECTORS)):
        c.entries(f"entry-{name}", "EPROTO", {index: value})
    c.entries("entry-behind-table", "EPROTO", {15000: end}, 1000 * CLUSTER_SECTORS)
    c.entries("entry-behind-table-by-one", "EPROTO", {1000: end}, 1000 * CLUSTER_SECTORS)

    name = "entry-all-ones-everywhere"
    c.wide(name, dict.fromkeys(range(WIDE), 0xFFFFFFFF))
    c.refuse(name, "EPROTO", says((ENTRY, 0xFFFFFFFF)), WIDE * CLUSTER_SECTORS)


def duplicates(c):
    """Entry i of the wide image has cluster i + WIDE_FIRST, so a copy of that makes a pair."""
    full, part = WIDE * CLUSTER_SECTORS, 1000 * CLUSTER_SECTORS
    for name, index, owner, length in (
            ("adjacent", 1, 0, full), ("adjacent-last", WIDE - 1, WIDE - 2, full),
            ("far-apart", WIDE - 1, 0, full), ("backwards", 0, WIDE - 1, full),
            ("same-page", 100, 900, full), ("across-page-border", PAGE_END + 1, PAGE_END, full),
            ("other-page", 3000, 12000, full), ("behind-table", 15000, 19000, part),
            ("across-table-end", 1000, 999, part), ("behind-table-of-inside", 15000, 10, part)):
        c.entries(f"duplicate-{name}", "EPROTO", {index: owner + WIDE_FIRST}, length)
    c.entries("duplicate-three", "EPROTO", {i: 50 + WIDE_FIRST for i in (1, 7000)})
    name = "duplicate-all"
    c.wide(name, dict.fromkeys(range(WIDE), WIDE_FIRST))
    c.refuse(name, "EPROTO", says((ENTRY, WIDE_FIRST)), full)


def bad_file_sizes(c):
    small = (SMALL + 1) * CLUSTER_BYTES
    short = f"({FILE})"
    for size in (0, 1, 16, 63):
        c.resized(f"file-{size}-bytes", "ENODATA EPROTO", short, size)
    for size in (64, 512, 4096):  # a header, and a part of its cluster
        c.resized(f"file-{size}-bytes", "ENODATA EPROTO", short, size)
    c.resized("file-header-cluster-only", "EPROTO", says((ENTRY, *range(1, SMALL + 1))),
              CLUSTER_BYTES)
    c.resized("file-bat-cut-at-cluster", "ENODATA EPROTO EINVAL",
              says((FILE, ANY), (FIRST_BLOCK, ANY)), 2 * CLUSTER_BYTES, "wide")
    c.resized("file-bat-cut-at-page", "ENODATA EPROTO EINVAL",
              says((FILE, ANY), (FIRST_BLOCK, ANY)), 3 * 4096, "wide")
    c.resized("file-bat-only", "EPROTO", f"({ENTRY})", WIDE_FIRST * CLUSTER_BYTES, "wide")
    c.resized("file-last-cluster-cut-off", "EPROTO", says((ENTRY, SMALL)), small - CLUSTER_BYTES)
    for change in (-1, -512, -4096, -CLUSTER_BYTES // 2, 1, 512, CLUSTER_BYTES - 1):
        c.resized(f"file-size{change:+d}", "EPROTO", says((SIZE, small + change)), small + change)


def not_files(c):
    text = "open|regular|directory|fifo|device|file"
    os.mkdir(c.path("directory"))
    c.refuse("directory", "EISDIR EINVAL ENOTBLK", text, fault_in="file")
    os.mkfifo(c.path("fifo"))
    c.refuse("fifo", "EINVAL ENOTBLK ENXIO ESPIPE", text, fault_in="file")
    c.refuse("character-device", "EINVAL ENOTBLK", text, fault_in="file", file="/dev/zero")
    c.refuse("missing", "ENOENT", text, fault_in="file")
    os.symlink("symlink-loop.img", c.path("symlink-loop"))
    c.refuse("symlink-loop", "ELOOP", text, fault_in="file")


def absurd_claims(c):
    """Everything fits together; the file is sparse, so every size can be made true."""
    def claim(name, entries, table_clusters, truncate=None, verdict="refuse"):
        sectors = entries * CLUSTER_SECTORS
        make_image(c.path(name), sectors, CLUSTER_SECTORS)
        if truncate:
            truncate_sparse(c.path(name), truncate)
        if verdict == "attach":
            c.add("attach", name, table_clusters * CLUSTER_SECTORS)
        else:
            c.refuse(name, "EFBIG", says((f"{ENTRIES}|{SIZE}|clusters", entries, sectors)),
                     table_clusters * CLUSTER_SECTORS, fault_in="table")

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


def odd_but_right(c):
    length = SMALL * CLUSTER_SECTORS
    first = 1

    def odd(name, length=length, size=length, bat=None, **more):
        if bat is None:
            bat = {k: first + k for k in range(0, SMALL, 3)}
        make_image(c.path(name), size, CLUSTER_SECTORS, bat=bat, data=True, **more)
        c.add("attach", name, length)

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
    odd("ok-size-one-sector", length=1, size=1, bat={0: first})
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
    c.add("attach", name, WIDE * CLUSTER_SECTORS)
    # The BAT ends exactly where a page, and where the cluster ends: there is no tail.
    for name, entries in (("page", PAGE_END + 1), ("cluster", (CLUSTER_BYTES - 64) // 4)):
        name = f"ok-bat-fills-{name}"
        make_image(c.path(name), entries * CLUSTER_SECTORS, CLUSTER_SECTORS, fill=True)
        c.add("attach", name, entries * CLUSTER_SECTORS)
    for log in range(6, 18):
        name = f"ok-cluster-{1 << log}"
        make_image(c.path(name), 5 << log, 1 << log, bat={0: 3, 4: 1, 2: 2}, data=8)
        c.add("attach", name, 5 << log, cluster_log=log)


def left_open(c):
    def either(name, errno, length=SMALL * CLUSTER_SECTORS):
        c.add("either", name, length, errno=errno.split())

    for name, fields in (("flags-unknown", {"flags": 0xFFFFFFFC}),
                         ("flag-empty-but-mapped", {"flags": FLAG_EMPTY}),
                         ("in-use-mark-unknown", {"in_use": 0xDEADBEEF}),
                         ("extension-offset-wild", {"in_use": CLOSED_V21, "ext_offset": 1 << 60}),
                         ("extension-in-bat", {"in_use": CLOSED_V21, "ext_offset": 1}),
                         ("extension-is-data", {"in_use": CLOSED_V21,
                                                "ext_offset": 5 * CLUSTER_SECTORS})):
        c.small(name, **fields)
        either(name, "EINVAL EOPNOTSUPP EPROTO EXDEV")
    c.small("tail-not-zero")
    set_entries(c.path("tail-not-zero"), {SMALL: 7, 8000: 0xFFFFFFFF})
    either("tail-not-zero", "EPROTO EINVAL")
    # More entries than the size needs, as an image that has shrunk.
    c.small("entries-more-than-size", size_sectors=10 * CLUSTER_SECTORS)
    either("entries-more-than-size", "EPROTO EINVAL", 10 * CLUSTER_SECTORS)
    c.small("file-1-PiB")
    truncate_sparse(c.path("file-1-PiB"), 1 << 50)
    either("file-1-PiB", "EFBIG EPROTO")
    name = "entry-far-in-sparse-file"
    c.small(name)
    size = truncate_sparse(c.path(name), 1 << 47)
    set_entries(c.path(name), {3: size // CLUSTER_BYTES - 1})
    either(name, "EFBIG EPROTO")


def write_cases(outdir):
    os.makedirs(outdir, exist_ok=True)
    cases = Cases(outdir)
    for group in (bad_signatures, bad_types, bad_clusters, bad_sizes, bad_first_blocks, bad_flags,
                  bad_entries, duplicates, bad_file_sizes, not_files, absurd_claims,
                  odd_but_right, left_open):
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
