"""Darknet files: a network as a .cfg, and numbers after a header."""

import struct

import numpy as np

HEADER = struct.pack("<3iQ", 0, 2, 5, 64_000)
CFG = """[net]
# the size of images
width = 8
height=8
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=6
size=1
activation=linear

[route]
layers=-1,-2

[convolutional]
filters=5
groups=5
size=3
stride=2
pad=1
activation=linear
"""
COUNT = 4 * 4 + 4 * 27 + 6 + 24 + 5 + 5 * 2 * 9


def section(kind, **options):
    return "\n".join((f"[{kind}]", *(f"{key}={value}" for key, value in options.items()), ""))


def network(*sections, channels=3, height=8, width=8):
    return "\n".join((section("net", channels=channels, height=height, width=width), *sections))


def numbers(count=COUNT):
    return np.random.default_rng(0).uniform(0.1, 0.9, count).astype("<f4")


def write(folder, cfg=CFG, values=None, name="net", header=HEADER):
    (folder / f"{name}.cfg").write_text(cfg)
    (folder / f"{name}.weights").write_bytes(header + (numbers() if values is None else values).tobytes())
    return folder / f"{name}.weights"
