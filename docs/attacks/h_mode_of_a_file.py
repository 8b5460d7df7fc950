"""A file that only its owner may read is replaced by a new version.

A new file gets the mode that new files get, which all may read; what replaces a file must keep the old one's.
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
