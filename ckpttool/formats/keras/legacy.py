"""Files of Keras 1 and 2: layers and weights are listed in attributes (legacy_h5_format.py in Keras 3).

Keras assigns weights to a layer by their order in the list, so the output is a copy in which only values differ.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from ckpttool.core.errors import CorruptCheckpoint, FormatError, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import PLAIN, Format, Writing
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.hdf5.tree import Hdf5Tensors, Tree, read_tree
from ckpttool.formats.hdf5.writer import LOSES, write_tree
from ckpttool.formats.keras.copy import attributes_of_copy, check_copy, like_of, placed
from ckpttool.formats.writing.files import replacing


class KerasLegacy(Format):
    """Weights or whole models of Keras 1 and 2, and of Keras 3 if saved in the old layout."""

    NAME = "keras-legacy"
    CHECKSUMS = False
    FRAMEWORK = "keras"
    LIMITS = "an edited copy of a file of Keras 1 or 2 (`like`): the weights that are there, in their names and shapes"
    DIMENSIONS = 32
    LOSES = LOSES
    LIKE_SUFFIXES: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")
    OPTIONS = frozenset({"like"})

    def recognises(self, path: Path) -> bool:
        """Return whether a file is HDF5 that lists its layers."""
        return is_hdf5(path) and legacy_root(read_tree(path)) is not None

    def open(self, path: Path) -> Hdf5Tensors:
        """List the weights by their logical names; raises as `read_tree` does, too.

        Raises:
            FormatError: two weights have the same name.
            CorruptCheckpoint: an attribute lists a weight that is missing.
        """
        tree = read_tree(path)
        return Hdf5Tensors(tree, _paths(tree))

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write a copy of a file with new values, and read it back.

        Raises:
            PlanError: it is not a file of Keras 1 or 2, a tensor has no place in it, or another name than there.
            FormatError: the file has an attribute or a dataset that cannot be copied.
        """
        like = like_of(path, how)
        if not self.recognises(like):
            raise PlanError(f"{like} is not a file of Keras 1 or 2: the output is an edited copy of one (`like`)")
        tree = read_tree(like)
        paths = _paths(tree)
        names = placed(tree, paths, tensors, how)
        if moved := [(old, name) for old, name in names.items() if old != name]:
            old, name = moved[0]
            raise PlanError(
                f"{old} cannot be named {name} in a copy of {like}: Keras identifies weights there by their order"
            )
        copy = {**tree.tensors, **{paths[name]: tensors[name] for name in names}}
        sums: dict[str, int] = {}
        with replacing(path, partial(self._check, tensors, copy, sums)) as file:
            sums.update(write_tree(file, copy, attributes_of_copy(tree)))

    def _check(
        self, names: Mapping[str, Tensor], written: Mapping[str, Tensor], sums: Mapping[str, int], path: Path
    ) -> None:
        check_copy(self.open(path), names, written, sums, path)


def legacy_root(tree: Tree) -> str | None:
    """Return the group that lists the layers: the file itself, or `model_weights` of a whole model."""
    return next((group for group in ("", "model_weights") if tree.texts(group, "layer_names") is not None), None)


def _paths(tree: Tree) -> dict[str, str]:
    """Return the path of each weight, by its logical name."""
    paths: dict[str, str] = {}
    for dataset, name in _listed(tree, legacy_root(tree) or ""):
        if paths.setdefault(name, dataset) != dataset:
            raise FormatError(f"{tree.path}: {paths[name]} and {dataset} would both be named {name}")
    return paths


def _listed(tree: Tree, root: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of each weight that the file lists."""
    for layer in [*(tree.texts(root, "layer_names") or []), "top_level_model_weights"]:
        group = f"{root}/{layer}" if root else layer
        weights = tree.texts(group, "weight_names") or []
        names = _layer_names(layer, weights)
        for weight in weights:
            path = f"{group}/{weight}"
            if path not in tree.tensors:
                raise CorruptCheckpoint(f"{tree.path}: {group} lists {weight}, which is missing")
            yield path, names[weight]


def _layer_names(layer: str, weights: list[str]) -> Mapping[str, str]:
    """Return the logical names of a layer's weights.

    TensorFlow makes scopes unique by a number (`dense_1_2/kernel:0` in the layer `dense_1`), Keras 1 joins with an
    underscore (`dense_1_W`), Keras 3 may prefix the model's name (`sequential/dense_1/kernel`). These are removed,
    unless that would give two weights the same name.

    >>> _layer_names("dense_1", ["dense_1_2/kernel:0", "dense_1_2/bias:0"])
    {'dense_1_2/kernel:0': 'dense_1/kernel', 'dense_1_2/bias:0': 'dense_1/bias'}
    >>> _layer_names("dense_1", ["dense_1_W"])
    {'dense_1_W': 'dense_1/W'}
    """
    layer_part = re.escape(layer)
    scope = re.compile(rf"(?:.*?/)?{layer_part}/|{layer_part}_\d+/|{layer_part}_(?=[A-Za-z]\w*$)")
    short = {weight: f"{layer}/{_after(scope, weight.removesuffix(':0'))}" for weight in weights}
    if len(set(short.values())) == len(short):
        return short
    return {weight: f"{layer}/{weight.removesuffix(':0')}" for weight in weights}


def _after(scope: re.Pattern[str], name: str) -> str:
    """Return a name without a scope that it starts with."""
    match = scope.match(name)
    return name[match.end() :] if match else name
