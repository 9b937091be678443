#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Well-formed mutations of right images, for differential tests.

Writes images to OUTDIR, each made from its seed alone, and verdicts.json: for each image the
table to load it with, what was done to it, and three verdicts:
  check   check_image.py: ok, leak or corrupt (with the kinds of fault in `faults`)
  qemu    qemu-img check: ok, leak, corrupt or unopenable
  attach  what the core must say: ok, refuse, or either where the format leaves it open
Exits 1 if the two tools differ in a way that qemu's known blind spots do not explain.
"""
import argparse
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import check_image
from make_image import (CLOSED_V21, FLAG_CONVERSION, IN_USE, SECTOR, first_block_for, make_image,
                        set_header)

# Faults that do not make an image unsafe to use, and those about which the format says nothing
# that binds a reader.
HARMLESS = {"leak", "in-use"}
LEFT_OPEN = {"tail", "extension"}
QEMU_VERDICTS = {0: "ok", 1: "unopenable", 2: "corrupt", 3: "leak"}


class Image:
    """A right image, kept in memory until all mutations are done to it."""

    def __init__(self, rng):
        self.log = rng.choice((6, 6, 6, 7, 8))
        self.cluster_sectors = 1 << self.log
        self.entries = rng.choice((rng.randint(2, 200), rng.randint(900, 1100),
                                   rng.randint(8000, 9000)))
        self.first = first_block_for(self.entries, self.cluster_sectors) // self.cluster_sectors
        mapped = rng.sample(range(self.entries), rng.randint(1, self.entries))
        clusters = list(range(self.first, self.first + len(mapped)))
        rng.shuffle(clusters)
        self.bat = [0] * self.entries
        for virtual, real in zip(mapped, clusters):
            self.bat[virtual] = real
        self.file_clusters = self.first + len(mapped)
        self.size_sectors = self.entries * self.cluster_sectors
        self.length = self.size_sectors
        self.extra_bytes = 0
        self.fields = {}

    def file_size(self):
        return self.file_clusters * self.cluster_sectors * SECTOR + self.extra_bytes

    def mapped(self, rng):
        """The index of some mapped entry, or of any if none is left."""
        return rng.choice([i for i, real in enumerate(self.bat) if real] or range(self.entries))

    def write(self, path):
        make_image(path, self.size_sectors, self.cluster_sectors, bat=self.bat,
                   entries=self.entries, file_clusters=self.file_clusters)
        set_header(path, **self.fields)
        os.truncate(path, self.file_size())


# What leaves the image right, or nearly so.

def swap(image, rng):
    i, j = rng.randrange(image.entries), rng.randrange(image.entries)
    image.bat[i], image.bat[j] = image.bat[j], image.bat[i]


def unmap(image, rng):
    image.bat[image.mapped(rng)] = 0


def move_to_new(image, rng):
    image.bat[rng.randrange(image.entries)] = image.file_clusters
    image.file_clusters += 1


def extend(image, rng):
    image.file_clusters += rng.randint(1, 50)


def geometry(image, rng):
    image.fields.update(heads=rng.getrandbits(32), cylinders=rng.getrandbits(32))


def cut_size(image, rng):
    """The last cluster is only a part of one."""
    image.length = image.size_sectors - rng.randrange(image.cluster_sectors)
    image.fields["size_sectors"] = image.length


def shorten_table(image, rng):
    image.length = rng.randint(max(1, image.length // 2), image.length)


def mark_in_use(image, _rng):
    image.fields["in_use"] = IN_USE


def mark_closed_v21(image, _rng):
    image.fields["in_use"] = CLOSED_V21


# What makes it wrong, most of the time: an unlucky value may happen to be right.

def duplicate(image, rng):
    image.bat[rng.randrange(image.entries)] = image.bat[image.mapped(rng)]


def into_bat(image, rng):
    image.bat[rng.randrange(image.entries)] = rng.randrange(image.first)


def at_end(image, rng):
    image.bat[rng.randrange(image.entries)] = image.file_clusters


def near_end(image, rng):
    image.bat[rng.randrange(image.entries)] = image.file_clusters + rng.randint(-3, 3)


def any_value(image, rng):
    image.bat[rng.randrange(image.entries)] = rng.getrandbits(rng.randint(1, 32))


def flip_bit(image, rng):
    image.bat[rng.randrange(image.entries)] ^= 1 << rng.randrange(32)


def cut_file(image, rng):
    image.file_clusters = max(image.first, image.file_clusters - rng.randint(1, 3))


def odd_file(image, rng):
    image.extra_bytes = rng.choice((1, 512, 4096, -1, -512, -4096))


def wrong_first_block(image, rng):
    image.fields["first_block"] = rng.choice(
        (image.first - 1, image.first + 1, rng.randint(0, image.first + 3))) * rng.choice(
            (1, image.cluster_sectors))


def wrong_size(image, rng):
    image.fields["size_sectors"] = image.size_sectors + rng.choice((1, image.cluster_sectors,
                                                                    1 << 32))


def wrong_entries(image, rng):
    image.fields["entries"] = image.entries + rng.choice((-1, 1, 1000, -image.entries))


def wrong_cluster(image, rng):
    image.fields["cluster_sectors"] = rng.choice((image.cluster_sectors * 2,
                                                  image.cluster_sectors // 2,
                                                  image.cluster_sectors - 1))


def wrong_type(image, rng):
    image.fields["type"] = rng.choice((0, 1, 3, 0x200))


def conversion(image, _rng):
    image.fields["flags"] = FLAG_CONVERSION


def tail(image, rng):
    """A value in the first free place of the BAT's tail, if it has one."""
    place = len(image.bat)
    if 64 + 4 * (place + 1) <= image.first * image.cluster_sectors * SECTOR:
        image.bat.append(rng.randint(1, 100))


