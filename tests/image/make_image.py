#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Make ploop images (format v2), and read one back as a raw file.

As a library, every header field can be given a wrong value on purpose: the images for the
tests of hostile input come from here too. Nothing is shared with the core, nor with
check_image.py, so that a mistake in one of them shows in the others.
"""
import argparse
import hashlib
import os
import random
import struct
import sys
from array import array
from dataclasses import dataclass

SECTOR = 512
HEADER_BYTES = 64
SIGNATURE_V1 = b"WithoutFreeSpace"
SIGNATURE_V2 = b"WithouFreSpacExt"
IN_USE = 0x746F6E59
CLOSED_V21 = 0x312E3276  # closed by software that knows the format extension
FLAG_EMPTY = 1
FLAG_CONVERSION = 2  # v1 to v2 conversion was interrupted: the unit of BAT entries is unknown
EXTENSION_MAGIC = 0xAB234CEF23DCEA87
CHUNK = 1 << 20


@dataclass
class Header:
    """The 64 bytes at the start of an image; the names are those used in error texts."""
    signature: bytes = SIGNATURE_V2
    type: int = 2
    heads: int = 16
    cylinders: int = 0
    cluster_sectors: int = 2048
    entries: int = 0
    size_sectors: int = 0
    in_use: int = 0
    first_block: int = 0
    flags: int = 0
    ext_offset: int = 0

    LAYOUT = struct.Struct("<16s5IQ3IQ")

    def pack(self):
        return self.LAYOUT.pack(
            self.signature, self.type, self.heads, self.cylinders, self.cluster_sectors,
            self.entries, self.size_sectors, self.in_use, self.first_block, self.flags,
            self.ext_offset)

    @classmethod
    def unpack(cls, data):
        return cls(*cls.LAYOUT.unpack(data[:HEADER_BYTES]))

    @classmethod
    def read(cls, path):
        with open(path, "rb") as f:
            return cls.unpack(f.read(HEADER_BYTES))


def round_up(value, unit):
    return -(-value // unit) * unit


def first_block_for(entries, cluster_sectors):
    """Where the data begins, in sectors: header and BAT, rounded up to a cluster."""
    return round_up(HEADER_BYTES + 4 * entries, cluster_sectors * SECTOR) // SECTOR


def little_endian(entries):
    """To the file's byte order, or from it."""
    if sys.byteorder == "big":
        entries = array("I", entries)
        entries.byteswap()
    return entries


def filled_bat(entries, first_cluster, seed=None):
    """A BAT that maps every virtual cluster: in order, or shuffled by a seed."""
    clusters = range(first_cluster, first_cluster + entries)
    if seed is None:
        return array("I", clusters)
    shuffled = list(clusters)
    random.Random(seed).shuffle(shuffled)
    return array("I", shuffled)


def pattern(first_sector, sectors):
    """Data that tells where it belongs: each sector repeats its own virtual number plus one
    (so that sector 0 is not mistaken for a hole)."""
    return b"".join(struct.pack("<Q", sector + 1) * 64
                    for sector in range(first_sector, first_sector + sectors))


def extension(cluster_sectors, features=b""):
    """A format extension cluster; its features end with an empty one."""
    rest = features.ljust(cluster_sectors * SECTOR - 24, b"\0")
    return struct.pack("<Q", EXTENSION_MAGIC) + hashlib.md5(rest).digest() + rest


def set_header(path, **fields):
    """Change single header fields of an image, to right values or wrong ones."""
    header = Header.read(path)
    for name, value in fields.items():
        setattr(header, name, value)
    with open(path, "r+b") as f:
        f.write(header.pack())


def set_entries(path, changes):
    """Write single BAT entries, {index: file cluster}, with no regard to what they mean."""
    with open(path, "r+b") as f:
        for index, cluster in changes.items():
            f.seek(HEADER_BYTES + 4 * index)
            f.write(struct.pack("<I", cluster))


