"""Patterns: regular expressions that match whole path components from the root; values by pattern.

`hidden[123]` takes `hidden1` and everything below it, `hidden1/kernel`; it does not take `hidden10/kernel`, nor
`hidden3_aux/kernel`, which TensorFlow's own scope selection (`re.match`, a prefix match) would.

Components are separated by `/`, and what follows the last `/` by dots: `state_dict_ema/features.0.weight` is in
`state_dict_ema`, `state_dict_ema/features` and `state_dict_ema/features.0`, for a state dict of PyTorch has a tree of
its own. A dot before a `/` separates nothing: `v1.0/fc/kernel` is in `v1.0`, and in no `v1`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.pattern_cost import compiled, longest, quick

SEPARATOR = r"(?:/|(?<=[^/])\.(?=[^/]*\Z))"
"""What ends a component: a `/`, and a dot where no `/` follows."""
MOST_SUGGESTED = 10
"""How many of the names that are not there, of one list, get the nearest ones said."""


@dataclass(frozen=True)
class Pattern:
    """A selection of names.

    >>> hidden = Pattern("hidden[123]")
    >>> hidden.matches("hidden1/kernel"), hidden.matches("hidden10/kernel")
    (True, False)

    Raises:
        CkptError: the text is not a regular expression, or one that could take time without end.
    """

    text: str
    _prefix: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _whole: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _longest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile both readings of the text, whole components and TensorFlow's prefix, to refuse a bad one."""
        object.__setattr__(self, "_prefix", compiled(self.text))
        try:
            object.__setattr__(self, "_whole", re.compile(f"(?:{self.text})(?:{SEPARATOR}.*)?", re.DOTALL))
        except re.error as error:
            raise CkptError(f"{self.text!r} is not a regular expression: {error}") from error
        object.__setattr__(self, "_longest", longest(self._whole))

    def matches(self, name: str) -> bool:
        """Say whether the pattern takes a name, or a scope above it.

        Raises:
            CkptError: the name is so long that it could take hours to say.
        """
        if len(name) > self._longest:
            quick(self._whole, name, self.text)
        return self._whole.fullmatch(name) is not None

    def select(self, names: Iterable[str]) -> list[str]:
        """Return the names that the pattern takes, in their order.

        >>> Pattern("features[.][02]").select(["features.0.weight", "features.0.bias", "features.3.weight"])
        ['features.0.weight', 'features.0.bias']

        Raises:
            UnknownName: it takes none; the message has the nearest names.
        """
        names = list(names)
        chosen = [name for name in names if self.matches(name)]
        if not chosen:
            raise UnknownName(f"pattern {self.text!r} matches nothing{suggestion(self.text, names)}")
        return chosen

    def prefix_only(self, names: Iterable[str]) -> list[str]:
        """Return the names that TensorFlow's prefix match would take and this pattern does not.

        >>> Pattern("hidden[123]").prefix_only(["hidden1/kernel", "hidden10/kernel"])
        ['hidden10/kernel']
        """
        return [name for name in names if not self.matches(name) and self._prefix.match(quick(self._prefix, name))]


Value = TypeVar("Value")
_BETWEEN_PAIRS = re.compile(r",(?![^\[({]*[\])}])")
"""A comma that stands in no brackets of a regular expression."""


def as_pattern_text(values: float | str | Mapping[str, float] | None) -> str | None:
    """Return numbers by pattern, or one for all, as the text that `ByPattern` reads.

    >>> as_pattern_text({"hidden[12]": 1e-4, "outputs": 0.01}), as_pattern_text(0.5), as_pattern_text("auto-rgn")
    ('hidden[12]=0.0001, outputs=0.01', '0.5', 'auto-rgn')
    """
    if values is None or isinstance(values, str):
        return values
    if isinstance(values, Mapping):
        return ", ".join(f"{pattern}={float(value)!r}" for pattern, value in values.items())
    return repr(float(values))


@dataclass(frozen=True)
class ByPattern(Generic[Value]):
    """Values for names: the value of the first pattern that takes a name, or one value for every name.

    >>> rates = ByPattern.parse("hidden[12]=1e-4, outputs=0.01", "`lr`", float)
    >>> rates.of(["hidden1/kernel", "hidden3/kernel", "outputs/bias"])
    {'hidden1/kernel': 0.0001, 'outputs/bias': 0.01}
    >>> ByPattern.parse("0.1", "`lr`", float).of(["hidden1/kernel"])
    {'hidden1/kernel': 0.1}
    """

    pairs: tuple[tuple[Pattern | None, Value], ...]

    @classmethod
    def parse(cls, text: str, parameter: str, read: Callable[[str], Value]) -> "ByPattern[Value]":
        """Read one value, or pairs `PATTERN=VALUE`; `read` makes a value of its text, or raises a ValueError.

        Raises:
            PlanError: a value cannot be read, or pairs and a value for all are mixed.
        """
        pairs: list[tuple[Pattern | None, Value]] = []
        for part in _BETWEEN_PAIRS.split(text):
            pattern, equals, value = (each.strip() for each in part.rpartition("="))
            try:
                pairs.append((Pattern(pattern) if equals else None, read(value)))
            except ValueError as error:
                raise PlanError(f"{parameter} {part.strip()!r}: {value!r} is not a valid value") from error
        if len(pairs) > 1 and any(pattern is None for pattern, _ in pairs):
            raise PlanError(f"{parameter} {text!r}: expected one value for all, or PATTERN=VALUE pairs, not both")
        return cls(tuple(pairs))

    def of(self, names: Iterable[str]) -> dict[str, Value]:
        """Return the value of each name that has one, in the names' order.

        Raises:
            UnknownName: a pattern takes none of the names.
        """
        names = list(names)
        values: dict[str, Value] = {}
        for pattern, value in self.pairs:
            for name in names if pattern is None else pattern.select(names):
                values.setdefault(name, value)
        return {name: values[name] for name in names if name in values}


