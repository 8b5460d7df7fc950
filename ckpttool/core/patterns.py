"""Patterns: regular expressions that match whole path components from the root; values by pattern; renaming.

`hidden[123]` matches `hidden1` and everything below it, such as `hidden1/kernel`; it does not match `hidden10/kernel`
or `hidden3_aux/kernel`, which TensorFlow's own scope selection (`re.match`, a prefix match) would. `core/names.py` says
what a component is.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.pattern_cost import compiled, longest, quick
from ckpttool.core.suggestions import suggestion

SEPARATOR = r"(?:/|(?<=[^/])\.(?=[^/]*\Z))"
"""The end of a component: a `/`, or a dot that no `/` follows."""
LONGEST_NAME = 1 << 16
"""The maximum number of characters of a new name, as rules that repeat a name can multiply its length at each step."""


@dataclass(frozen=True)
class Pattern:
    """A pattern that selects names.

    >>> hidden = Pattern("hidden[123]")
    >>> hidden.matches("hidden1/kernel"), hidden.matches("hidden10/kernel")
    (True, False)

    Raises:
        CkptError: the text is not a regular expression, or matching it could take unbounded time.
    """

    text: str
    _prefix: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _whole: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _longest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the text as whole components and as TensorFlow's prefix, so that an invalid one is refused."""
        object.__setattr__(self, "_prefix", compiled(self.text))
        try:
            object.__setattr__(self, "_whole", re.compile(f"(?:{self.text})(?:{SEPARATOR}.*)?", re.DOTALL))
        except re.error as error:
            raise CkptError(f"{self.text!r} is not a regular expression: {error}") from error
        object.__setattr__(self, "_longest", longest(self._whole))

    def matches(self, name: str) -> bool:
        """Return whether the pattern matches a name, or a scope that contains it.

        Raises:
            CkptError: the name is so long that matching could take hours.
        """
        if len(name) > self._longest:
            quick(self._whole, name, self.text)
        return self._whole.fullmatch(name) is not None

    def select(self, names: Iterable[str]) -> list[str]:
        """Return the names that the pattern matches, in their order.

        >>> Pattern("features[.][02]").select(["features.0.weight", "features.0.bias", "features.3.weight"])
        ['features.0.weight', 'features.0.bias']

        Raises:
            UnknownName: it matches none; the message suggests the nearest names.
        """
        names = list(names)
        chosen = [name for name in names if self.matches(name)]
        if not chosen:
            raise UnknownName(f"pattern {self.text!r} matches nothing{suggestion(self.text, names)}")
        return chosen

    def prefix_only(self, names: Iterable[str]) -> list[str]:
        """Return the names that TensorFlow's prefix match selects and this pattern does not.

        >>> Pattern("hidden[123]").prefix_only(["hidden1/kernel", "hidden10/kernel"])
        ['hidden10/kernel']
        """
        return [name for name in names if not self.matches(name) and self._prefix.match(quick(self._prefix, name))]


Value = TypeVar("Value")
_BETWEEN_PAIRS = re.compile(r",(?![^\[({]*[\])}])")
"""A comma outside the brackets of a regular expression."""


def as_pattern_text(values: float | str | Mapping[str, float] | None) -> str | None:
    """Return numbers by pattern, or one number for all names, as the text that `ByPattern` parses.

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
    """Values for names: the value of the first pattern that matches a name, or one value for all names.

    >>> rates = ByPattern.parse("hidden[12]=1e-4, outputs=0.01", "`lr`", float)
    >>> rates.of(["hidden1/kernel", "hidden3/kernel", "outputs/bias"])
    {'hidden1/kernel': 0.0001, 'outputs/bias': 0.01}
    >>> ByPattern.parse("0.1", "`lr`", float).of(["hidden1/kernel"])
    {'hidden1/kernel': 0.1}
    """

    pairs: tuple[tuple[Pattern | None, Value], ...]

    @classmethod
    def parse(
        cls, text: str, parameter: str, read: Callable[[str], Value], expected: str = "a number"
    ) -> "ByPattern[Value]":
        """Parse one value, or pairs `PATTERN=VALUE`; `read` converts the text of a value, or raises a ValueError.

        Errors name the parameter, and what is expected of a value.

        Raises:
            PlanError: a value is invalid, or pairs are mixed with a value for all names.
        """
        pairs: list[tuple[Pattern | None, Value]] = []
        for part in _BETWEEN_PAIRS.split(text):
            pattern, equals, value = (each.strip() for each in part.rpartition("="))
            check_no_semicolon(parameter, pattern)
            try:
                pairs.append((Pattern(pattern) if equals else None, read(value)))
            except ValueError as error:
                problem = f"{value!r} is not a valid value, expected {expected}, for all or in PATTERN=VALUE pairs"
                raise PlanError(f"{parameter} {part.strip()!r}: {problem}") from error
        if len(pairs) > 1 and any(pattern is None for pattern, _ in pairs):
            raise PlanError(f"{parameter} {text!r}: expected one value for all, or PATTERN=VALUE pairs, not both")
        return cls(tuple(pairs))

    def of(self, names: Iterable[str]) -> dict[str, Value]:
        """Return the value of each name that has one, in the names' order.

        Raises:
            UnknownName: a pattern matches none of the names.
        """
        names = list(names)
        values: dict[str, Value] = {}
        for pattern, value in self.pairs:
            for name in names if pattern is None else pattern.select(names):
                values.setdefault(name, value)
        return {name: values[name] for name in names if name in values}


def check_no_semicolon(parameter: str, pattern: str) -> None:
    """Check that the pattern of a pair is not a pair and a semicolon, as in `a=1; b=2`.

    Raises:
        PlanError: it is.
    """
    if re.search(r"=[^=;]*;", pattern):
        raise PlanError(f"{parameter} {pattern!r}: pairs are separated by commas, found a semicolon")


def renamed(names: list[str], rules: Mapping[str, str]) -> dict[str, str]:
    r"""Return the old name for each new name; the first rule that matches a name applies, and what follows is kept.

    >>> renamed(["bert/encoder/w", "bert/pooler/w"], {"bert/encoder": "encoder"})
    {'encoder/w': 'bert/encoder/w', 'bert/pooler/w': 'bert/pooler/w'}
    >>> renamed(["features.0.weight"], {"features": "net"})
    {'net.0.weight': 'features.0.weight'}

    Raises:
        UnknownName: a rule matches nothing.
        PlanError: two names would become the same, or one very long.
        CkptError: a pattern or a replacement is invalid.
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
                if len(new) > max(LONGEST_NAME, len(name)):
                    raise PlanError(
                        f"rename: {pattern!r} gives {name[:80]} a name of {len(new)} characters, at most "
                        f"{LONGEST_NAME} are given"
                    )
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
