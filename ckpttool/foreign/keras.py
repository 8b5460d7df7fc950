"""Keras weights in HDF5, under the names that a TensorFlow graph gives them: `hidden1/kernel`.

Keras 1 and 2 list `layer_names` and each layer's `weight_names` in attributes (legacy_h5_format.py in Keras 3). Keras 3
numbers a layer's weights below a group `vars`, whose attribute `name` is the layer's own (saving_lib.py); which weight
has which number follows from the layer's class, and that is in the group's path.
"""

import re
from collections.abc import Iterator, Mapping

from ckpttool.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.hdf5 import Tree, text_of
from ckpttool.tensors import Tensor

ORDER = {
    "dense": ("kernel", "bias"),
    "conv1d": ("kernel", "bias"),
    "conv2d": ("kernel", "bias"),
    "conv3d": ("kernel", "bias"),
    "conv1d_transpose": ("kernel", "bias"),
    "conv2d_transpose": ("kernel", "bias"),
    "conv3d_transpose": ("kernel", "bias"),
    "depthwise_conv1d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "separable_conv1d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "embedding": ("embeddings",),
    "lstm_cell": ("kernel", "recurrent_kernel", "bias"),
    "gru_cell": ("kernel", "recurrent_kernel", "bias"),
    "simple_rnn_cell": ("kernel", "recurrent_kernel", "bias"),
    "p_re_lu": ("alpha",),
}
"""The weights of Keras's layers in the order in which they are numbered; a layer without a bias has fewer."""
WHOLE: dict[str, dict[int, tuple[str, ...]]] = {
    "batch_normalization": {
        4: ("gamma", "beta", "moving_mean", "moving_variance"),
        2: ("moving_mean", "moving_variance"),
    },
    "layer_normalization": {2: ("gamma", "beta")},
}
"""Layers whose weights are only told by how many there are; of three, either of the first two may be absent."""
TRAINING_STATE = ("optimizer", "optimizer_weights", "seed_generator")
"""Groups that hold no weights: an optimizer's slots, a random generator's state."""


def is_keras(tree: Tree) -> bool:
    """Say whether a file has one of Keras's layouts."""
    return _legacy_root(tree) is not None or _numbered(tree)


def keras_tensors(tree: Tree) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights by their logical names, and the paths of what is not a weight (optimizer, random state).

    Raises:
        FormatError: two weights have one name.
        CorruptCheckpoint: an attribute names a weight that is not there.
    """
    root = _legacy_root(tree)
    named = dict(_legacy(tree, root)) if root is not None else dict(_current(tree))
    taken: dict[str, str] = {}
    for path, name in named.items():
        if name in taken:
            raise FormatError(f"{tree.path}: {taken[name]} and {path} would both be named {name}")
        taken[name] = path
    rest = [path for path in tree.tensors if path not in named]
    return {name: tree.tensors[path].renamed(name) for path, name in named.items()}, rest


def _legacy_root(tree: Tree) -> str | None:
    """Return the group that lists the layers: the file itself, or `model_weights` of a whole model."""
    return next((group for group in ("", "model_weights") if tree.texts(group, "layer_names") is not None), None)


def _legacy(tree: Tree, root: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of each weight that a Keras 1 or 2 file lists."""
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
    found = scope.match(name)
    return name[found.end() :] if found else name


def _numbered(tree: Tree) -> bool:
    """Say whether the file has Keras 3's groups of numbered weights."""
    return any(path.split("/")[-1] == "vars" and "name" in found for path, found in tree.attributes.items())


def _current(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield the path and the name of each weight of a Keras 3 file."""
    for path in tree.tensors:
        *groups, holder, number = path.split("/") if path.count("/") else ("", "", path)
        if holder == "vars" and not set(groups) & set(TRAINING_STATE):
            yield path, "/".join([*_scopes(tree, groups), _weight_name(tree, groups, number)])


def _scopes(tree: Tree, groups: list[str]) -> Iterator[str]:
    """Yield the layers' own names on the way to a weight; groups that only hold layers have none."""
    for depth in range(1, len(groups) + 1):
        own = tree.attributes.get("/".join([*groups[:depth], "vars"]), {}).get("name")
        if own is not None:
            yield text_of(own)


def _weight_name(tree: Tree, groups: list[str], number: str) -> str:
    """Return what a numbered weight is called in its layer's class; the number where the class is not known."""
    group = "/".join([*groups, "vars"])
    count = sum(path.rpartition("/")[0] == group for path in tree.tensors)
    kind = re.sub(r"_\d+$", "", groups[-1]) if groups else ""
    if kind == "cell":
        kind = re.sub(r"_\d+$", "", text_of(tree.attributes[group].get("name", "")))
    order = WHOLE.get(kind, {}).get(count) or ORDER.get(kind, ())
    known = number.isdigit() and int(number) < len(order) and count <= len(order)
    return order[int(number)] if known else number