def make_image(path, size_sectors, cluster_sectors=2048, bat=None, fill=False, seed=None,
               data=False, file_clusters=None, **fields):
    """Write an image and return its header.

    bat            {virtual cluster: file cluster}, or a whole sequence of entries
    fill, seed     map everything, in order or shuffled
    data           write `pattern` to the mapped clusters (else they are holes of the file);
                   a number: only to so many sectors at each end of the cluster
    file_clusters  length of the file; by default it ends after the last used cluster
    fields         values for header fields, right or wrong; `entries` decides the BAT's length
    """
    entries = fields.get("entries", -(-size_sectors // cluster_sectors))
    right_first = first_block_for(entries, cluster_sectors)
    header = Header(cluster_sectors=cluster_sectors, entries=entries, size_sectors=size_sectors,
                    cylinders=min(size_sectors // (16 * 32), 0xFFFFFFFF),
                    first_block=right_first)
    for name, value in fields.items():
        setattr(header, name, value)

    first_cluster = right_first // cluster_sectors
    if fill:
        bat = filled_bat(entries, first_cluster, seed)
    elif bat is None:
        bat = {}
    if isinstance(bat, dict):
        used = max(bat.values(), default=0) + 1
    else:
        bat = array("I", bat)
        used = max(bat, default=0) + 1
    if file_clusters is None:
        file_clusters = max(first_cluster, used)

    cluster = cluster_sectors * SECTOR
    with open(path, "wb") as f:
        f.truncate(file_clusters * cluster)
        f.write(header.pack())
        if not isinstance(bat, dict):
            f.write(little_endian(bat).tobytes())
    if isinstance(bat, dict):
        set_entries(path, bat)
    if data:
        pairs = bat.items() if isinstance(bat, dict) else enumerate(bat)
        with open(path, "r+b") as f:
            for virtual, real in pairs:
                if real:
                    write_pattern(f, real, virtual, cluster_sectors, data)
    return header


def write_pattern(f, real, virtual, cluster_sectors, edge):
    parts = [(0, cluster_sectors)]
    if edge is not True:
        parts = [(0, edge), (cluster_sectors - edge, edge)]
    for start, count in parts:
        f.seek((real * cluster_sectors + start) * SECTOR)
        f.write(pattern(virtual * cluster_sectors + start, count))


def copy_data(src, src_pos, dst, dst_pos, length):
    """Copy a range, skipping what reads as zeros: the target is new, so it stays a hole."""
    done = 0
    while done < length:
        block = os.pread(src, min(CHUNK, length - done), src_pos + done)
        if not block:
            return  # past the end of the file
        if block.count(0) != len(block):
            os.pwrite(dst, block, dst_pos + done)
        done += len(block)


def to_raw(image, raw):
    """What the image's device reads as, written to a sparse raw file."""
    header = Header.read(image)
    cluster = header.cluster_sectors * SECTOR
    size = header.size_sectors * SECTOR
    with open(image, "rb") as src, open(raw, "wb") as dst:
        dst.truncate(size)
        src.seek(HEADER_BYTES)
        table = little_endian(array("I", src.read(4 * -(-size // cluster))))
        for virtual, real in enumerate(table):
            if real:
                copy_data(src.fileno(), real * cluster, dst.fileno(), virtual * cluster,
                          min(cluster, size - virtual * cluster))


def parse_size(text):
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    unit = text[-1:].upper()
    if unit in units:
        return int(text[:-1]) << units[unit]
    return int(text)


def parse_pairs(text):
    """'0:5,7:6' -> {0: 5, 7: 6}"""
    return {int(k): int(v) for k, v in (pair.split(":") for pair in text.split(","))}


def main():
    parser = argparse.ArgumentParser(description="make ploop images, or convert one to raw")
    sub = parser.add_subparsers(dest="command", required=True)
    make = sub.add_parser("make", help="write a new image")
    make.add_argument("file")
    make.add_argument("size", type=parse_size, help="virtual size in bytes, or with K, M, G, T")
    make.add_argument("--cluster", type=parse_size, default=1 << 20, help="cluster size in bytes")
    make.add_argument("--entries", type=int, help="number of BAT entries, if not as needed")
    make.add_argument("--bat", type=parse_pairs, metavar="VIRTUAL:FILE,...",
                      help="map these clusters")
    make.add_argument("--fill", action="store_true", help="map every cluster, in order")
    make.add_argument("--seed", type=int, help="with --fill: in an order shuffled by this seed")
    make.add_argument("--data", action="store_true", help="write a pattern to mapped clusters")
    make.add_argument("--in-use", action="store_true", help="set the in-use mark")
    raw = sub.add_parser("to-raw", help="convert an image to a sparse raw file")
    raw.add_argument("image")
    raw.add_argument("raw")
    args = parser.parse_args()

    if args.command == "to-raw":
        to_raw(args.image, args.raw)
        return
    if args.size % SECTOR or args.cluster % SECTOR:
        parser.error("size and cluster must be multiples of 512")
    fields = {}
    if args.entries is not None:
        fields["entries"] = args.entries
    if args.in_use:
        fields["in_use"] = IN_USE
    make_image(args.file, args.size // SECTOR, args.cluster // SECTOR, bat=args.bat,
               fill=args.fill, seed=args.seed, data=args.data, **fields)


if __name__ == "__main__":
    main()
