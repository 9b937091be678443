#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of the image tools: each planted fault is found, and qemu's images are found right."""
import errno
import filecmp
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import check_image  # noqa: E402
import hostile  # noqa: E402
import mutate  # noqa: E402
from make_image import (  # noqa: E402
    CLOSED_V21, FLAG_CONVERSION, FLAG_EMPTY, IN_USE, SECTOR, SIGNATURE_V1, Header, extension,
    make_image, pattern, set_entries, set_header, to_raw)

CLUSTER = 64  # sectors
CLUSTER_BYTES = CLUSTER * SECTOR
ENTRIES = 128


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def qemu_check(path):
    """0 right, 1 cannot be opened, 2 corrupt, 3 leaks."""
    return run("qemu-img", "check", "-f", "parallels", path).returncode


class ImageTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="ploop-image-")
        self.addCleanup(directory.cleanup)
        self.dir = directory.name
        self.image = self.path("image")

    def path(self, name):
        return os.path.join(self.dir, name)

    def make(self, entries=ENTRIES, **fields):
        """An image with all clusters mapped in order: entry i has cluster i + first."""
        fields.setdefault("fill", True)
        return make_image(self.image, entries * CLUSTER, CLUSTER, **fields)

    def assert_kinds(self, *kinds, **options):
        faults = check_image.check(self.image, **options)
        self.assertEqual(set(kinds), faults.kinds(), list(faults.lines()))

    def qemu(self, *command):
        result = run(*command)
        self.assertEqual(0, result.returncode, f"{command}: {result.stdout}{result.stderr}")

    def assert_same_as_qemu(self, image):
        """to_raw and qemu-img convert make the same file of an image."""
        to_raw(image, self.path("ours.raw"))
        self.qemu("qemu-img", "convert", "-f", "parallels", "-O", "raw", image,
                  self.path("qemu.raw"))
        self.assertEqual(os.path.getsize(self.path("qemu.raw")),
                         os.path.getsize(self.path("ours.raw")))
        self.qemu("qemu-img", "compare", "-f", "raw", "-F", "raw", self.path("ours.raw"),
                  self.path("qemu.raw"))  # unlike cmp, it skips the holes


