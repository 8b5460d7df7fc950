"""Rules that say which of a graph's variables a source's tensors become: regular expressions and new names."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.names import suggestion
from ckpttool.foreign.layouts import parse_layout

ARROW = "=>"
AUTO = "auto"
"""The transform that the ops which read a variable choose."""


@dataclass(frozen=True)
class Move:
    """Tensors that become variables together, in the order of the rule; without targets they are left out.

    A `copy` holds what another move gives the variables: it is left out too, and only an export writes it.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    transform: str | None = None
    copy: bool = False


@dataclass(frozen=True)
class Rule:
    r"""A pattern for whole path components and the name that replaces them; an empty one leaves the tensor out.

    Several patterns take tensors together whose groups agree, one for each pattern or none of them. Their `transform`,
    a layout's call, makes the variables of the new names; where it is `keep`, `auto` or nothing, the first tensor
    becomes the first variable, and so on. An optional rule may match nothing; the tensors of a `copy` are what others
    are too, such as a kernel that is tied to an embedding.

    >>> list(Rule("fc(\\d)", r"hidden\1").moves(["fc1/kernel", "fc10/kernel"]))
    [Move(sources=('fc1/kernel',), targets=('hidden1/kernel',), transform=None, copy=False)]

    Raises:
        CkptError: a pattern is not a regular expression, a new name has a group that the first pattern lacks, the
            transform is no layout.
    """

    pattern: str | tuple[str, ...]
    replacement: str | tuple[str, ...]
    optional: bool = False
    transform: str | None = None
    copy: bool = False

    def __post_init__(self) -> None:
        """Compile once, to refuse a bad rule where it was written."""
        try:
            patterns = [re.compile(pattern) for pattern in self.patterns]
            for replacement in self._replacements:
                re.sub(f"(?:{self.patterns[0]})|", replacement, "")
        except (re.error, IndexError) as error:
            raise CkptError(f"the rule {self} is not understood: {error}") from error
        if len({pattern.groups for pattern in patterns}) > 1:
            raise CkptError(f"the rule {self}: its patterns have different numbers of groups")
        if self.transform not in (None, AUTO):
            parse_layout(str(self.transform))

    def moves(self, names: Iterable[str]) -> Iterator[Move]:
        """Yield what the rule takes of some names; several patterns take only what all of them have a tensor for."""
        found: dict[tuple[object, ...], dict[int, re.Match[str]]] = {}
        seen: Counter[tuple[object, ...]] = Counter()
        for name in names:
            matches = ((at, match) for at, each in enumerate(self._expressions) if (match := each.fullmatch(name)))
            for place, match in islice(matches, 1):
                number = seen[place, match.groups()]  # names that differ where no group is are not one another's
                found.setdefault((number, *match.groups()), {})[place] = match
                seen[place, match.groups()] += 1
        for parts in found.values():
            if len(parts) == len(self.patterns):
                yield from self._moves([parts[place] for place in sorted(parts)])

    def __str__(self) -> str:
        sides = (each if isinstance(each, str) else list(each) for each in (self.pattern, self.replacement))
        return f" {ARROW} ".join(map(repr, sides))

    @property
    def patterns(self) -> tuple[str, ...]:
        """One pattern for each of the tensors that are taken together."""
        return (self.pattern,) if isinstance(self.pattern, str) else self.pattern

    @property
    def _replacements(self) -> tuple[str, ...]:
        if isinstance(self.replacement, str):
            return (self.replacement,) if self.replacement else ()
        return self.replacement

    @cached_property
    def _expressions(self) -> list[re.Pattern[str]]:
        return [re.compile(f"(?:{pattern})(?P<below_it>/.*)?", re.DOTALL) for pattern in self.patterns]

    def _moves(self, matches: Sequence[re.Match[str]]) -> Iterator[Move]:
        sources = tuple(match.string for match in matches)
        targets = tuple(matches[0].expand(new) + (matches[0]["below_it"] or "") for new in self._replacements)
        if len(sources) == len(targets) and self.transform in (None, AUTO, "keep"):
            pairs = zip(sources, targets, strict=True)
            yield from (Move((old,), (new,), self.transform, self.copy) for old, new in pairs)
        else:
            yield Move(sources, targets, self.transform, self.copy)


def parse_rule(text: str) -> Rule:
    """Read `RE=>NEW`; spaces around the arrow do not count.

    >>> str(parse_rule("fc1 => hidden1"))
    "'fc1' => 'hidden1'"

    Raises:
        CkptError: there is no arrow, or not just one.
    """
    pattern, arrow, replacement = text.partition(ARROW)
    if not arrow or not pattern.strip() or ARROW in replacement:
        raise CkptError(f"{text!r} is not a rule: write 'RE{ARROW}NEW'")
    return Rule(pattern.strip(), replacement.strip())


def moves(names: Iterable[str], rules: Sequence[Rule]) -> list[Move]:
    """Return what becomes of each name, in their order; the first rule that matches wins, else a name stays.

    >>> for move in moves(["fc1/kernel", "step"], [Rule("fc1", "hidden1"), Rule("step", "")]):
    ...     print(move.sources, move.targets)
    ('fc1/kernel',) ('hidden1/kernel',)
    ('step',) ()

    Raises:
        UnknownName: a rule that is not optional matches nothing that an earlier one did not take.
        PlanError: two tensors would get one name.
    """
    left = dict.fromkeys(names)
    place = {name: number for number, name in enumerate(left)}
    found: list[Move] = []
    for rule in rules:
        taken = list(rule.moves(left))
        if not taken and not rule.optional:
            raise UnknownName(f"the rule {rule} was used for nothing{suggestion(rule.patterns[0], place)}")
        for name in (name for move in taken for name in move.sources):
            del left[name]
        found += taken
    found += [Move((name,), (name,)) for name in left]
    _refuse_collisions(found := sorted(found, key=lambda move: place[move.sources[0]]))
    return found


def _refuse_collisions(found: Sequence[Move]) -> None:
    taken: dict[str, str] = {}
    for move in (move for move in found if not move.copy):
        for new in move.targets:
            if new in taken:
                raise PlanError(f"{taken[new]} and {move.sources[0]} would both be named {new}")
            taken[new] = move.sources[0]
