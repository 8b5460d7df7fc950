"""Keras 3's weights in several files: a `.weights.json` says which group is in which (ShardedH5IOStore)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.hdf5.tree import Tree, read_tree
from ckpttool.remote import sparse_files

SUFFIX = ".weights.json"
SHARD = ".weights.h5"
LIMIT = 64 << 20
"""Bytes of a map that are read; one with a million groups has fewer."""


def is_map(path: Path) -> bool:
    """Say whether a file is a map of weights, by its name and its first byte."""
    if not path.name.endswith(SUFFIX) or not path.is_file():
        return False
    with sparse_files.opened(path) as file:
        return file.read(1) == b"{"


def read_shards(path: Path) -> Tree:
    """Return what the files of a map hold, as if it were one.

    Raises:
        MissingFile: a file is not there.
        FormatError: a file would lie elsewhere, or two hold one dataset.
        CorruptCheckpoint: the map or a file is damaged.
    """
    tree = Tree(path)
    for name in sorted(set(_shards(path))):
        _add(tree, read_tree(_beside(path, name)))
    return tree


def _add(tree: Tree, shard: Tree) -> None:
    twice = next((name for name in shard.tensors if name in tree.tensors), None)
    if twice:
        raise FormatError(f"{tree.path}: {twice} is in {shard.path.name} and in another file")
    tree.tensors.update(shard.tensors)
    tree.opaque += shard.opaque
    for group, found in shard.attributes.items():
        tree.attributes[group] = {**tree.attributes.get(group, {}), **found}


def _shards(path: Path) -> Iterator[str]:
    """Yield the names of the files, as often as they are named."""
    found = _weight_map(path)
    for names in found.values():
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str):
                raise CorruptCheckpoint(f"{path}: the map names {name!r}, which is no file")
            yield name


def _weight_map(path: Path) -> dict[str, Any]:
    with sparse_files.opened(path) as file:
        text = file.read(LIMIT)
    try:
        found = json.loads(text)["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptCheckpoint(f"{path}: it is no map of weights: {error}") from error
    if not isinstance(found, dict):
        raise CorruptCheckpoint(f"{path}: its weight_map is no map")
    return found


def _beside(path: Path, name: str) -> Path:
    """Return a file beside the map."""
    shard = path.parent / name
    if Path(name).name != name or not name.endswith(SHARD) or shard.is_symlink():
        raise FormatError(f"{path}: the map leads to {name}; a file of weights lies beside it and is named *{SHARD}")
    if not sparse_files.is_there(shard):
        raise MissingFile(f"{shard} is missing: {path.name} says that weights are in it")
    return shard
