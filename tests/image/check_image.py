#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Check a ploop image (format v2) against its format, and nothing else.

It shares no code with the core or with the other tools here: it is the second opinion on what
they wrote. `qemu-img check` 7.2 is the third, but sees neither duplicate entries nor entries
inside the BAT, nor most of the header.

Exit status: 0 the image is right, 1 it has faults (one line each), 2 wrong usage.
"""
import argparse
import errno
import hashlib
import mmap
import os
import stat
import struct
import sys
from array import array
from collections import Counter

SECTOR = 512
HEADER = struct.Struct("<16s5IQ3IQ")
SIGNATURE = b"WithouFreSpacExt"
SIGNATURE_V1 = b"WithoutFreeSpace"
IN_USE = 0x746F6E59
CLOSED = 0
CLOSED_V21 = 0x312E3276  # only then is the extension's offset meaningful
FLAG_CONVERSION = 2
EXTENSION_MAGIC = 0xAB234CEF23DCEA87
BITMAP_MAGIC = 0x20385FAE252CB34A
CLUSTER_SECTORS_MIN, CLUSTER_SECTORS_MAX = 64, 131072
MAP_NORESERVE = 0x4000  # Linux; Python 3.11 has no name for it
CHUNK = 4 << 20  # bytes of BAT handled at a time; a multiple of an entry
LINES_PER_KIND = 10
BY_BAT, BY_EXTENSION = 1, 2


class Faults(list):
    """(kind, text) pairs. The kind is for programs, the text for people; of each kind the
    first few are kept and all are counted, for a bad BAT can have millions."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def add(self, kind, text):
        self.counts[kind] += 1
        if self.counts[kind] <= LINES_PER_KIND:
            self.append((kind, text))

    def kinds(self):
        return set(self.counts)

    def lines(self):
        yield from (text for _, text in self)
        for kind, count in self.counts.items():
            if count > LINES_PER_KIND:
                yield f"{kind}: {count - LINES_PER_KIND} more faults of this kind"


