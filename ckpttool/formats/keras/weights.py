"""Keras 3's weights: `.weights.h5`, or several with a `.weights.json` that maps groups to files (ShardedH5IOStore).

Layers are identified by their names, never by their order.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile, PlanError
from ckpttool.core.plain_files import lies_beside
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import PLAIN, Format, Writing
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.hdf5.tree import Hdf5Tensors, Tree, read_tree
from ckpttool.formats.hdf5.writer import write_tree
from ckpttool.formats.keras.archive import archived_weights, read_archive
from ckpttool.formats.keras.copy import check_copy, edited, like_of
from ckpttool.formats.keras.files import is_archive
from ckpttool.formats.keras.legacy import legacy_root
from ckpttool.formats.keras.names import Weight, is_numbered, weights_in
from ckpttool.formats.wire import strict_json
from ckpttool.formats.writing.files import replacing
from ckpttool.remote import sparse_files

SUFFIX = ".weights.json"
SHARD = ".weights.h5"
LIMIT = 64 << 20
"""Maximum size of a map in bytes; one with a million groups is smaller."""


class KerasWeights(Format):
    """The weights of a Keras 3 model."""

    NAME = "keras-weights"
    CHECKSUMS = False
    FRAMEWORK = "keras"
    SUFFIXES = (SHARD,)
    LIMITS = "an edited copy of a file of Keras 3, in one file: the weights that are there, in their shapes"
    DIMENSIONS = 32
    OPTIONS = frozenset({"like"})

    def recognises(self, path: Path) -> bool:
        """Return whether a file is HDF5 with Keras 3's numbered weights, or a map of such files."""
        return _is_weights(path)

    def open(self, path: Path) -> Hdf5Tensors:
        """List the weights by their logical names; raises as `read_tree` and `weights_in` do."""
        tree = _read(path)
        return Hdf5Tensors(tree, {name: weight.path for name, weight in weights_in(tree).items()})

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write an edited copy of a file of weights or an archive, and read it back; raises as `edited` does."""
        copy = edited(*_model(like_of(path, how)), tensors, how)
        sums: dict[str, int] = {}
        with replacing(path, partial(self._check, tensors, copy.tensors, sums)) as file:
            sums.update(write_tree(file, copy.tensors, copy.attributes))

    def _check(
        self, names: Mapping[str, Tensor], written: Mapping[str, Tensor], sums: Mapping[str, int], path: Path
    ) -> None:
        check_copy(self.open(path), names, written, sums, path)


def _is_weights(path: Path) -> bool:
    if is_map(path) or not is_hdf5(path):
        return is_map(path)
    tree = read_tree(path)
    return legacy_root(tree) is None and is_numbered(tree)


def _read(path: Path) -> Tree:
    return read_shards(path) if is_map(path) else read_tree(path)


def _model(path: Path) -> tuple[Tree, dict[str, Weight]]:
    """Return the tree of a file that is to be copied, and its weights.

    Raises:
        PlanError: it is not a file of Keras 3.
    """
    if is_archive(path):
        tree = read_archive(path)
        return tree, archived_weights(path, tree)
    if _is_weights(path):
        tree = _read(path)
        return tree, weights_in(tree)
    raise PlanError(f"{path} is not a file of Keras 3: the output is an edited copy of one (`like`)")


def is_map(path: Path) -> bool:
    """Return whether a file is a map of weights, by its name and its first byte."""
    if not path.name.endswith(SUFFIX) or not path.is_file():
        return False
    with sparse_files.opened(path) as file:
        return file.read(1) == b"{"


def read_shards(path: Path) -> Tree:
    """Return the contents of all files of a map as one tree.

    Raises:
        MissingFile: a file is missing.
        FormatError: a file is outside the folder, or two files contain the same dataset.
        CorruptCheckpoint: the map or a file is damaged.
    """
    tree = Tree(path)
    for name in sorted(set(_shards(path))):
        shard = read_tree(_beside(path, name))
        if twice := next((each for each in shard.tensors if each in tree.tensors), None):
            raise FormatError(f"{path}: {twice} is both in {name} and in another file")
        tree.tensors.update(shard.tensors)
        tree.opaque += shard.opaque
        for group, attributes in shard.attributes.items():
            tree.attributes[group] = {**tree.attributes.get(group, {}), **attributes}
    return tree


def _shards(path: Path) -> Iterator[str]:
    """Yield the names of the files, repeated if the map repeats them."""
    with sparse_files.opened(path) as file:
        text = file.read(LIMIT)
    try:
        weight_map = strict_json.loads(text)["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptCheckpoint(f"{path}: it is not a map of weights: {error}") from error
    if not isinstance(weight_map, dict):
        raise CorruptCheckpoint(f"{path}: its weight_map is not a map")
    for names in weight_map.values():
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str):
                raise CorruptCheckpoint(f"{path}: the map names {name!r}, which is not a file")
            yield name


def _beside(path: Path, name: str) -> Path:
    """Return a file beside the map."""
    shard = path.parent / name
    if not lies_beside(name) or not name.endswith(SHARD) or shard.is_symlink():
        raise FormatError(f"{path}: the map refers to {name}; expected a file beside it named *{SHARD}")
    if not sparse_files.is_there(shard):
        raise MissingFile(f"{shard} is missing: weights are in it according to {path.name}")
    return shard
