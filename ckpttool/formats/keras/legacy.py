"""Files of Keras 1 and 2: layers and weights are listed in attributes (legacy_h5_format.py in Keras 3). Read only."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.format import Format
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.hdf5.tree import Hdf5Tensors, Tree, read_tree


class KerasLegacy(Format):
    """Weights or whole models of Keras 1 and 2, and of Keras 3 where it is asked for the old layout."""

    NAME = "keras-legacy"
    CHECKSUMS = False
    FRAMEWORK = "keras"
    LIMITS = "is read only: what is named `.h5` is written as a tree of datasets, which Keras does not load"
    WRITES = False
    INSTEAD = (
        "files of Keras 1 and 2 are read, not written; an output named .weights.h5 can be an edited copy "
        "of a file of Keras 3, one named .h5 a tree of datasets"
    )

    def recognises(self, path: Path) -> bool:
        """Return whether a file is HDF5 that lists its layers."""
        return is_hdf5(path) and legacy_root(read_tree(path)) is not None

    def open(self, path: Path) -> Hdf5Tensors:
        """List the weights by their logical names; `read_tree` says what is raised.

        Raises:
            FormatError: two weights have one name.
            CorruptCheckpoint: an attribute names a weight that is not there.
        """
        tree = read_tree(path)
        paths: dict[str, str] = {}
        for dataset, name in _listed(tree, legacy_root(tree) or ""):
            if paths.setdefault(name, dataset) != dataset:
                raise FormatError(f"{path}: {paths[name]} and {dataset} would both be named {name}")
        return Hdf5Tensors(tree, paths)


def legacy_root(tree: Tree) -> str | None:
    """Return the group that lists the layers: the file itself, or `model_weights` of a whole model."""
    return next((group for group in ("", "model_weights") if tree.texts(group, "layer_names") is not None), None)


def _listed(tree: Tree, root: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of each weight that the file lists."""
    for layer in [*(tree.texts(root, "layer_names") or []), "top_level_model_weights"]:
        group = f"{root}/{layer}" if root else layer
        weights = tree.texts(group, "weight_names") or []
        names = _layer_names(layer, weights)
        for weight in weights:
            path = f"{group}/{weight}"
            if path not in tree.tensors:
                raise CorruptCheckpoint(f"{tree.path}: {group} lists {weight}, and no such dataset is there")
            yield path, names[weight]


def _layer_names(layer: str, weights: list[str]) -> Mapping[str, str]:
    """Return the logical names of a layer's weights.

    TensorFlow makes scopes unique by a number (`dense_1_2/kernel:0` in the layer `dense_1`), Keras 1 joins with an
    underscore (`dense_1_W`), Keras 3 may put the model's name before (`sequential/dense_1/kernel`). Where taking those
    away would give two weights one name, they stay.

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
    """Return what follows a scope that a name begins with, or the name."""
    match = scope.match(name)
    return name[match.end() :] if match else name
