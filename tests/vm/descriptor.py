#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run a command with a file as its descriptor 9, opened for reading and writing.

  descriptor.py APPEND,DIRECT image -- dmsetup create p --table "0 16384 ploop 7 9"
"""
import os
import sys

flags, path, _, *command = sys.argv[1:]
names = [name for name in flags.split(",") if name]
fd = os.open(path, sum(getattr(os, "O_" + name) for name in set(names)) | os.O_RDWR)
os.dup2(fd, 9)
os.execvp(command[0], command)
