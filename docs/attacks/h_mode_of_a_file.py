"""A file that only its owner can read is replaced.

New files are readable by all under the usual umask. A file that replaces another must keep its mode.
"""

import os
from pathlib import Path

import numpy as np
from shell import ckpttool

np.savez("new.npz", kernel=np.ones(3, "f"))
np.savez("private.npz", kernel=np.zeros(3, "f"))
os.chmod("private.npz", 0o600)
os.umask(0o022)
ckpttool("convert new.npz -o private.npz --overwrite")
print("mode:", oct(Path("private.npz").stat().st_mode & 0o777))
