"""Keras 3's numbered weights under the names that Keras itself gives them: `hidden1/kernel`.

Keras 3 (saving_lib.py) numbers a layer's weights below a group `vars`, whose attribute `name` is the layer's own, and
puts layers within a layer in groups beside it. Which weight has which number follows from the layer's class. That is
in the key of a layer that is in a list (`layers/dense_1`), and in the name, if Keras chose it, of one that is an
attribute (`my_block/proj` with the name `dense_2`). Keras 2.13 to 2.15 wrote the same without names.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ckpttool.core.errors import FormatError
from ckpttool.formats.hdf5.tree import Tree
from ckpttool.formats.hdf5.values import text_of

HOLDER = "vars"
"""The group of a layer's own weights."""
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

Multi-head attention keeps its layers under names of its own."""
WHOLE: dict[str, dict[int, tuple[str, ...]]] = {
    "batch_normalization": {
        4: ("gamma", "beta", "moving_mean", "moving_variance"),
        2: ("moving_mean", "moving_variance"),
    },
    "layer_normalization": {2: ("gamma", "beta")},
    "group_normalization": {2: ("gamma", "beta")},
}
"""Layers whose weights are told by how many there are; which of them are absent, only a configuration says."""
TRAINING_STATE = ("optimizer", "seed_generator")
"""Groups that hold no weights: an optimizer's slots, a random generator's state."""
ROOT_STATE = ("metrics",)
"""The same, where they are the model's own."""


@dataclass(frozen=True)
class Scope:
    """A layer on the way to a weight: the group of its own weights, and its name."""

    group: str
    name: str


@dataclass(frozen=True)
class Weight:
    """A weight in a file of Keras 3: its path, the layers it is in, and what it is called in the last."""

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

    `names` has those of layers, by the groups of their own weights, that the file itself does not name, and `orders`
    what a configuration says of the weights of layers, by the layers' names.

    Raises:
        FormatError: two weights have one name.
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
        said = number.isdigit() and len(order) == counts[_holder(groups)]
        own = order[int(number)] if said else _own_name(tree, groups, number, counts, names)
        weight = Weight(path, scopes, own)
        if weight.name in weights:
            other = weights[weight.name].path
            raise FormatError(f"{tree.path}: {other} and {weight.path} would both be named {weight.name}")
        weights[weight.name] = weight
    return weights


def counted(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts the layers of a class as they were made: `layers/dense_2` before `layers/dense_10`."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", path)]


def _scopes(tree: Tree, groups: list[str], names: Mapping[str, str]) -> Iterator[Scope]:
    """Yield the layers on the way to a weight; groups that only hold layers are none."""
    for depth in range(1, len(groups) + 1):
        group = _holder(groups[:depth])
        if group in tree.attributes:
            name = _layer_name(tree, group, names)
            yield Scope(group, groups[depth - 1] if name is None else name)


def _layer_name(tree: Tree, group: str, names: Mapping[str, str]) -> str | None:
    """Return the name of the layer whose own weights are in a group; None where nothing says it."""
    own = tree.attributes[group].get("name")
    return names.get(group) if own is None else text_of(own)


def _own_name(tree: Tree, groups: list[str], number: str, counts: Counter[str], names: Mapping[str, str]) -> str:
    """Return what a numbered weight is called in its layer's class; the number where the class is not known.

    The class is in the layer's key and, where it is an attribute of another layer, in its name.
    """
    count = counts[_holder(groups)]
    kinds = [unnumbered(groups[-1]).lstrip("_")] if groups else []
    if groups and _holder(groups[:-1]) in tree.attributes:
        kinds.append(unnumbered(_layer_name(tree, _holder(groups), names) or ""))
    for kind in kinds:
        order = WHOLE.get(kind, {}).get(count) or ORDER.get(kind, ())
        if number.isdigit() and int(number) < len(order) and count <= len(order):
            return order[int(number)]
    return number


def unnumbered(name: str) -> str:
    """Return a key without the number at its end: `dense` of `dense_2`."""
    return re.sub(r"_\d+$", "", name)


def _holder(groups: list[str]) -> str:
    return "/".join([*groups, HOLDER])