class PlantedFaults(ImageTest):
    def test_a_right_image_has_none(self):
        for options in ({"fill": True}, {"fill": True, "seed": 3}, {"fill": False},
                        {"fill": False, "bat": {5: 1, 9: 2}}):
            self.make(**options)
            self.assert_kinds()
            self.assertEqual(0, qemu_check(self.image))

    def test_header(self):
        for kind, fields in (
                ("signature", {"signature": SIGNATURE_V1}),
                ("signature", {"signature": bytes(16)}),
                ("type", {"type": 1}),
                ("cluster", {"cluster_sectors": 0}),
                ("cluster", {"cluster_sectors": 32}),
                ("cluster", {"cluster_sectors": 96}),
                ("cluster", {"cluster_sectors": 262144}),
                ("size", {"size_sectors": 0}),
                ("size", {"size_sectors": ENTRIES * CLUSTER + 1}),
                ("size", {"size_sectors": 1 << 63}),
                ("in-use", {"in_use": IN_USE}),
                ("in-use", {"in_use": 1}),
                ("first-block", {"first_block": 0}),
                ("first-block", {"first_block": 63}),
                ("first-block", {"first_block": 128}),
                ("first-block", {"first_block": 0xFFFFFFFF}),
                ("flags", {"flags": FLAG_CONVERSION})):
            with self.subTest(**fields):
                self.make()
                set_header(self.image, **fields)
                self.assert_kinds(kind)

    def test_header_fields_that_may_differ(self):
        for fields in ({"in_use": CLOSED_V21}, {"flags": FLAG_EMPTY}, {"heads": 7},
                       {"size_sectors": ENTRIES * CLUSTER - 5}, {"size_sectors": 1},
                       {"ext_offset": 1 << 40}):  # meaningless without the v2.1 mark
            with self.subTest(**fields):
                self.make()
                set_header(self.image, **fields)
                self.assert_kinds()

    def test_entries(self):
        self.make()
        set_header(self.image, entries=0)
        self.assert_kinds("entries", "size", "tail", "leak")
        self.make()
        set_header(self.image, entries=0xFFFFFFFF)
        self.assert_kinds("first-block", "truncated", "overlap")

    def test_in_use_may_be_allowed(self):
        self.make(in_use=IN_USE)
        self.assert_kinds(in_use_ok=True)
        set_header(self.image, in_use=1)
        self.assert_kinds("in-use", in_use_ok=True)

    def test_bat_range(self):
        end = ENTRIES + 1
        for index in (0, 63, ENTRIES - 2):
            for value in (end, end + 1, 1 << 31, 0xFFFFFFFF):
                with self.subTest(index=index, value=value):
                    self.make()
                    set_entries(self.image, {index: value})
                    self.assert_kinds("range")

    def test_bat_overlap(self):
        for value in (1, 2):  # of a BAT that takes 3 clusters
            self.make(20000)
            set_entries(self.image, {12345: value})
            self.assert_kinds("overlap")
        set_entries(self.image, {12345: 0})
        self.assert_kinds()

    def test_duplicates(self):
        page = hostile.PAGE_END
        for first, second in ((0, 1), (0, 19998), (page, page + 1), (3000, 15000)):
            with self.subTest(first=first, second=second):
                self.make(20000)
                set_entries(self.image, {second: 3 + first})
                self.assert_kinds("duplicate")
                text = next(check_image.check(self.image).lines())
                self.assertIn(f"BAT entry {second}: cluster {3 + first} ", text)
                self.assertTrue(text.endswith(f"BAT entry {first}"), text)
                self.assertEqual(0, qemu_check(self.image), "qemu-img now sees duplicates")

    def test_many_faults_make_few_lines(self):
        self.make(20000)
        set_entries(self.image, dict.fromkeys(range(20000), 5))
        lines = list(check_image.check(self.image, leak_ok=True).lines())
        self.assertEqual(check_image.LINES_PER_KIND + 1, len(lines))
        self.assertIn("19989 more", lines[-1])

    def test_tail(self):
        last = (CLUSTER_BYTES - 64) // 4 - 1
        for index in (ENTRIES, 1008, last):
            self.make()
            set_entries(self.image, {index: 1 << 24})
            self.assert_kinds("tail")
        self.make(last + 1)  # none
        self.assert_kinds()
        self.make(last + 2)  # one of nearly a cluster
        set_entries(self.image, {2 * last + 17: 1})
        self.assert_kinds("tail")

    def test_file_size(self):
        right = (ENTRIES + 1) * CLUSTER_BYTES
        for change, kinds in ((1, {"file-size"}), (512, {"file-size"}),
                              (-1, {"file-size", "range"}), (-CLUSTER_BYTES, {"range"}),
                              (CLUSTER_BYTES, {"leak"}),
                              (CLUSTER_BYTES + 1, {"leak", "file-size"})):
            with self.subTest(change=change):
                self.make()
                os.truncate(self.image, right + change)
                self.assert_kinds(*kinds)
                self.assert_kinds(*kinds - {"leak"}, leak_ok=True)
                self.assert_kinds(*kinds - {"leak", "file-size"}, block=True)

    def test_truncated(self):
        for size, kinds in ((0, {"truncated"}), (63, {"truncated"}),
                            (64, {"truncated", "file-size"}),
                            (2 * CLUSTER_BYTES, {"truncated", "range"})):
            with self.subTest(size=size):
                self.make(20000)
                os.truncate(self.image, size)
                self.assert_kinds(*kinds)

    def test_leak(self):
        self.make()
        set_entries(self.image, {ENTRIES - 1: 0, 3: 0})  # a hole in the middle is no leak
        self.assert_kinds("leak")
        self.make(20000, fill=False)
        self.assert_kinds()
        self.assertEqual(3, qemu_check(self.image), "qemu-img no longer takes a BAT for a leak")

    def plant_extension(self, features=b"", **fields):
        self.make(fill=False, bat={0: 1, 1: 2}, in_use=CLOSED_V21, file_clusters=6,
                  ext_offset=5 * CLUSTER, **fields)
        with open(self.image, "r+b") as f:
            f.seek(5 * CLUSTER_BYTES)
            f.write(extension(CLUSTER, features))

    def test_extension(self):
        self.plant_extension()
        self.assert_kinds()
        self.assertEqual(3, qemu_check(self.image), "qemu-img now counts the extension")
        set_entries(self.image, {7: 5})
        self.assert_kinds("duplicate")
        for offset in (1, 6 * CLUSTER, 5 * CLUSTER + 1, 1 << 63):
            set_header(self.image, ext_offset=offset)
            self.assert_kinds("extension")
        set_entries(self.image, {7: 0})
        set_header(self.image, ext_offset=4 * CLUSTER)  # nothing is there
        self.assert_kinds("extension", "leak")

    def test_dirty_bitmap(self):
        def bitmap(*table):
            data = struct.pack("<Q16sII", ENTRIES * CLUSTER, bytes(16), 128, len(table))
            data += struct.pack(f"<{len(table)}Q", *table)
            return struct.pack("<QQII", check_image.BITMAP_MAGIC, 0, len(data), 0) + data
        self.plant_extension(bitmap(0, 1, 3 * CLUSTER))
        self.assert_kinds()
        set_entries(self.image, {7: 3})
        self.assert_kinds("duplicate")
        self.plant_extension(bitmap(3 * CLUSTER, 3 * CLUSTER))
        self.assert_kinds("extension")
        self.plant_extension(bitmap(100 * CLUSTER))
        self.assert_kinds("extension")

    def test_lies_cost_nothing(self):
        """4 G entries and a huge sparse file, with something wrong far in its BAT."""
        make_image(self.image, 1 << 36, CLUSTER, entries=0xFFFFFFFF)
        hostile.truncate_sparse(self.image, 1 << 50)
        set_entries(self.image, {0xFFFFFFF0: 3, 0xFFFFFFF1: 0xFFFFFFFF})
        self.assert_kinds("overlap", "range", leak_ok=True)


