"""Keras 3's numbered weights under the names that Keras itself gives them: `hidden1/kernel`.

Keras 3 (saving_lib.py) numbers a layer's weights below a group `vars`, whose attribute `name` is the layer's own, and
puts layers within a layer in groups beside it. The number of a weight depends on the layer's class. The key contains
the class if the layer is in a list (`layers/dense_1`); if it is an attribute, its name does, provided that Keras chose
it (`my_block/proj` with the name `dense_2`). Keras 2.13 to 2.15 wrote the same layout without names.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ckpttool.core.errors import FormatError
from ckpttool.core.names import by_value, number_in
from ckpttool.formats.hdf5.tree import Tree
from ckpttool.formats.hdf5.values import text_of

HOLDER = "vars"
"""The group that contains a layer's own weights."""
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
    "query_dense": ("kernel", "bias"),
    "key_dense": ("kernel", "bias"),
    "value_dense": ("kernel", "bias"),
    "output_dense": ("kernel", "bias"),
    "embedding": ("embeddings",),
    "lstm_cell": ("kernel", "recurrent_kernel", "bias"),
    "gru_cell": ("kernel", "recurrent_kernel", "bias"),
    "simple_rnn_cell": ("kernel", "recurrent_kernel", "bias"),
    "conv_lstm_cell": ("kernel", "recurrent_kernel", "bias"),
    "attention": ("scale", "concat_score_weight"),
    "additive_attention": ("scale",),
    "rms_normalization": ("scale",),
    "reversible_embedding": ("embeddings", "reverse_embeddings"),
    "spectral_normalization": ("kernel", "vector_u"),
    "p_re_lu": ("alpha",),
    "einsum_dense": ("kernel", "bias"),
    "normalization": ("mean", "variance", "count"),
}
"""The weights of Keras's layers in the order in which they are numbered; a layer without a bias has fewer.

Multi-head attention stores its layers under other names.
"""
WHOLE: dict[str, dict[int, tuple[str, ...]]] = {
    "batch_normalization": {
        4: ("gamma", "beta", "moving_mean", "moving_variance"),
        2: ("moving_mean", "moving_variance"),
    },
    "layer_normalization": {2: ("gamma", "beta")},
    "group_normalization": {2: ("gamma", "beta")},
}
"""Layers whose weights are identified by their number; only a configuration shows which of them are absent."""
TRAINING_STATE = ("optimizer", "seed_generator")
"""Groups without weights: an optimizer's slots, a random generator's state."""
ROOT_STATE = ("metrics",)
"""The same for the model's own."""


@dataclass(frozen=True)
class Scope:
    """A layer on the path of a weight: the group of its own weights, and its name."""

    group: str
    name: str


@dataclass(frozen=True)
class Weight:
    """A weight in a file of Keras 3: its path, the layers that contain it, and its name in the innermost one."""

    path: str
    scopes: tuple[Scope, ...]
    own: str

    @property
    def name(self) -> str:
        """The logical name: the layers' names, and the weight's."""
        return "/".join([*(scope.name for scope in self.scopes), self.own])


def is_numbered(tree: Tree) -> bool:
    """Return whether the file has Keras 3's groups of numbered weights."""
    holders = [group for group in tree.groups if group.rpartition("/")[2] == HOLDER]
    if any("name" in tree.attributes[group] for group in holders):
        return True
    members = [path for path in tree.tensors if path.rpartition("/")[0] in holders]
    return bool(members) and all(path.rpartition("/")[2].isdigit() for path in members)


def weights_in(
    tree: Tree, names: Mapping[str, str] | None = None, orders: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, Weight]:
    """Return the weights of a Keras 3 file by their logical names; the rest of its datasets are training state.

    `names` has the names of layers that the file itself does not name, by the groups of their own weights; `orders`
    has the names of layers' weights in the order of a configuration, by the layers' names.

    Raises:
        FormatError: two weights have the same name.
    """
    names = names or {}
    counts = Counter(path.rpartition("/")[0] for path in tree.tensors)
    weights: dict[str, Weight] = {}
    for path in sorted(tree.tensors, key=counted):
        *groups, holder, number = ["", *path.split("/")] if "/" not in path else path.split("/")
        if holder != HOLDER or set(groups) & set(TRAINING_STATE) or groups[:1] == list(ROOT_STATE):
            continue
        scopes = tuple(_scopes(tree, groups, names))
        order = (orders or {}).get(scopes[-1].name if scopes else "", ())
        place = number_in(number)
        said = place is not None and place < len(order) == counts[_holder(groups)]
        own = order[place or 0] if said else _own_name(tree, groups, number, counts, names)
        weight = Weight(path, scopes, own)
        if weight.name in weights:
            other = weights[weight.name].path
            raise FormatError(f"{tree.path}: {other} and {weight.path} would both be named {weight.name}")
        weights[weight.name] = weight
    return weights


def counted(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts the layers of a class in order of creation: `layers/dense_2` before `layers/dense_10`."""
    return [by_value(part) for part in re.split(r"(\d+)", path)]


def _scopes(tree: Tree, groups: list[str], names: Mapping[str, str]) -> Iterator[Scope]:
    """Yield the layers on the path of a weight; groups that only contain layers are skipped."""
    for depth in range(1, len(groups) + 1):
        group = _holder(groups[:depth])
        if group in tree.attributes:
            name = _layer_name(tree, group, names)
            yield Scope(group, groups[depth - 1] if name is None else name)


def _layer_name(tree: Tree, group: str, names: Mapping[str, str]) -> str | None:
    """Return the name of the layer whose own weights are in a group; None if it is unknown."""
    own = tree.attributes[group].get("name")
    return names.get(group) if own is None else text_of(own)


def _own_name(tree: Tree, groups: list[str], number: str, counts: Counter[str], names: Mapping[str, str]) -> str:
    """Return the name of a numbered weight in its layer's class; the number if the class is unknown.

    The class is in the layer's key and, if the layer is an attribute of another one, in its name.
    """
    count = counts[_holder(groups)]
    kinds = [unnumbered(groups[-1]).lstrip("_")] if groups else []
    if groups and _holder(groups[:-1]) in tree.attributes:
        kinds.append(unnumbered(_layer_name(tree, _holder(groups), names) or ""))
    for kind in kinds:
        order = WHOLE.get(kind, {}).get(count) or ORDER.get(kind, ())
        place = number_in(number)
        if place is not None and place < len(order) and count <= len(order):
            return order[place]
    return number


def unnumbered(name: str) -> str:
    """Return a key without the number at its end: `dense` of `dense_2`."""
    return re.sub(r"_\d+$", "", name)


def _holder(groups: list[str]) -> str:
    return "/".join([*groups, HOLDER])
