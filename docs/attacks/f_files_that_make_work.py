"""Small files, and a pattern, that keep a reader busy or fill its memory.

Groups of HDF5 that have two links each to the next one: a walk along the links visits the last 2^60 times. An array
that claims four terabytes. A pattern that tries every way to cut a name into parts.
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
