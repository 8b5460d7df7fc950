"""Keras 3's weights: `.weights.h5`, or a `.weights.json` with several; layers by their names, never by their order."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import PLAIN, Format, Writing
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.hdf5.tensors import Hdf5Tensors
from ckpttool.formats.hdf5.tree import Tree, read_tree
from ckpttool.formats.hdf5.writer import compare, write_tree
from ckpttool.formats.keras.archive import is_archive, read_archive
from ckpttool.formats.keras.copy import edited, like_of
from ckpttool.formats.keras.legacy import legacy_root
from ckpttool.formats.keras.names import is_numbered, weights_in
from ckpttool.formats.keras.shards import SHARD, is_map, read_shards
from ckpttool.formats.writing.files import refuse_existing, replacing


class KerasWeights(Format):
    """The weights of a Keras 3 model."""

    NAME = "keras-weights"
    SUFFIXES = (SHARD,)
    LIMITS = "an edited copy of a file of Keras 3, in one file: the weights that are there, in their shapes"
    OPTIONS = frozenset({"like"})

    def recognises(self, path: Path) -> bool:
        """Say whether a file is HDF5 with Keras 3's numbered weights, or a map of such files."""
        return is_map(path) or (is_hdf5(path) and _is_ours(read_tree(path)))

    def open(self, path: Path) -> Hdf5Tensors:
        """List the weights by their logical names; `read_tree` and `weights_in` say what is raised."""
        tree = _read(path)
        return Hdf5Tensors(tree, {name: weight.path for name, weight in weights_in(tree).items()})

    def save(self, tensors: Mapping[str, Tensor], path: Path, overwrite: bool, how: Writing = PLAIN) -> None:
        """Write an edited copy of a file of weights or an archive, and read it again; `edited` says what is raised."""
        refuse_existing([path], overwrite)
        copy = edited(_model(like_of(path, how)), tensors, how)
        sums: dict[str, int] = {}
        with replacing(path, partial(self._check, tensors, copy.tensors, sums)) as file:
            sums.update(write_tree(file, copy.tensors, copy.attributes))

    def _check(
        self, names: Mapping[str, Tensor], written: Mapping[str, Tensor], sums: Mapping[str, int], path: Path
    ) -> None:
        read = self.open(path)
        compare(read.tree, written, sums)
        if set(read) != set(names):
            raise CorruptCheckpoint(f"{path}: its weights have other names when they are read back")


def _is_ours(tree: Tree) -> bool:
    return legacy_root(tree) is None and is_numbered(tree)


def _read(path: Path) -> Tree:
    return read_shards(path) if is_map(path) else read_tree(path)


def _model(path: Path) -> Tree:
    """Return what a file holds that is to be copied.

    Raises:
        PlanError: it is none of Keras 3's.
    """
    if is_archive(path):
        return read_archive(path)
    if is_map(path) or (is_hdf5(path) and _is_ours(read_tree(path))):
        return _read(path)
    raise PlanError(f"{path} is no file of Keras 3: the output is an edited copy of one (--like FILE)")
