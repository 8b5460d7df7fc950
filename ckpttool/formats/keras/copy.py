"""An edited copy of a file of Keras: its structure, with the values of its weights replaced by name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile, PlanError
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Writing
from ckpttool.formats.hdf5.tree import Hdf5Tensors, Tree
from ckpttool.formats.hdf5.values import MARK
from ckpttool.formats.hdf5.writer import compare
from ckpttool.formats.keras.names import Weight


@dataclass(frozen=True)
class EditedCopy:
    """The contents of a copy, by path: the tensors, including a training state, and the attributes.

    `renamed` maps the old names of layers to new ones.
    """

    tensors: Mapping[str, Tensor]
    attributes: Mapping[str, Mapping[str, Any]]
    renamed: Mapping[str, str]


def like_of(path: Path, how: Writing) -> Path:
    """Return the file to copy: the one in `how.like`, else the one that the tensors were read from.

    Raises:
        MissingFile: the file does not exist.
        PlanError: neither is known.
    """
    if how.like and not how.like.is_file():
        raise MissingFile(f"{how.like} is missing: no such file to copy")
    like = how.like or how.source
    if like is None:
        raise PlanError(f"{path} is written as an edited copy of such a file: specify it as `like`")
    return like


def edited(tree: Tree, weights: Mapping[str, Weight], tensors: Mapping[str, Tensor], how: Writing) -> EditedCopy:
    """Return a copy of a Keras 3 file with tensors in place of the weights of the same names.

    The states of optimizers and random generators are kept. If tensors were renamed after they were read from the file,
    its layers are renamed.

    Raises:
        PlanError: a tensor has no place, a place no tensor, a shape differs, or weights of one layer were renamed
            differently.
        FormatError: the file has an attribute or a dataset that cannot be copied.
    """
    names_of_places = placed(tree, {name: weight.path for name, weight in weights.items()}, tensors, how)
    new = {weights[old].path: tensors[name] for old, name in names_of_places.items()}
    names = _layer_names(tree, {weights[old]: name for old, name in names_of_places.items()})
    scopes = [scope for weight in weights.values() for scope in weight.scopes]
    renamed = {scope.name: names[scope.group] for scope in scopes if names[scope.group] != scope.name}
    attributes = attributes_of_copy(tree)
    for path, own in attributes.items():
        if path in names and "name" in own:
            attributes[path] = {**own, "name": names[path]}
    return EditedCopy({**tree.tensors, **new}, attributes, renamed)


def placed(tree: Tree, paths: Mapping[str, str], tensors: Mapping[str, Tensor], how: Writing) -> dict[str, str]:
    """Return the name of the tensor that replaces each weight of a file, by the weight's name; `paths` has the places.

    Raises:
        PlanError: a tensor has no place, a place no tensor, or a shape differs.
        FormatError: the file has an attribute or a dataset that cannot be copied.
    """
    if tree.opaque:
        raise FormatError(f"{tree.path}: {tree.opaque[0]} is an attribute that contains neither numbers nor texts")
    for path, what in tree.odd.items():
        raise FormatError(f"{tree.path}: {path} contains {what}, which cannot be copied")
    origins = how.origins if tree.path == how.source else {}
    names = {origins.get(name, name): name for name in tensors}
    if homeless := [name for old, name in names.items() if old not in paths]:
        raise PlanError(f"{tree.path} has no counterpart of {listed(homeless, 2)}{suggestion(homeless[0], paths)}")
    if empty := [name for name in paths if name not in names]:
        raise PlanError(f"nothing for {listed(empty, 2)} of {tree.path}{suggestion(empty[0], names)}")
    for old, name in names.items():
        shape = tree.tensors[paths[old]].shape
        if tensors[name].shape != shape:
            raise PlanError(f"{name} is {list(tensors[name].shape)}, its place in {tree.path} is {list(shape)}")
    return names


def attributes_of_copy(tree: Tree) -> dict[str, Mapping[str, Any]]:
    """Return the attributes of a file, without those that describe values (dtypes that HDF5 lacks)."""
    return {
        path: {key: value for key, value in own.items() if key != MARK or path not in tree.tensors}
        for path, own in tree.attributes.items()
    }


def _layer_names(tree: Tree, names: Mapping[Weight, str]) -> dict[str, str]:
    """Return the new name of each layer, by the group of its own weights, on which all its weights must agree."""
    layers: dict[str, str] = {}
    for weight, name in names.items():
        parts = name.split("/") if name != weight.name else [*(scope.name for scope in weight.scopes), weight.own]
        if len(parts) != len(weight.scopes) + 1 or parts[-1] != weight.own:
            raise PlanError(
                f"{weight.name} cannot be named {name} in {tree.path}: only its layers can have other names"
            )
        for scope, part in zip(weight.scopes, parts[:-1], strict=True):
            if layers.setdefault(scope.group, part) != part:
                raise PlanError(
                    f"{weight.name} would be {name}, but another weight of the layer {scope.name} would be in "
                    f"{layers[scope.group]}: rename all of a layer's weights, or none"
                )
            if part != scope.name and "name" not in tree.attributes[scope.group]:
                raise PlanError(f"{tree.path} stores no name of the layer {scope.name} that could become {part}")
    return layers


def check_copy(
    read: Hdf5Tensors, names: Collection[str], written: Mapping[str, Tensor], sums: Mapping[str, int], path: Path
) -> None:
    """Check that a copy, when read back, has the weights that were written, under the same names.

    Raises:
        CorruptCheckpoint: the names differ.
    """
    compare(read.tree, written, sums)
    if set(read) != set(names):
        raise CorruptCheckpoint(f"{path}: its weights read back under other names")