class CommandLine(ImageTest):
    def check(self, *args):
        return run(sys.executable, os.path.join(HERE, "check_image.py"), *args)

    def test_exit_status(self):
        self.make()
        result = self.check(self.image)
        self.assertEqual((0, ""), (result.returncode, result.stderr))
        self.assertIn("128 of 128 clusters mapped", result.stdout)
        self.assertEqual("", self.check("--quiet", self.image).stdout)
        set_header(self.image, in_use=IN_USE)
        result = self.check("--quiet", self.image)
        self.assertEqual((1, 1), (result.returncode, result.stdout.count("\n")))
        for option in ("--in-use-ok", "--suspended-ok"):
            self.assertEqual(0, self.check(option, self.image).returncode)
        os.truncate(self.image, 200 * CLUSTER_BYTES)
        self.assertEqual(1, self.check("--in-use-ok", self.image).returncode)
        self.assertEqual(0, self.check("--in-use-ok", "--leak-ok", self.image).returncode)
        self.assertEqual(0, self.check("--in-use-ok", "--block", self.image).returncode)

    def test_wrong_usage(self):
        os.mkfifo(self.path("fifo"))
        for args in ((), (self.path("none"),), (self.dir,), (self.path("fifo"),), ("/dev/zero",),
                     ("--nonsense", self.image)):
            with self.subTest(args=args):
                self.assertEqual(2, self.check(*args).returncode)

    def test_make_and_convert(self):
        tool = os.path.join(HERE, "make_image.py")
        self.qemu(sys.executable, tool, "make", self.image, "1M", "--cluster", "32K", "--fill",
                  "--seed", "5", "--data")
        self.assert_kinds()
        self.qemu(sys.executable, tool, "to-raw", self.image, self.path("raw"))
        with open(self.path("raw"), "rb") as f:
            self.assertEqual(pattern(0, 2048), f.read())
        self.qemu(sys.executable, tool, "make", self.image, "10G", "--bat", "3:1,9:2", "--in-use")
        self.assert_kinds("in-use")