def scopes_above(name: str) -> list[str]:
    """Return the scopes that a name is in, from the root, and itself.

    >>> scopes_above("ema/features.0.weight"), scopes_above("v1.0/fc")
    (['ema', 'ema/features', 'ema/features.0', 'ema/features.0.weight'], ['v1.0', 'v1.0/fc'])
    """
    return [*(name[:end] for end in _ends(name)), name]


def components(name: str) -> list[str]:
    """Return the components of a name, all but the first with what separates them from the one before.

    >>> components("ema/features.0.weight")
    ['ema', '/features', '.0', '.weight']
    """
    ends = _ends(name)
    return [name[start:end] for start, end in zip([0, *ends], [*ends, len(name)], strict=True)]


def _ends(name: str) -> list[int]:
    last = name.rfind("/") + 1
    return [at for at, sign in enumerate(name) if sign == "/" or (sign == "." and at > last)]


def layer_of(name: str) -> str:
    """Return the layer of a variable: its scope, or its own name where it has none.

    >>> layer_of("dnn/hidden1/kernel"), layer_of("features.0.weight"), layer_of("W")
    ('dnn/hidden1', 'features.0', 'W')
    """
    above, _, last = name.rpartition("/")
    scope = last.rpartition(".")[0]
    return (f"{above}/{scope}" if above and scope else scope or above) or name


def scopes(names: Iterable[str]) -> dict[str, list[str]]:
    """Return names by the layer that they are of, in their order.

    >>> scopes(["features.0.weight", "features.0.bias", "scale"])
    {'features.0': ['features.0.weight', 'features.0.bias'], 'scale': ['scale']}
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(layer_of(name), []).append(name)
    return layers


def listed(names: Collection[str], most: int = 8) -> str:
    """Return names for a sentence, the first ones where there are many.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    return ", ".join(list(names)[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class Suggestions:
    """The nearest names for each of several that are not there.

    Only the first few get one: each is held against all names, which would take hours where two files of thousands of
    tensors have no name in common.

    >>> nearest = Suggestions(["hidden1/kernel"], most=1)
    >>> nearest.of("hiden1"), nearest.of("hiden1")
    ('; nearest: hidden1, hidden1/kernel', '')
    """

    def __init__(self, names: Iterable[str], most: int = MOST_SUGGESTED) -> None:
        """Take the names that are there, and how many suggestions will be made."""
        self._names = names
        self._left = most

    def of(self, wanted: str) -> str:
        """Return what `suggestion` does, or an empty text once enough have been made."""
        self._left -= 1
        return suggestion(wanted, self._names) if self._left >= 0 else ""


def suggestion(wanted: str, names: Iterable[str]) -> str:
    """Return `; nearest: a, b` for a name that is not there, or an empty text when nothing is near.

    >>> suggestion("hiden1", ["hidden1/kernel", "outputs/bias"])
    '; nearest: hidden1, hidden1/kernel'
    """
    candidates = dict.fromkeys(scope for name in names for scope in scopes_above(name))
    literal = re.sub(r"[\\^$.|?*+()\[\]{}]", "", wanted)
    nearest = near_names(literal, candidates, 3)
    return f"; nearest: {', '.join(nearest)}" if nearest else ""


def near_names(wanted: str, names: Collection[str], most: int) -> list[str]:
    """Return the names that are most like one that is not there.

    >>> near_names("hiden1", ["hidden1", "outputs"], 3)
    ['hidden1']
    """
    import difflib  # slow to import, and only errors have suggestions

    return difflib.get_close_matches(wanted, names, n=most, cutoff=0.5)


def renamed(names: list[str], rules: Mapping[str, str]) -> dict[str, str]:
    r"""Return the old name of each new one; a name takes the first rule that matches it, and keeps what follows.

    >>> renamed(["bert/encoder/w", "bert/pooler/w"], {"bert/encoder": "encoder"})
    {'encoder/w': 'bert/encoder/w', 'bert/pooler/w': 'bert/pooler/w'}
    >>> renamed(["features.0.weight"], {"features": "net"})
    {'net.0.weight': 'features.0.weight'}

    Raises:
        UnknownName: a rule matches nothing.
        PlanError: two names would become one.
        CkptError: a pattern or a replacement is not a regular expression's.
    """
    expressions = [(_compiled(pattern), pattern, replacement) for pattern, replacement in rules.items()]
    unused = set(rules)
    out: dict[str, str] = {}
    for name in names:
        new = name
        for expression, pattern, replacement in expressions:
            match = expression.match(quick(expression, name, pattern))
            if match:
                unused.discard(pattern)
                new = _expanded(match, replacement) + name[match.end() :]
                break
        if new in out:
            raise PlanError(f"{out[new]} and {name} would both be named {new}")
        out[new] = name
    for pattern in sorted(unused):
        raise UnknownName(f"rename: {pattern!r} matches nothing{suggestion(pattern, names)}")
    return out


def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern so that it matches whole components from the root."""
    compiled(pattern)
    try:
        return re.compile(rf"(?:{pattern})(?={SEPARATOR}|\Z)", re.DOTALL)
    except re.error as error:
        raise CkptError(f"{pattern!r} is not a regular expression: {error}") from error


def _expanded(match: re.Match[str], replacement: str) -> str:
    try:
        return match.expand(replacement)
    except (re.error, IndexError) as error:
        raise CkptError(f"{replacement!r} is not a replacement for {match.re.pattern!r}: {error}") from error