BENIGN = (swap, unmap, move_to_new, extend, geometry, cut_size, shorten_table, mark_in_use,
          mark_closed_v21)
HARMFUL = (duplicate, duplicate, into_bat, at_end, near_end, any_value, flip_bit, cut_file,
           odd_file, wrong_first_block, wrong_size, wrong_entries, wrong_cluster, wrong_type,
           conversion, tail)


def mutated(seed):
    """The image that belongs to a seed, and the names of what was done to it."""
    rng = random.Random(seed)
    image = Image(rng)
    done = [rng.choice(BENIGN) for _ in range(rng.randint(0, 3))]
    done += [rng.choice(HARMFUL) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
    for mutation in done:
        mutation(image, rng)
    return image, [mutation.__name__ for mutation in done]


def check_verdict(kinds):
    if kinds - {"leak"}:
        return "corrupt"
    return "leak" if kinds else "ok"


def attach_verdict(image, kinds):
    if image.fields.get("cluster_sectors", image.cluster_sectors) != image.cluster_sectors:
        return "refuse"  # whatever else it says, it is not what the table says
    kinds = kinds - HARMLESS
    if kinds - LEFT_OPEN:
        return "refuse"
    return "either" if kinds else "ok"


def qemu_verdict(path):
    result = subprocess.run(["qemu-img", "check", "-q", "-f", "parallels", path],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return QEMU_VERDICTS.get(result.returncode, f"exit status {result.returncode}")


def disagreement(image, verdict):
    """What the two verdicts have against each other, beyond what qemu-img 7.2 cannot see: it
    looks for the in-use mark, entries that begin beyond the file's end (not at it), and leaks,
    which it counts from the highest entry, or from cluster 1 when there is none."""
    check, qemu, kinds = verdict["check"], verdict["qemu"], set(verdict["faults"])
    if check in ("ok", "leak"):
        if qemu == "leak" and not any(image.bat) and image.first > 1:
            return None  # it takes the BAT for leaked clusters
        return None if qemu == check else f"check_image says {check}, qemu-img {qemu}"
    if qemu == "unopenable" and not kinds & {"signature", "type", "cluster", "entries"}:
        return f"qemu-img cannot open it, check_image says {sorted(kinds)}"
    if qemu == "corrupt" and not kinds & {"in-use", "range", "truncated", "cluster"}:
        return f"qemu-img says corrupt, check_image only {sorted(kinds)}"
    if "in-use" in kinds and qemu not in ("corrupt", "unopenable"):
        return f"qemu-img does not see the in-use mark: {qemu}"
    return None


def write_images(outdir, count, seed):
    """Returns the verdicts and the disagreements."""
    os.makedirs(outdir, exist_ok=True)
    verdicts, complaints = [], []

    def one(number):
        image, done = mutated(f"{seed}/{number}")
        name = f"{number:05}.img"
        path = os.path.join(outdir, name)
        image.write(path)
        faults = check_image.check(path)
        kinds = faults.kinds()
        verdict = {"name": f"{seed}/{number}", "file": name, "cluster_log": image.log,
                   "length": image.length, "mutations": done, "check": check_verdict(kinds),
                   "faults": sorted(kinds), "attach": attach_verdict(image, kinds),
                   "qemu": qemu_verdict(path)}
        return verdict, disagreement(image, verdict)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # qemu-img is where the time goes
        for verdict, complaint in pool.map(one, range(count)):
            verdicts.append(verdict)
            if complaint:
                complaints.append(f"{verdict['file']} {verdict['mutations']}: {complaint}")
    with open(os.path.join(outdir, "verdicts.json"), "w", encoding="ascii") as f:
        json.dump(verdicts, f, indent=1)
        f.write("\n")
    return verdicts, complaints


def main():
    parser = argparse.ArgumentParser(description="write mutated images with verdicts")
    parser.add_argument("outdir")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    verdicts, complaints = write_images(args.outdir, args.count, args.seed)
    for complaint in complaints:
        print(complaint)
    counts = {word: sum(v["attach"] == word for v in verdicts)
              for word in ("ok", "refuse", "either")}
    print(f"{len(verdicts)} images, to attach: {counts}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
