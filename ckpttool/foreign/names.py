"""Comparing names of two frameworks: a tensor's role, layer, words and numbers, and common endings of names."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from typing import Generic, TypeVar

from ckpttool.core.names import FARTHEST, by_value, number_in

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
"""The roles of tensors in a layer, and their names in frameworks; Keras 1's running_std is a variance."""
_PART_OF = {word: part for part, words in PARTS.items() for word in words}
_SHORT = r"(?P<part>w|weights?|kernels?|b|bias|biases|gamma|beta|(?:moving|running)_(?:mean|var|variance))"
_LEADING = re.compile(rf"{_SHORT}(?:_|(?=\d))(?P<layer>(?![ih]h_)\w+)", re.IGNORECASE)
"""`W1`, `b_conv1_1`, as in flat names of TensorFlow 1; but not `weight_ih_l0`."""
_TRAILING = re.compile(rf"(?P<layer>(?!recurrent|depthwise|pointwise)\w+?)_{_SHORT}", re.IGNORECASE)
"""`conv1_1_W`; but not the second kernel of a Keras layer."""
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
"""Words with the same meaning."""
_PROJECTION = re.compile(r"(?<![a-z])(q|k|v|query|key|value)_(?:lin|linear|proj|projection)(?![a-z])", re.IGNORECASE)
"""An attention's projection, which other frameworks name without the suffix."""
_AUTOMATIC = re.compile(
    r"(?:^|(?<=/))(?P<kind>dense|einsum_dense|embedding|(?:depthwise_|separable_)?conv[123]d(?:_transpose)?|"
    r"(?:batch|layer|group|rms|unit|spectral|instance)_normalization(?:_v1)?|normalization|p_re_lu|"
    r"multi_head_attention|group_query_attention|attention|additive_attention|"
    r"lstm|gru|simple_rnn|rnn|bidirectional|time_distributed|conv_lstm[123]d|"
    r"Conv|SeparableConv2d|fully_connected|BatchNorm|LayerNorm)(?:_\d+)?(?=/)"
)
"""Names that Keras, tf.layers and slim give to layers, with a number that counts the layers made, not those passed."""
COUNTERS = frozenset({"num_batches_tracked", "position_ids"})
"""Tensors that PyTorch saves with weights, and for which graphs have no variables."""

Group = TypeVar("Group")
Key = tuple[str, ...]
"""The words around a number, which identify what it counts."""


def part_of(name: str) -> str | None:
    """Return a tensor's role in its layer by the end of its name, or None if it is unknown.

    The role may be followed by a number that Keras 1 or TensorFlow has added to make the name unique. In names without
    scopes, it is often at the beginning, or at the end after an underscore.

    >>> part_of("features.0.weight"), part_of("bn/gamma_1"), part_of("attention/query"), part_of("b_conv1")
    ('weight', 'weight', None, 'bias')
    """
    return _layer_and_part(name)[1]


def layer_by_role(name: str) -> str:
    """Return a name without its last component; if that contains more than the role, the rest belongs to the layer.

    >>> [layer_by_role(name) for name in ("features.0.weight", "hidden1/kernel", "W1", "conv1_1_b")]
    ['features.0', 'hidden1', '1', 'conv1_1']
    """
    return _layer_and_part(name)[0]


@lru_cache(1 << 16)
def _layer_and_part(name: str) -> tuple[str, str | None]:
    scope, end = scope_of(name), re.split(r"[/.:]", name)[-1]
    if part := _PART_OF.get((re.sub(r"_\d+$", "", end) if scope else end).lower()):
        return scope, part
    match = None if "." in name else _TRAILING.fullmatch(end) or _LEADING.fullmatch(end)
    if match is None:
        return scope, None
    return name[: len(name) - len(end)] + match["layer"], _PART_OF[match["part"].lower()]


def part_word(name: str) -> str:
    """Return the last component of a name, which depends on the framework.

    >>> part_word("features.0.weight"), part_word("fc1/kernel")
    ('weight', 'kernel')
    """
    return re.split(r"[/.:]", name)[-1]


def scope_of(name: str) -> str:
    """Return a name without its last component.

    >>> scope_of("encoder.attention.query"), scope_of("W1")
    ('encoder.attention', '')
    """
    return name[: max(0, *(name.rfind(sign) for sign in "/.:"))]


