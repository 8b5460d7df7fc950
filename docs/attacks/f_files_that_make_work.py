"""Small files, and a pattern, that exhaust time or memory.

HDF5 groups with two links each to the next group: following all links visits the last one 2^60 times. An array that
claims four terabytes. A pattern with exponential backtracking.
"""

import io
import zipfile

import h5py
import numpy as np
from shell import ckpttool

with h5py.File("links.h5", "w") as file:
    group = file
    for _ in range(60):
        below = group.create_group("left")
        group["right"] = below
        group = below
    group["kernel"] = np.ones(3, "f")
ckpttool("vars links.h5")

header = io.BytesIO()
np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
with zipfile.ZipFile("large.npz", "w") as archive:
    archive.writestr("kernel.npy", header.getvalue() + bytes(64))
ckpttool("vars large.npz")

np.savez("names.npz", **{"a" * 60: np.ones(1)})
ckpttool("vars names.npz --layers '(a+)+b'")