class AgainstQemu(ImageTest):
    def test_qemus_images_are_right(self):
        for log in range(15, 27):
            cluster = 1 << log
            size = 5 * cluster + 3 * SECTOR  # ends inside a cluster
            with self.subTest(cluster=cluster):
                self.qemu("qemu-img", "create", "-q", "-f", "parallels", "-o",
                          f"cluster_size={cluster}", self.image, str(size))
                self.assert_kinds()
                header = Header.read(self.image)
                self.assertEqual((cluster // SECTOR, 6, size // SECTOR),
                                 (header.cluster_sectors, header.entries, header.size_sectors))
                self.qemu("qemu-io", "-f", "parallels", "-c", f"write -P 1 {5 * cluster} 512",
                          "-c", f"write -P 2 {cluster} 8K",
                          "-c", f"write -P 3 {3 * cluster - 512} 1K", self.image)
                self.assert_kinds()
                self.assertEqual(0, qemu_check(self.image))
                self.assert_same_as_qemu(self.image)

    def test_qemus_image_with_a_long_bat(self):
        self.qemu("qemu-img", "create", "-q", "-f", "parallels", "-o", "cluster_size=32K",
                  self.image, "10G")
        self.assert_kinds()
        self.qemu("qemu-io", "-f", "parallels", "-c", "write -P 1 9G 100K", "-c",
                  "write -P 2 0 100K", self.image)
        self.assert_kinds()
        self.assert_same_as_qemu(self.image)

    def test_qemu_converts_to_right_images(self):
        with open(self.path("raw"), "wb") as f:
            f.write(pattern(0, 3000))
            f.truncate(10 << 20)
        self.qemu("qemu-img", "convert", "-f", "raw", "-O", "parallels", "-o", "cluster_size=64K",
                  self.path("raw"), self.image)
        self.assert_kinds()
        to_raw(self.image, self.path("ours.raw"))
        self.assertTrue(filecmp.cmp(self.path("raw"), self.path("ours.raw"), shallow=False))

    def test_a_killed_qemu_leaves_mark_and_leak(self):
        self.qemu("qemu-img", "create", "-q", "-f", "parallels", self.image, "100M")
        run("qemu-io", "-f", "parallels", "-c", "write 5M 1M", "-c", "flush", "-c",
            "sigraise 9", self.image)
        self.assert_kinds("in-use", "leak")
        self.assert_kinds(in_use_ok=True, leak_ok=True)

    def test_our_images_read_the_same(self):
        for options in ({"fill": True, "seed": 9}, {"fill": False, "bat": {0: 7, 100: 3, 127: 4}}):
            for data in (True, 8):
                self.make(data=data, **options)
                self.assert_kinds()
                self.assert_same_as_qemu(self.image)


class Hostile(ImageTest):
    def setUp(self):
        super().setUp()
        self.lists = hostile.write_cases(self.dir)

    def test_cases_are_complete(self):
        self.assertGreaterEqual(len(self.lists["refuse"]), 45)
        names = [case["name"] for cases in self.lists.values() for case in cases]
        self.assertEqual(len(names), len(set(names)))
        for cases in self.lists.values():
            for case in cases:
                if "errno" in case:
                    self.assertTrue(hasattr(errno, case["errno"]), case["errno"])
                if case["name"] != "missing":
                    self.assertTrue(os.path.lexists(os.path.join(self.dir, case["file"])))

    def test_checker_sees_what_is_in_the_image(self):
        """Its text, too, must have field and value."""
        for case in self.lists["refuse"]:
            if case["fault_in"] == "file":
                continue
            with self.subTest(case["name"]):
                faults = check_image.check(self.path(case["file"]))
                if case["fault_in"] in ("table", "limit"):
                    self.assertLessEqual(faults.kinds(), {"leak"})
                    continue
                self.assertTrue(faults.kinds() - {"leak"})
                text, lines = case["checker_text"], list(faults.lines())
                self.assertTrue(any(re.search(text, line, re.IGNORECASE) for line in lines),
                                (text, lines))

    def test_texts_are_extended_regular_expressions(self):
        for case in self.lists["refuse"]:
            self.assertEqual(1, run("grep", "-qEi", case["text"], "/dev/null").returncode,
                             case["name"])
            self.assertIsNone(re.search(case["text"], "Invalid argument", re.IGNORECASE))

    def test_what_must_attach_is_right(self):
        """But for the faults that are planned."""
        for case in self.lists["attach"]:
            with self.subTest(case["name"]):
                path = self.path(case["file"])
                kinds = check_image.check(path, in_use_ok=True).kinds()
                self.assertEqual(set(case["faults"]), kinds - {"leak"})
                if case["name"] != "ok-in-use" and not case["faults"]:
                    self.assertIn(qemu_check(path), (0, 3))


class Mutations(ImageTest):
    def test_a_seed_gives_the_same_image(self):
        for seed in range(20):
            mutate.mutated(seed)[0].write(self.path("a"))
            mutate.mutated(seed)[0].write(self.path("b"))
            self.assertTrue(filecmp.cmp(self.path("a"), self.path("b"), shallow=False))


if __name__ == "__main__":
    unittest.main()