def data_extents(fd, start, end):
    """The parts of [start, end) that are not holes of the file."""
    while start < end:
        try:
            data = os.lseek(fd, start, os.SEEK_DATA)
            hole = os.lseek(fd, data, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows
                return
            data, hole = start, end  # no such question here: all of it is data
        if data >= end:
            return
        yield data, min(hole, end)
        start = hole


def nonzero_chunks(fd, start, end):
    for data, stop in data_extents(fd, start, end):
        while data < stop:
            chunk = os.pread(fd, min(CHUNK, stop - data), data)
            if not chunk:
                return
            if chunk.count(0) != len(chunk):
                yield data, chunk
            data += len(chunk)


class Checker:
    def __init__(self, fd, in_use_ok=False, leak_ok=False, block=False):
        self.fd = fd
        self.faults = Faults()
        self.in_use_ok = in_use_ok
        self.block = block or stat.S_ISBLK(os.fstat(fd).st_mode)
        self.leak_ok = leak_ok or self.block
        self.size = os.lseek(fd, 0, os.SEEK_END)
        self.mapped = 0   # entries in use
        self.highest = 0  # highest file cluster in use

    def run(self):
        if self.check_header():
            # One byte per file cluster: who has it. A mapping costs memory only where
            # it is touched, so neither a huge sparse file nor a lying entry costs any.
            seen = mmap.mmap(-1, max(1, min(self.file_clusters, 1 << 32)),
                             flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
            self.check_extension(seen)
            self.check_bat(seen)
            self.check_tail()
            self.check_file_end()
        return self.faults

    def check_header(self):
        """Whether the header is good enough to look at the BAT."""
        fault = self.faults.add
        header = os.pread(self.fd, HEADER.size, 0)
        if len(header) < HEADER.size:
            fault("truncated", f"header: the file has only {len(header)} bytes of it")
            return False
        (signature, kind, _heads, _cylinders, self.cluster_sectors, self.entries, size, self.mark,
         first_block, flags, self.ext_offset) = HEADER.unpack(header)

        if signature != SIGNATURE:
            version = " (format v1)" if signature == SIGNATURE_V1 else ""
            fault("signature", f"signature is {signature!r}{version}, not {SIGNATURE!r}")
            return False
        if kind != 2:
            fault("type", f"type is {kind}, not 2")
        cluster_sectors = self.cluster_sectors
        if (not CLUSTER_SECTORS_MIN <= cluster_sectors <= CLUSTER_SECTORS_MAX
                or cluster_sectors & (cluster_sectors - 1)):
            fault("cluster", f"cluster size is {cluster_sectors} sectors, not a power of two from "
                  f"{CLUSTER_SECTORS_MIN} to {CLUSTER_SECTORS_MAX}")
            return False
        if self.entries == 0:
            fault("entries", "BAT entries: none")
        if size == 0:
            fault("size", "size is 0 sectors")
        if size > self.entries * cluster_sectors:
            fault("size", f"size is {size} sectors, more than {self.entries} BAT entries of "
                  f"{cluster_sectors} sectors")
        if self.mark == IN_USE:
            if not self.in_use_ok:
                fault("in-use", f"in-use mark is set (0x{self.mark:x})")
        elif self.mark not in (CLOSED, CLOSED_V21):
            fault("in-use", f"in-use mark is 0x{self.mark:x}, which means nothing")
        if flags & FLAG_CONVERSION:
            fault("flags", f"flags are 0x{flags:x}: a format conversion was interrupted")

        self.cluster = cluster_sectors * SECTOR
        self.file_clusters = self.size // self.cluster
        self.bat_end = HEADER.size + 4 * self.entries
        self.first_cluster = -(-self.bat_end // self.cluster)
        right = self.first_cluster * cluster_sectors
        if first_block != right:
            fault("first-block", f"first block offset is {first_block} sectors, not {right} as "
                  f"{self.entries} BAT entries make it")
        if self.first_cluster > self.file_clusters:
            fault("truncated", f"BAT of {self.entries} entries takes {self.first_cluster} "
                  f"clusters, the file has {self.file_clusters}")
        if self.size % self.cluster and not self.block:
            fault("file-size", f"file size {self.size} is not a multiple of the cluster "
                  f"({self.cluster} bytes)")
        return True

    def check_extension(self, seen):
        """Clusters of the extension (dirty bitmaps) are in use though no BAT entry has them."""
        if self.mark != CLOSED_V21 or not self.ext_offset:
            return
        if not self.claim_extension(seen, self.ext_offset, "extension offset"):
            return
        data = os.pread(self.fd, self.cluster, self.ext_offset * SECTOR)
        magic, digest = struct.unpack_from("<Q16s", data)
        if magic != EXTENSION_MAGIC or digest != hashlib.md5(data[24:]).digest():
            self.faults.add("extension", f"extension at sector {self.ext_offset}: wrong magic or "
                            "checksum")
            return
        pos = 24
        while pos + 24 <= len(data):
            magic, _flags, length = struct.unpack_from("<QQI", data, pos)
            pos += 24
            if magic == 0:
                return
            if magic == BITMAP_MAGIC and 32 <= length <= len(data) - pos:
                count, = struct.unpack_from("<I", data, pos + 28)
                table = data[pos + 32:pos + min(length, 32 + 8 * count)]
                for offset, in struct.iter_unpack("<Q", table[:len(table) // 8 * 8]):
                    if offset > 1:  # 0 and 1 stand for all zeros and all ones
                        self.claim_extension(seen, offset, "dirty bitmap")
            pos += -(-length // 8) * 8
        self.faults.add("extension", "extension has no end mark")

    def claim_extension(self, seen, sector, what):
        cluster, rest = divmod(sector, self.cluster_sectors)
        if rest or not self.first_cluster <= cluster < self.file_clusters or seen[cluster]:
            self.faults.add("extension", f"{what} {sector}: not the start of a free cluster of "
                            "the file")
            return False
        seen[cluster] = BY_EXTENSION
        self.highest = max(self.highest, cluster)
        return True

    def bat_chunks(self):
        """(index of the first entry, entries) for the parts of the BAT that are not zero."""
        for pos, chunk in nonzero_chunks(self.fd, HEADER.size, min(self.bat_end, self.size)):
            entries = array("I", chunk[:len(chunk) // 4 * 4])
            if sys.byteorder == "big":
                entries.byteswap()
            yield (pos - HEADER.size) // 4, entries

    def check_bat(self, seen):
        low, end = self.first_cluster, min(self.file_clusters, 1 << 32)
        highest = self.highest
        for start, entries in self.bat_chunks():
            self.mapped += len(entries) - entries.count(0)
            for index, cluster in enumerate(entries, start):
                if cluster == 0:
                    continue
                # In this order: `seen` is as long as the file has clusters.
                if low <= cluster < end and not seen[cluster]:
                    seen[cluster] = BY_BAT
                    if cluster > highest:
                        highest = cluster
                else:
                    self.bad_entry(seen, index, cluster)
        self.highest = highest

    def bad_entry(self, seen, index, cluster):
        if cluster < self.first_cluster:
            self.faults.add("overlap", f"BAT entry {index}: cluster {cluster} is inside the BAT "
                            f"(data begins at cluster {self.first_cluster})")
        elif cluster >= self.file_clusters:
            self.faults.add("range", f"BAT entry {index}: cluster {cluster} is beyond the end of "
                            f"the file ({self.file_clusters} clusters)")
        else:
            owner = "the format extension"
            if seen[cluster] == BY_BAT:
                owner = "another entry"
                if self.faults.counts["duplicate"] < LINES_PER_KIND:  # finding it takes a while
                    owner = f"BAT entry {self.first_owner(cluster)}"
            self.faults.add("duplicate", f"BAT entry {index}: cluster {cluster} also belongs to "
                            f"{owner}")

    def first_owner(self, cluster):
        """Only for the error text: not worth keeping every owner for."""
        for start, entries in self.bat_chunks():
            if cluster in entries:
                return start + entries.index(cluster)
        return None

    def check_tail(self):
        end = min(self.first_cluster * self.cluster, self.size)
        for pos, chunk in nonzero_chunks(self.fd, self.bat_end, end):
            at = pos + len(chunk) - len(chunk.lstrip(b"\0"))
            self.faults.add("tail", f"BAT tail is not zero: byte {at} of the file, behind the "
                            f"{self.entries} entries, is 0x{chunk[at - pos]:02x}")
            return

    def check_file_end(self):
        needed = max(self.highest + 1, self.first_cluster)
        if not self.leak_ok and self.file_clusters > needed:
            self.faults.add("leak", f"space leaked at the end of the file: {needed} clusters are "
                            f"needed, the file has {self.file_clusters}")


def check(path, **options):
    """The faults of an image: (kind, text) pairs."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return Checker(fd, **options).run()
    finally:
        os.close(fd)


def main():
    parser = argparse.ArgumentParser(description="check a ploop image (format v2)")
    parser.add_argument("file")
    parser.add_argument("--in-use-ok", "--suspended-ok", action="store_true",
                        help="the image may be marked as in use")
    parser.add_argument("--leak-ok", action="store_true",
                        help="clusters may be left over at the end, as while a target runs")
    parser.add_argument("--block", action="store_true",
                        help="a block device: its size says nothing (found out by itself)")
    parser.add_argument("--quiet", action="store_true", help="say nothing when all is right")
    args = parser.parse_args()
    try:
        fd = os.open(args.file, os.O_RDONLY | os.O_NONBLOCK)
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            parser.error(f"{args.file}: neither a file nor a block device")
    except OSError as error:
        parser.error(f"{args.file}: {error.strerror}")
    checker = Checker(fd, in_use_ok=args.in_use_ok, leak_ok=args.leak_ok, block=args.block)
    faults = checker.run()
    for line in faults.lines():
        print(f"{args.file}: {line}")
    if not faults and not args.quiet:
        print(f"{args.file}: no fault, {checker.mapped} of {checker.entries} clusters mapped")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
