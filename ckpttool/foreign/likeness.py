"""How alike the names of two tensors are, whatever framework gave them: the part they play, and the words before it."""

import re
from collections.abc import Sequence

PARTS = {
    "weight": ("weight", "weights", "kernel", "kernels", "w", "gamma", "scale", "embeddings", "embedding", "table"),
    "bias": ("bias", "biases", "b", "beta", "offset", "shift"),
    "mean": ("running_mean", "moving_mean", "mean"),
    "variance": ("running_var", "running_variance", "moving_variance", "moving_var", "running_std", "variance", "var"),
}
"""What a tensor is to its layer, and how frameworks call it; Keras 1's running_std is a variance."""
_PART_OF = {word: part for part, words in PARTS.items() for word in words}
COUNTERS = frozenset({"num_batches_tracked", "position_ids"})
"""Tensors beside weights that PyTorch saves and that no graph has a variable for."""


def part_of(name: str) -> str | None:
    """Return what a tensor is to its layer by the end of its name, None where that says nothing.

    Keras 1 may have put a number behind it, as TensorFlow does to make a name the only one.

    >>> part_of("features.0.weight"), part_of("bn/gamma_1"), part_of("attention/query"), part_of("W_1")
    ('weight', 'weight', None, None)
    """
    *layer, end = re.split(r"[/.:]", name)
    return _PART_OF.get((re.sub(r"_\d+$", "", end) if layer else end).lower())


def is_counter(name: str) -> bool:
    """Say whether a name is that of a counter or an index, which is no weight."""
    return re.split(r"[/.]", name)[-1] in COUNTERS


def layer_of(name: str) -> str:
    """Return a name without its last component.

    >>> layer_of("features.0.weight"), layer_of("hidden1/kernel")
    ('features.0', 'hidden1')
    """
    return re.sub(r"[/.:]?[^/.:]*$", "", name)


def common_ending(words: Sequence[str], others: Sequence[str]) -> int:
    """Return how many words of two names are the same at their ends; numbers alone do not count.

    >>> common_ending(words_of("module.encoder.layer.0.fc1.weight"), words_of("layer_0/fc1/kernel"))
    4
    >>> common_ending(words_of("2.bias"), words_of("fc2/bias"))
    0
    """
    count = 0
    while count < min(len(words), len(others)) and words[-1 - count] == others[-1 - count]:
        count += 1
    shared = words[len(words) - count :]
    return 0 if all(word.isdecimal() for word in shared) else count


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
    """Return the words and numbers of a name, without the last where it says the part that a tensor plays."""
    head = name if part_of(name) is None else layer_of(name)
    return [word.lower() for word in re.findall(r"\d+|[A-Z]?[a-z]+|[A-Z]+", head)]
