"""Rules that map a source's tensors to a graph's variables: regular expressions and new names.

A file of rules has lines `RE => NEW`, or is a .toml with tables `[[rule]]` or a table `[rename]`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from ckpttool.core import toml_text
from ckpttool.core.errors import CkptError, MissingFile, PlanError, UnknownName
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.core.suggestions import suggestion
from ckpttool.remote.paths import refuse_url_input

ARROW = "=>"
AUTO = "auto"
"""The transform that is determined by the ops that read a variable."""
MOST_LINES = 100_000
"""The maximum number of lines in a file of rules, whose parsing takes some seconds."""
KEYS: dict[str, type | tuple[type, ...]] = {
    "from": (str, list),
    "to": (str, list),
    "transform": str,
    "drop": bool,
    "optional": bool,
    "copy": bool,
}
"""The keys of a `[[rule]]` table, and the types of their values."""
READY_SETS = {path.stem: path for path in sorted((Path(__file__).parent / "rulesets").glob("*.toml"))}
"""The files of predefined sets of rules for families of networks, by name."""


@dataclass(frozen=True)
class TensorMove:
    """Tensors that jointly become variables, in the order of the rule; without targets, they are dropped.

    A `copy` has the values of another move: an import drops it, too, and only an export writes it.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    transform: str | None = None
    copy: bool = False


