"""The tool is killed while it replaces an output.

It is killed at each file that it opens, renames or removes. Afterwards, the old or the new version must be there, and
the next run must succeed and leave no temporary files.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

import numpy as np

import ckpttool

CALLS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}


def save(version):
    """Write a bundle, which is an index and its data, over the existing one."""
    ckpttool.save({name: np.full(16, version, "f") for name in "ab"}, "out.ckpt", overwrite=True)


def killed(version, at):
    """Write a version in a child that is killed at the Nth call; return whether there was such a call."""
    child = os.fork()
    if child == 0:
        calls, me = itertools.count(1), os.getpid()
        sys.addaudithook(lambda event, _: event in CALLS and next(calls) == at and os.kill(me, signal.SIGKILL))
        save(version)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def found():
    """Return the versions that a reader finds."""
    return {float(value) for tensor in ckpttool.open("out.ckpt").values() for value in tensor.read()}


save(1)
ends, left = [], 0
while killed(version=2, at=len(ends) + 1):
    ends.append(found())
    save(1)
    left += len(list(Path.cwd().glob(".*")))
print("killed at more than 20 places:", len(ends) > 20)
print("old:", {1.0} in ends, "- new:", {2.0} in ends, "- neither:", sum(end not in ({1.0}, {2.0}) for end in ends))
print("files left behind after the next run:", left)
