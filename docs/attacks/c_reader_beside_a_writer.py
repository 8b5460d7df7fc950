"""A sharded checkpoint is read while another process replaces it.

A reader that opens the shards one by one could mix tensors of two versions.
"""

import contextlib
import os
import signal

import numpy as np
from shell import invoke

import ckpttool
from ckpttool.cli import main

for version in (1, 2):
    np.savez(f"{version}.npz", a=np.full(16, version, "f"), b=np.full(16, version, "f"))
invoke(["split", "1.npz", "--shard-size", "64", "-o", "out.safetensors"])
writer = os.fork()
while writer == 0:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for version in (2, 1):
        with contextlib.suppress(SystemExit):
            main(f"split {version}.npz --shard-size 64 -o out.safetensors --overwrite".split())
counts = {"one version": 0, "mixed": 0, "said to have changed": 0}
for _ in range(150):
    try:
        tensors = ckpttool.open("out.safetensors").values()
        versions = {float(value) for tensor in tensors for value in tensor.read()}
        counts["one version" if len(versions) == 1 else "mixed"] += 1
    except ckpttool.CkptError as error:
        counts["said to have changed"] += "while it was read" in str(error)
os.kill(writer, signal.SIGKILL)
print("all reads gave one version, or said that it changed:", counts.pop("mixed") == 0 and sum(counts.values()) == 150)