@dataclass(frozen=True)
class Rule:
    r"""A pattern for whole path components, and the name that replaces them; an empty one drops the tensor.

    Several patterns jointly match tensors with equal groups, one per pattern. Their `transform`, a layout's call,
    computes the variables with the new names; if it is `keep`, `auto` or None, the first tensor becomes the first
    variable, and so on. An optional rule may match nothing; the tensors of a `copy` equal other ones, such as a kernel
    that is tied to an embedding.

    >>> list(Rule("fc(\\d)", r"hidden\1").moves(["fc1/kernel", "fc10/kernel"]))
    [TensorMove(sources=('fc1/kernel',), targets=('hidden1/kernel',), transform=None, copy=False)]

    Raises:
        CkptError: a pattern is not a regular expression, a new name has a group that the first pattern lacks, the
            transform is not a layout.
    """

    pattern: str | tuple[str, ...]
    replacement: str | tuple[str, ...]
    optional: bool = False
    transform: str | None = None
    copy: bool = False

    def __post_init__(self) -> None:
        """Compile once, to report an invalid rule where it is defined."""
        try:
            patterns = [compiled(pattern) for pattern in self.patterns]
            for replacement in self._replacements:
                re.sub(f"(?:{self.patterns[0]})|", replacement, "")
        except (re.error, IndexError, CkptError) as error:
            raise CkptError(f"the rule {self} cannot be parsed: {error}") from error
        if len({pattern.groups for pattern in patterns}) > 1:
            raise CkptError(f"the rule {self}: its patterns have different numbers of groups")
        if self.transform not in (None, AUTO):
            from ckpttool.layouts import parse_layout  # imports NumPy, which listing rules does not need

            parse_layout(str(self.transform))

    def moves(self, names: Iterable[str]) -> Iterator[TensorMove]:
        """Yield the moves of names that the rule matches; of several patterns, all must match."""
        together: dict[tuple[object, ...], dict[int, re.Match[str]]] = {}
        seen: Counter[tuple[object, ...]] = Counter()
        for name in names:
            matches = (
                (at, match) for at, each in enumerate(self._expressions) if (match := each.fullmatch(quick(each, name)))
            )
            for place, match in islice(matches, 1):
                number = seen[place, match.groups()]  # names with equal groups are paired by rank
                together.setdefault((number, *match.groups()), {})[place] = match
                seen[place, match.groups()] += 1
        for parts in together.values():
            if len(parts) == len(self.patterns):
                yield from self._moves([parts[place] for place in sorted(parts)])

    def takes(self, name: str) -> bool:
        """Return whether one of the patterns matches a name."""
        return any(expression.fullmatch(quick(expression, name)) for expression in self._expressions)

    def __str__(self) -> str:
        sides = (each if isinstance(each, str) else list(each) for each in (self.pattern, self.replacement))
        return f" {ARROW} ".join(map(repr, sides))

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns, one for each of the tensors that are matched jointly."""
        return (self.pattern,) if isinstance(self.pattern, str) else self.pattern

    @property
    def _replacements(self) -> tuple[str, ...]:
        if isinstance(self.replacement, str):
            return (self.replacement,) if self.replacement else ()
        return self.replacement

    @cached_property
    def _expressions(self) -> list[re.Pattern[str]]:
        return [re.compile(f"(?:{pattern})(?P<below_it>/.*)?", re.DOTALL) for pattern in self.patterns]

    def _moves(self, matches: Sequence[re.Match[str]]) -> Iterator[TensorMove]:
        sources = tuple(match.string for match in matches)
        targets = tuple(matches[0].expand(new) + (matches[0]["below_it"] or "") for new in self._replacements)
        if len(sources) == len(targets) and self.transform in (None, AUTO, "keep"):
            pairs = zip(sources, targets, strict=True)
            yield from (TensorMove((old,), (new,), self.transform, self.copy) for old, new in pairs)
        else:
            yield TensorMove(sources, targets, self.transform, self.copy)


def parse_rule(text: str) -> Rule:
    """Parse `RE=>NEW`; spaces around the arrow are ignored.

    >>> str(parse_rule("fc1 => hidden1"))
    "'fc1' => 'hidden1'"

    Raises:
        CkptError: there is not exactly one arrow.
    """
    pattern, arrow, replacement = text.partition(ARROW)
    if not arrow or not pattern.strip() or ARROW in replacement:
        raise CkptError(f"{text!r} is not a rule: write 'RE{ARROW}NEW'")
    return Rule(pattern.strip(), replacement.strip())


def moves(names: Iterable[str], rules: Sequence[Rule]) -> list[TensorMove]:
    """Return the moves of all names, in order, by the first rule that matches; other names are kept.

    >>> for move in moves(["fc1/kernel", "step"], [Rule("fc1", "hidden1"), Rule("step", "")]):
    ...     print(move.sources, move.targets)
    ('fc1/kernel',) ('hidden1/kernel',)
    ('step',) ()

    Raises:
        UnknownName: a rule that is not optional matches no name that earlier rules have left.
        PlanError: two tensors would have the same name.
    """
    left = dict.fromkeys(names)
    place = {name: number for number, name in enumerate(left)}
    every: list[TensorMove] = []
    for rule in rules:
        taken = list(rule.moves(left))
        if not taken and not rule.optional:
            raise UnknownName(f"the rule {rule} matches nothing{suggestion(rule.patterns[0], place)}")
        for name in (name for move in taken for name in move.sources):
            del left[name]
        every += taken
    every += [TensorMove((name,), (name,)) for name in left]
    every.sort(key=lambda move: place[move.sources[0]])
    sources: dict[str, str] = {}
    for move in (move for move in every if not move.copy):
        for new in move.targets:
            if new in sources:
                raise PlanError(f"{sources[new]} and {move.sources[0]} would both be named {new}")
            sources[new] = move.sources[0]
    return every


def read_rules(path: Path) -> list[Rule]:
    """Read a predefined set by its name, or a file of rules: lines `RE => NEW` with `#` comments, or a .toml.

    A .toml has tables `[[rule]]`: `from`, a regular expression or a list of them, and `to` (with a `transform`) or
    `drop = true`; with `optional = true`, a rule may match nothing, with `copy = true`, its tensors are copies of
    others. Or it has a table `[rename]` of "RE" = "NEW".

    Raises:
        MissingFile: there is no such file or set.
        CkptError: the content is invalid, or the path is a URL.
    """
    refuse_url_input(path)
    path = READY_SETS.get(str(path), path)
    if not path.is_file():
        near = suggestion(str(path), READY_SETS) or f"; ready sets are {', '.join(READY_SETS)}"
        raise MissingFile(f"{path} is missing: no such file of rules{near}")
    try:
        text = path.read_text("utf-8")
        document = toml_text.loads(text) if path.suffix == ".toml" else None
    except ValueError as error:
        raise CkptError(f"{path} is not a file of rules: {error}") from error
    if text.count("\n") > MOST_LINES:
        raise CkptError(f"{path} has {text.count(chr(10))} lines, a file of rules has at most {MOST_LINES}")
    if document is not None:
        return _toml_rules(path, document)
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.strip().startswith("#"):
            try:
                rules.append(parse_rule(line.strip()))
            except CkptError as error:
                raise CkptError(f"{path}, line {number}: {error}") from error
    return rules


def _toml_rules(path: Path, document: dict[str, object]) -> list[Rule]:
    tables = document.get("rule")
    if set(document) == {"rule"} and isinstance(tables, list):
        return [_table_rule(f"{path}, rule {number}", table) for number, table in enumerate(tables, 1)]
    table = document.get("rename")
    if set(document) != {"rename"} or not isinstance(table, dict):
        raise CkptError(f'{path}: rules are tables [[rule]], or a table [rename] with lines "RE" = "NEW"')
    if not all(isinstance(new, str) for new in table.values()):
        raise CkptError(f"{path}: a new name is not text")
    return [Rule(pattern, new) for pattern, new in table.items()]


def _table_rule(where: str, table: object) -> Rule:
    if not isinstance(table, dict):
        raise CkptError(f"{where}: it is not a table")
    for key, value in table.items():
        if key not in KEYS:
            raise CkptError(f"{where}: {key} is not a key of a rule{suggestion(key, KEYS)}")
        is_list_of_texts = not isinstance(value, list) or all(isinstance(each, str) and each for each in value)
        if not isinstance(value, KEYS[key]) or not is_list_of_texts:
            text = "a text" if key == "transform" else "a text or a list of texts"
            expected = "true or false" if KEYS[key] is bool else text
            raise CkptError(f"{where}: {key} = {value!r}, expected {expected}")
    if not table.get("from") or bool(table.get("to")) == table.get("drop", False):
        raise CkptError(f"{where}: a rule needs from, and either to or drop = true")
    if table.get("drop") and {"transform", "copy"} & set(table):
        raise CkptError(f"{where}: a rule with drop = true has neither transform nor copy")
    old, new = (tuple(side) if isinstance(side, list) else side for side in (table["from"], table.get("to", "")))
    try:
        return Rule(old, new, table.get("optional", False), table.get("transform"), table.get("copy", False))
    except CkptError as error:
        raise CkptError(f"{where}: {error}") from error
