"""The arrays of a Darknet network's layers, in the order in which a `.weights` stores them.

Shapes are propagated from the image size through the layers, as in darknet/src/parser.c.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.formats.darknet.cfg import Section, sections

NETWORKS = ("net", "network")
SAME = (
    *("dropout", "softmax", "soft", "cost", "activation", "normalization", "lrn", "l2norm", "logistic", "logxent"),
    *("empty", "yolo", "region", "detection", "iseg", "Gaussian_yolo", "silence", "noise"),
)
"""Sections without weights whose output has the shape of their input."""
STATISTICS = ("weight", "running_mean", "running_var")
"""The arrays of a batch normalisation after its bias."""


class Shape(NamedTuple):
    """The shape of a layer's output: channels, height and width."""

    channels: int
    height: int
    width: int


class StoredArray(NamedTuple):
    """An array in the file: its name, its shape, and the stored shape of its matrix if that is transposed."""

    name: str
    shape: tuple[int, ...]
    transposed: tuple[int, int] | None = None


def read_network(path: Path, transposed: bool) -> list[StoredArray]:
    """Return the arrays of all layers; `transposed` is whether the file stores matrices transposed, as old ones do.

    Raises:
        CorruptCheckpoint: the `.cfg` is damaged, or too large.
        FormatError: a layer type is not supported.
    """
    network, *rest = [*sections(path)] or [Section(path, "", -1)]
    if network.kind not in NETWORKS:
        raise CorruptCheckpoint(f"{path}: it is not a .cfg file of Darknet: it does not begin with [net]")
    image = Shape(*(network.integer(key, 0) for key in ("channels", "height", "width")))
    given = [image if min(image) > 0 else Shape(network.integer("inputs", 0), 1, 1)]
    arrays: list[StoredArray] = []
    for section in rest:
        layer = _Layer(section, given, transposed)
        given.append(layer.made())
        if min(given[-1]) < 1 or not is_possible(given[-1]):
            raise CorruptCheckpoint(f"{section} would have the invalid output shape {list(given[-1])}")
        arrays += layer.arrays
    return arrays


