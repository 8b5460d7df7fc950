"""How alike the names of two tensors are, whatever framework gave them: the part they play, and the words before it."""

import re
from functools import lru_cache

PARTS = {
    "weight": (
        "weight",
        "weights",
        "kernel",
        "kernels",
        "w",
        "gamma",
        "g",
        "scale",
        "embeddings",
        "embedding",
        "table",
    ),
    "bias": ("bias", "biases", "b", "beta", "offset", "shift"),
    "mean": ("running_mean", "moving_mean", "mean"),
    "variance": ("running_var", "running_variance", "moving_variance", "moving_var", "running_std", "variance", "var"),
}
"""What a tensor is to its layer, and how frameworks call it; Keras 1's running_std is a variance."""
_PART_OF = {word: part for part, words in PARTS.items() for word in words}
_SHORT = r"(?P<part>w|weights?|kernels?|b|bias|biases|gamma|beta|(?:moving|running)_(?:mean|var|variance))"
_LEADING = re.compile(rf"{_SHORT}(?:_|(?=\d))(?P<layer>(?![ih]h_)\w+)", re.IGNORECASE)
"""`W1`, `b_conv1_1`, as flat names of TensorFlow 1 have it; not `weight_ih_l0`."""
_TRAILING = re.compile(rf"(?P<layer>(?!recurrent|depthwise|pointwise)\w+?)_{_SHORT}", re.IGNORECASE)
"""`conv1_1_W`; not the second kernel that a layer of Keras has."""
ALIASES = {
    "bn": ("batch", "norm"),
    "batchnorm": ("batch", "norm"),
    "ln": ("layer", "norm"),
    "layernorm": ("layer", "norm"),
    "normalization": ("norm",),
    "embeddings": ("embedding",),
    "q": ("query",),
    "k": ("key",),
    "v": ("value",),
}
"""Words of names that say the same."""
_PROJECTION = re.compile(r"(?<![a-z])(q|k|v|query|key|value)_(?:lin|linear|proj|projection)(?![a-z])", re.IGNORECASE)
"""An attention's projection, which others only call by what it projects to."""
COUNTERS = frozenset({"num_batches_tracked", "position_ids"})
"""Tensors beside weights that PyTorch saves and that no graph has a variable for."""


def part_of(name: str) -> str | None:
    """Return what a tensor is to its layer by the end of its name, None where that says nothing.

    Keras 1 may have put a number behind it, as TensorFlow does to make a name the only one. Names without scopes often
    say it first, or last behind an underscore.

    >>> part_of("features.0.weight"), part_of("bn/gamma_1"), part_of("attention/query"), part_of("b_conv1")
    ('weight', 'weight', None, 'bias')
    """
    return _divided(name)[1]


def is_counter(name: str) -> bool:
    """Say whether a name is that of a counter or an index, which is no weight."""
    return re.split(r"[/.]", name)[-1] in COUNTERS


def layer_of(name: str) -> str:
    """Return a name without its last component; of one that says a part in it, the rest is the layer.

    >>> layer_of("features.0.weight"), layer_of("hidden1/kernel"), layer_of("W1"), layer_of("conv1_1_b")
    ('features.0', 'hidden1', '1', 'conv1_1')
    """
    return _divided(name)[0]


@lru_cache(1 << 16)
def _divided(name: str) -> tuple[str, str | None]:
    """Return a tensor's layer, and the part that it plays there."""
    scope, end = scope_of(name), re.split(r"[/.:]", name)[-1]
    if part := _PART_OF.get((re.sub(r"_\d+$", "", end) if scope else end).lower()):
        return scope, part
    found = None if "." in name else _TRAILING.fullmatch(end) or _LEADING.fullmatch(end)
    if found is None:
        return scope, None
    return name[: len(name) - len(end)] + found["layer"], _PART_OF[found["part"].lower()]


def scope_of(name: str) -> str:
    """Return a name without its last component.

    >>> scope_of("encoder.attention.query"), scope_of("W1")
    ('encoder.attention', '')
    """
    return re.sub(r"[/.:]?[^/.:]*$", "", name)


def natural(name: str) -> list[tuple[int, str | int]]:
    """Return a key that sorts names with their numbers as numbers."""
    return [(1, int(word)) if word.isdecimal() else (0, word) for word in re.findall(r"\d+|\D+", name)]


def without_numbers(name: str) -> str:
    """Return a name without its numbers.

    >>> without_numbers("dense/kernel"), without_numbers("dense_1/kernel")
    ('dense/kernel', 'dense/kernel')
    """
    return re.sub(r"_?\d+", "", name)


def words_of(name: str) -> list[str]:
    """Return the words and numbers of a name, without the last where it says the part that a tensor plays.

    >>> words_of("block_2_expand_BN/gamma"), words_of("block_2/expand/BatchNorm/gamma")
    (['block', '2', 'expand', 'batch', 'norm'], ['block', '2', 'expand', 'batch', 'norm'])
    """
    head = _PROJECTION.sub(r"\1", name if part_of(name) is None else layer_of(name))
    words = (word.lower() for word in re.findall(r"\d+|[A-Z]?[a-z]+|[A-Z]+", head))
    return [same for word in words for same in ALIASES.get(word, (word,))]
