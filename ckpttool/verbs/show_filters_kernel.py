"""Show filters: which kernel of a layer to draw, its layout, and the shape of its input images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.names import layer_of, listed
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array, Tensor
from ckpttool.foreign.evidence import FRAMEWORKS, Evidence
from ckpttool.formats.keras.files import is_whole_model
from ckpttool.formats.keras.network import read_network
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.layouts.layout import channels_last
from ckpttool.model.as_run import as_run
from ckpttool.model.resolve import graph_beside, open_checkpoint
from ckpttool.surgery.filters import COLOURS, GREY, IMAGES, STEPS, Filters, convolution_filters, dense_filters
from ckpttool.training.wanted import placeholder_spec

MATRIX = 2
"""The dimensions of the kernel of a dense layer."""
KERNELS = ("kernel", "weight", "weights", "w", "depthwise_kernel", "depthwise_weights")
"""The endings of kernel names to draw, if a layer has several candidates."""
_HELP = "`image_shape` HEIGHT,WIDTH,CHANNELS tells how they are laid out"


@dataclass(frozen=True)
class KernelSource:
    """A file of weights, and what determines the layout of its kernels."""

    path: Path
    tensors: Checkpoint
    evidence: Evidence

    @classmethod
    def open(cls, path: Path) -> "KernelSource":
        """Open a file."""
        tensors = open_checkpoint(path)
        return cls(path, tensors, Evidence(tensors))

    def drawn(self, name: str, most: int, image_shape: Sequence[int] | None) -> tuple[str, Filters]:
        """Return the name of a layer's kernel, and its images.

        Raises:
            UnknownName: the name does not exist.
            PlanError: it has no kernel, or one that cannot be drawn as an image.
        """
        tensor = self.kernel(name)
        return tensor.spec.name, self.filters(tensor, most, image_shape)

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """The kind of each tensor."""
        return self.tensors.kinds()

    def kernel(self, name: str) -> Tensor:
        """Return the kernel of a name.

        Raises:
            UnknownName: the name does not exist.
            PlanError: it has no kernel, or several.
        """
        tensors, kinds = self.tensors, self.kinds
        below = [each for each in tensors if each.startswith((f"{name}/", f"{name}."))]
        if name not in tensors and not below:
            raise UnknownName(f"{self.path}: no layer or tensor named {name}{suggestion(name, tensors)}")
        members = [name] if name in tensors else [each for each in below if kinds[each] == "weight"]
        kernels = [each for each in members if _is_kernel(tensors[each])]
        if not kernels:
            found = listed([f"{each} {list(tensors[each].shape)}" for each in members or below])
            raise PlanError(f"{self.path}: {name} has no kernel to draw: found {found}, expected a matrix or a window")
        own = [each for each in kernels if layer_of(each) == name and each[len(name) + 1 :].lower() in KERNELS]
        if len(kernels) > 1 and len(own) != 1:
            raise PlanError(f"{self.path}: {name} has {len(kernels)} kernels, expected one: {listed(kernels)}")
        return tensors[own[0] if len(kernels) > 1 else kernels[0]]

    def filters(self, tensor: Tensor, most: int, image_shape: Sequence[int] | None) -> Filters:
        """Return the images of a kernel.

        Raises:
            PlanError: it cannot be drawn as an image.
        """
        name, shape = tensor.spec.name, list(tensor.shape)
        first = self._has_outputs_first(name)
        order = channels_last(len(shape)) if first else tuple(range(len(shape)))
        if len(shape) == MATRIX:
            image, channels_first = self._image(name, shape[order[0]], image_shape)
            return dense_filters(_numbers(tensor).transpose(order), image, first or channels_first, most)
        if len(shape) not in (STEPS, IMAGES) or prod(shape[axis] for axis in order[:-2]) <= 1:
            expected = "expected a matrix, or a window of more than one place in one or two dimensions"
            raise PlanError(f"{self.path}: {name} {shape} is not a picture: {expected}")
        return convolution_filters(_numbers(tensor).transpose(order), "depthwise" in name, most)

    def _has_outputs_first(self, name: str) -> bool:
        """Return whether a kernel has its outputs first, as in PyTorch: by its ops, its framework, or its name."""
        known = self.evidence.arrangement(name).outputs_first
        known = FRAMEWORKS.get(self.evidence.framework or "") if known is None else known
        return known if known is not None else name.endswith(".weight")

    def _image(self, name: str, inputs: int, given: Sequence[int] | None) -> tuple[tuple[int, int, int], bool]:
        """Return height, width and channels of a dense layer's input, and whether channels are first.

        Raises:
            PlanError: the input is not known to be an image.
        """
        what = f"{self.path}: {name} has {counted(inputs, 'input')}"
        if given is not None:
            if prod(given) != inputs:
                raise PlanError(f"{what}, `image_shape` {','.join(map(str, given))} is of {prod(given)}")
            return _with_channels(given), False
        rows = self._rows()
        fitting = [row for row in rows if prod(row) == inputs]
        for row in fitting:
            if len(row) in (2, 3):
                is_first = row[0] in (GREY, COLOURS) and row[-1] not in (GREY, COLOURS)
                return _with_channels((*row[1:], row[0]) if is_first and len(row) > 2 else row), is_first
        if rows and not fitting:
            raise PlanError(f"{what}, and rows of the model are {listed([str(list(row)) for row in rows])}; {_HELP}")
        if not rows and (other := self._may_feed(name, inputs)):
            raise PlanError(f"{what}, which {other} may give, and no image; {_HELP}")
        for channels in (GREY, COLOURS):
            side = isqrt(inputs // channels)
            if side > 1 and side * side * channels == inputs:
                return (side, side, channels), False
        raise PlanError(f"{what}, which are not a square image; {_HELP}")

    def _rows(self) -> list[tuple[int, ...]]:
        """Return the shapes of the model's inputs, as far as its network determines them without being built."""
        try:
            if self.path.is_file() and is_whole_model(self.path):
                layers = read_network(self.path).architecture["config"]["layers"]
                configs = [layer["config"] for layer in layers if layer.get("class_name") == "InputLayer"]
                shapes = [config.get("batch_shape") for config in configs]
            else:
                shapes = self._fed_shapes()
        except CkptError:
            return []  # a network that cannot be read says nothing of its rows, and its weights are drawn nevertheless
        return [tuple(shape[1:]) for shape in shapes if shape and None not in shape[1:]]

    def _fed_shapes(self) -> list[Any]:
        """Return the shapes of the placeholders in the graph beside the weights, if there is one."""
        graph = graph_beside(self.tensors.path)
        if graph is None:
            return []
        graph = as_run(graph, self.tensors)[0]
        return [placeholder_spec(graph, tensor).shape for tensor in find_roles(graph, needed=()).inputs]

    def _may_feed(self, name: str, inputs: int) -> str | None:
        """Return another kernel of the file that may compute a layer's input; None if there is none."""
        kinds = self.kinds
        for other in self.tensors:
            shape = self.tensors[other].shape
            if other != name and kinds[other] == "weight" and _is_kernel(self.tensors[other]):
                outputs = shape[0] if self._has_outputs_first(other) else shape[-1]
                if outputs == inputs or (len(shape) >= IMAGES and outputs and inputs % outputs == 0):
                    return other
        return None


def _is_kernel(tensor: Tensor) -> bool:
    return len(tensor.shape) >= MATRIX and tensor.spec.dtype.is_number and 0 not in tensor.shape


def _numbers(tensor: Tensor) -> Array:
    return tensor.read().astype(np.float32)


def _with_channels(row: Sequence[int]) -> tuple[int, int, int]:
    height, width, channels = (*row, GREY)[:3]
    return height, width, channels