class _Layer:
    """A layer, the output shapes of the image and of all layers before it, and the arrays found so far."""

    def __init__(self, section: Section, given: list[Shape], transposed: bool) -> None:
        self.section, self.given, self.transposed = section, given, transposed
        self.arrays: list[StoredArray] = []

    def made(self) -> Shape:
        """Return the shape of the layer's output, and record its arrays."""
        if self.section.kind in SAME:
            return self._from()
        known: dict[str, Callable[[], Shape]] = {
            **{"convolutional": self._convolutional, "connected": self._connected, "batchnorm": self._batchnorm},
            **{
                "maxpool": self._pool,
                "local_avgpool": self._pool,
                "avgpool": lambda: Shape(self._from().channels, 1, 1),
            },
            **{"route": self._route, "shortcut": self._shortcut, "scale_channels": self._scaled, "sam": self._from},
            **{"upsample": self._upsample, "reorg": self._reorg, "reorg3d": self._reorg, "crop": self._crop},
            "local": self._local,
        }
        if self.section.kind not in known:
            raise FormatError(f"{self.section} is of a kind that is not supported; where its weights end is not known")
        return known[self.section.kind]()

    def _from(self) -> Shape:
        return self.given[-1]

    def _add(self, part: str, shape: tuple[int, ...], transposed: tuple[int, int] | None = None) -> None:
        if not is_possible(shape):
            raise CorruptCheckpoint(f"{self.section} has the impossible shape {list(shape)}")
        name = f"{self.section.kind}_{self.section.number}/{part}"
        self.arrays.append(StoredArray(name, shape, transposed))

    def _add_biases(self, count: int) -> bool:
        """Record a layer's biases, which belong to its normalisation if it has one; return whether it has."""
        normalised = bool(self.section.integer("batch_normalize", 0))
        self._add("bn/bias" if normalised else "bias", (count,))
        return normalised

    def _convolutional(self) -> Shape:
        before, option = self._from(), self.section.positive
        filters, size, groups = option("filters", 1), option("size", 1), option("groups", 1)
        steps = option("stride_y", option("stride", 1)), option("stride_x", option("stride", 1))
        padding = size // 2 if self.section.integer("pad", 0) else self.section.integer("padding", 0)
        if before.channels % groups or filters % groups:
            raise CorruptCheckpoint(f"{self.section} has {groups} groups of {before.channels} channels")
        if "share_index" not in self.section.options:
            if self._add_biases(filters):
                for part in STATISTICS:
                    self._add(f"bn/{part}", (filters,))
            row = before.channels // groups * size * size
            flipped = (row, filters) if self.section.integer("flipped", 0) else None
            self._add("weight", (filters, before.channels // groups, size, size), flipped)
        sides = ((side + 2 * padding - size) // step + 1 for side, step in zip(before[1:], steps, strict=True))
        return Shape(filters, *sides)

    def _connected(self) -> Shape:
        inputs, outputs = math.prod(self._from()), self.section.positive("output", 1)
        normalised = self._add_biases(outputs)
        self._add("weight", (outputs, inputs), (inputs, outputs) if self.transposed else None)
        for part in STATISTICS if normalised else ():
            self._add(f"bn/{part}", (outputs,))
        return Shape(outputs, 1, 1)

    def _batchnorm(self) -> Shape:
        for part in ("bias", *STATISTICS):
            self._add(part, (self._from().channels,))
        return self._from()

    def _local(self) -> Shape:
        before, option = self._from(), self.section.positive
        filters, size, step = option("filters", 1), option("size", 1), option("stride", 1)
        padded = bool(self.section.integer("pad", 0))
        sides = [(side - (1 if padded else size)) // step + 1 for side in before[1:]]
        self._add("bias", (filters, *sides))
        self._add("weight", (math.prod(sides), filters, before.channels, size, size))
        return Shape(filters, *sides)

    def _pool(self) -> Shape:
        before, option = self._from(), self.section.positive
        step = option("stride", 1)
        size = option("size", step)
        padding = self.section.integer("padding", size - 1)
        steps = option("stride_y", step), option("stride_x", step)
        sides = ((side + padding - size) // each + 1 for side, each in zip(before[1:], steps, strict=True))
        return Shape(before.channels, *sides)

    def _others(self, key: str) -> list[Shape]:
        """Return the output shapes of the layers that an option lists by absolute or negative relative index."""
        here, found = self.section.number, []
        for number in self.section.integers(key):
            at = number if number >= 0 else here + number
            if not 0 <= at < here:
                raise CorruptCheckpoint(f"{self.section} names layer {number}, which is not a layer before it")
            found.append(self.given[at + 1])
        if not found:
            raise CorruptCheckpoint(f"{self.section} lacks {key}=")
        return found

    def _route(self) -> Shape:
        joined, groups = self._others("layers"), self.section.positive("groups", 1)
        return Shape(sum(each.channels for each in joined) // groups, *joined[0][1:])

    def _shortcut(self) -> Shape:
        others, kind = self._others("from"), self.section.options.get("weights_type", "none")
        if kind in ("per_feature", "per_layer"):
            self._add("weight", (len(others) + 1,))
        elif kind == "per_channel":
            self._add("weight", (len(others) + 1, self._from().channels))
        return self._from()

    def _scaled(self) -> Shape:
        return Shape(self._from().channels, *self._others("from")[0][1:])

    def _upsample(self) -> Shape:
        return self._resized(self.section.positive("stride", 2), 1)

    def _reorg(self) -> Shape:
        step = self.section.positive("stride", 1)
        if self.section.integer("reverse", 0):
            return self._resized(step, 1)._replace(channels=self._from().channels // step**2)
        return self._resized(1, step)._replace(channels=self._from().channels * step**2)

    def _resized(self, times: int, parts: int) -> Shape:
        before = self._from()
        return Shape(before.channels, before.height * times // parts, before.width * times // parts)

    def _crop(self) -> Shape:
        sides = (self.section.positive(key, 1) for key in ("crop_height", "crop_width"))
        return Shape(self._from().channels, *sides)