def is_counter(name: str) -> bool:
    """Return whether a name is that of a counter or index, which is not a weight."""
    return re.split(r"[/.]", name)[-1] in COUNTERS


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that compares the numbers in names as numbers."""
    return [by_value(word) for word in re.findall(r"\d+|\D+", name)]


def without_numbers(name: str) -> str:
    """Return a name without its numbers.

    >>> without_numbers("dense/kernel"), without_numbers("dense_1/kernel")
    ('dense/kernel', 'dense/kernel')
    """
    return re.sub(r"_?\d+", "", name)


def words_of(name: str) -> list[str]:
    """Return the words and numbers of a name, without the role at its end; a very long name is one word.

    >>> words_of("block_2_expand_BN/gamma"), words_of("block_2/expand/BatchNorm/gamma")
    (['block', '2', 'expand', 'batch', 'norm'], ['block', '2', 'expand', 'batch', 'norm'])
    """
    if len(name) > FARTHEST:
        return [name]
    head = _PROJECTION.sub(r"\1", name if part_of(name) is None else layer_by_role(name))
    words = (word.lower() for word in re.findall(r"\d+|[A-Z]?[a-z]+|[A-Z]+", head))
    return [same for word in words for same in ALIASES.get(word, (word,))]


def counted_words(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the words of each name; of names such as W, W_1, W_2, the first gets the number 0.

    >>> counted_words(["W", "b", "W_1", "b_1"])
    {'W': ['0'], 'b': ['0'], 'W_1': ['1'], 'b_1': ['1']}
    """
    words = {name: words_of(name) for name in names}
    numbered = any(len(each) == 1 and each[0].isdecimal() for each in words.values())
    return {name: each or ["0"] * numbered for name, each in words.items()}


def aligned(names: Iterable[str], others: Iterable[str]) -> dict[str, list[str]]:
    """Return the words of each name, with numbers shifted to those in the other names.

    One framework counts layers from 0, another from 1. If the numbers of layers also differ, the numbers cannot be
    compared, and are replaced by `?`.

    >>> list(aligned(["block.0.fc.weight", "block.1.fc.weight"], ["b1/fc/kernel", "b2/fc/kernel"]).values())
    [['block', '1', 'fc'], ['block', '2', 'fc']]
    """
    words = counted_words(names)
    ours, theirs = _numbers_by_key(words.values()), _numbers_by_key(counted_words(others).values())
    shifts: dict[Key, int | None] = {}
    for key, numbers in ours.items():
        counterparts = theirs.get(key, numbers)
        shift = min(counterparts) - min(numbers)
        if {number + shift for number in numbers} == counterparts:
            shifts[key] = shift
        else:
            shifts[key] = None if {min(numbers), min(counterparts)} == {0, 1} else 0
    for each in words.values():
        for place, key in [*_numbers(each)]:  # the keys are those before renumbering
            number = shifts[key]
            each[place] = "?" if number is None else str(int(each[place]) + number)
    return words


