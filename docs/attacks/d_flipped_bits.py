"""One bit of each byte of an .npz file is flipped.

NumPy locates arrays through the zip directory, where a flipped bit can hide an array without an error. Bits without an
effect (times, attributes, versions) may go unnoticed, but no value, name or array may change without an error.
"""

from pathlib import Path

import numpy as np
from shell import ckpttool as command

import ckpttool

np.savez("x.npz", kernel=np.ones(3, "f"))
whole = Path("x.npz").read_bytes()


def read():
    """Return the content of the file, or None if it is rejected."""
    try:
        return {name: tensor.read().tolist() for name, tensor in ckpttool.open("x.npz").items()}
    except ckpttool.CkptError:
        return None


right, counts = read(), {"refused": 0, "the same values": 0, "other values": 0}
for place in range(len(whole)):
    flipped = bytearray(whole)
    flipped[place] ^= 1 << place % 8
    Path("x.npz").write_bytes(flipped)
    found = read()
    counts["refused" if found is None else "the same values" if found == right else "other values"] += 1
print("bits that gave other values:", counts["other values"])
Path("x.npz").write_bytes(whole.replace(b"\x80?", b"\x81?", 1))  # 1.0 becomes 1.0078125
command("verify x.npz")
