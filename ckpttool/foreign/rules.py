"""Rules that give a source's tensors the names of a graph's variables: pairs of a regular expression and a new name."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ckpttool.errors import CkptError, PlanError, UnknownName
from ckpttool.selection import suggestion

ARROW = "=>"


@dataclass(frozen=True)
class Rule:
    r"""A pattern for whole path components and the name that replaces them; an empty one leaves the tensor out.

    One that is `optional` may match nothing.

    >>> Rule("fc(\\d)", r"hidden\1").apply("fc1/kernel"), Rule("fc(\\d)", r"hidden\1").apply("fc10/kernel")
    ('hidden1/kernel', None)

    Raises:
        CkptError: the pattern is not a regular expression, or the new name has a group that the pattern lacks.
    """

    pattern: str
    replacement: str
    optional: bool = False

    def __post_init__(self) -> None:
        """Compile once, to refuse a bad rule where it was written."""
        try:
            re.compile(self.pattern)
            re.sub(f"(?:{self.pattern})|", self.replacement, "")
        except (re.error, IndexError) as error:
            raise CkptError(f"the rule {self} is not understood: {error}") from error

    def apply(self, name: str) -> str | None:
        """Return the new name, empty where the tensor is left out; None where the rule does not match."""
        found = re.compile(f"(?:{self.pattern})(?P<below_it>/.*)?", re.DOTALL).fullmatch(name)
        if found is None:
            return None
        return found.expand(self.replacement) + (found["below_it"] or "") if self.replacement else ""

    def __str__(self) -> str:
        return f"{self.pattern!r} {ARROW} {self.replacement!r}"


def parse_rule(text: str) -> Rule:
    """Read `RE=>NEW`; spaces around the arrow do not count.

    >>> parse_rule("fc1 => hidden1")
    Rule(pattern='fc1', replacement='hidden1', optional=False)

    Raises:
        CkptError: there is no arrow, or not just one.
    """
    pattern, arrow, replacement = text.partition(ARROW)
    if not arrow or not pattern.strip() or ARROW in replacement:
        raise CkptError(f"{text!r} is not a rule: write 'RE{ARROW}NEW'")
    return Rule(pattern.strip(), replacement.strip())


def rename(names: Iterable[str], rules: Sequence[Rule]) -> dict[str, str]:
    """Return each name's new name, empty where a rule leaves it out; the first rule that matches wins.

    >>> rename(["fc1/kernel", "step"], [Rule("fc1", "hidden1"), Rule("step", "")])
    {'fc1/kernel': 'hidden1/kernel', 'step': ''}

    Raises:
        UnknownName: a rule that is not optional matches nothing that an earlier one did not take.
        PlanError: two tensors would get one name.
    """
    names = list(names)
    renamed: dict[str, str] = {}
    used: set[Rule] = set()
    for name in names:
        hit = next(((rule, new) for rule in rules if (new := rule.apply(name)) is not None), None)
        renamed[name] = name if hit is None else hit[1]
        used |= set() if hit is None else {hit[0]}
    for rule in rules:
        if rule not in used and not rule.optional:
            raise UnknownName(f"the rule {rule} was used for nothing{suggestion(rule.pattern, names)}")
    _refuse_collisions(renamed)
    return renamed


def _refuse_collisions(renamed: dict[str, str]) -> None:
    taken: dict[str, str] = {}
    for name, new in renamed.items():
        if new and new in taken:
            raise PlanError(f"{taken[new]} and {name} would both be named {new}")
        taken[new] = name