def without_automatic_numbers(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return each name without numbers that a framework has added by itself, except for kinds that both sides have.

    Such numbers count the layers as they were made: nested calls make the last one first, the first has no number, and
    the count goes on from one network to the next. Only names of the same origin can be compared by them.

    >>> [*without_automatic_numbers(["dense_3/kernel", "dense_2/kernel"], ["fc1.weight", "fc2.weight"]).values()]
    ['dense/kernel', 'dense/kernel']
    >>> [*without_automatic_numbers(["dense_3/kernel", "dense_2/kernel"], ["dense/kernel", "dense_1/kernel"]).values()]
    ['dense_3/kernel', 'dense_2/kernel']
    """
    shared = {match["kind"] for name in others for match in _AUTOMATIC.finditer(name)}

    def plain(match: re.Match[str]) -> str:
        return match[0] if match["kind"] in shared else match["kind"]

    return {name: _AUTOMATIC.sub(plain, name) for name in names}


def _numbers_by_key(names: Iterable[list[str]]) -> dict[Key, set[int]]:
    numbers: dict[Key, set[int]] = {}
    for words in names:
        for place, key in _numbers(words):
            numbers.setdefault(key, set()).add(int(words[place]))
    return numbers


def _numbers(words: list[str]) -> Iterator[tuple[int, Key]]:
    """Yield the positions of numbers, each with the following words, or if there are none, the preceding one."""
    plain = ["#" if number_in(word) is not None else word for word in words]
    for place in (place for place, word in enumerate(plain) if word == "#"):
        behind = plain[place:]
        yield place, tuple(behind if {*behind} != {"#"} else plain[max(0, place - 1) :])


def by_number(words: Mapping[str, list[str]], others: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """Return pairs of names with the same last numbers if every name has a counterpart; else an empty list.

    Numbers that are equal in all names of a side are ignored.

    >>> by_number({"W1": ["1"], "W2": ["2"]}, {"fc2/kernel": ["fc", "2"], "fc1/kernel": ["fc", "1"]})
    [('W1', 'fc1/kernel'), ('W2', 'fc2/kernel')]
    """
    numbers = [_distinctive_numbers(side) for side in (words, others)]
    count = min(len(each) for side in numbers for each in side.values())
    ours, theirs = ({each[-count:]: name for name, each in side.items()} for side in numbers)
    if count == 0 or len(ours) < len(words) or ours.keys() != theirs.keys() or any("?" in key for key in ours):
        return []
    return [(name, theirs[key]) for key, name in ours.items()]


def _distinctive_numbers(words: Mapping[str, Sequence[str]]) -> Mapping[str, Key]:
    """Return the numbers of each name; if all names have as many numbers, without those that are equal in all."""
    numbers = {name: tuple(w for w in each if w.isdecimal() or w == "?") for name, each in words.items()}
    if len({*map(len, numbers.values())}) > 1 or len(numbers) == 1:
        return numbers
    differ = [len({*column}) > 1 for column in zip(*numbers.values(), strict=True)]
    return {name: tuple(compress(each, differ)) for name, each in numbers.items()}


class Endings(Generic[Group]):
    """An index of names by the words at their ends, which avoids comparing all pairs; each name is in some groups.

    >>> words = {"layer_0/fc1/kernel": ["layer", "0", "fc", "1"], "layer_1/fc1/kernel": ["layer", "1", "fc", "1"]}
    >>> index = Endings((name, words[name], ["matrices"]) for name in words)
    >>> sorted(index.alike("encoder.layer.0.fc1.weight", ["encoder", "layer", "0", "fc", "1"], ["matrices"]))
    ['layer_0/fc1/kernel']
    >>> sorted(index.alike("fc1.weight", ["fc", "1"], ["matrices"]))  # both share two words
    ['layer_0/fc1/kernel', 'layer_1/fc1/kernel']
    """

    def __init__(self, names: Iterable[tuple[str, Sequence[str], Iterable[Group]]]) -> None:
        """Index names, each with its words and its groups."""
        self._names: dict[tuple[Group, Key], list[str]] = {}
        self._sets: dict[tuple[frozenset[Group], Key], frozenset[str]] = {}
        for name, words, groups in names:
            for group in groups:
                for ending in _endings(name, words):
                    self._names.setdefault((group, ending), []).append(name)

    def alike(self, name: str, words: Sequence[str], groups: Iterable[Group]) -> frozenset[str]:
        """Return the names in the groups that share the most words at their ends; empty if none shares a word."""
        groups = frozenset(groups)
        for ending in _endings(name, words):
            if (groups, ending) not in self._sets:  # the same set object for all callers, which is faster to compare
                lists = (self._names.get((group, ending), ()) for group in groups)
                self._sets[groups, ending] = frozenset(same for names in lists for same in names)
            if names := self._sets[groups, ending]:
                return names
        return frozenset()


def _endings(name: str, words: Sequence[str]) -> Iterator[Key]:
    """Yield the endings of a name, the longest first, preceded by the name itself; those of only numbers are skipped.

    >>> list(_endings("fc.0.weight", ["fc", "0"]))
    [('fc.0.weight', '/', 'fc', '0'), ('fc', '0')]
    """
    yield (name, "/", *words)
    yield from (tuple(words[at:]) for at in range(len(words)) if not all(word.isdecimal() for word in words[at:]))
