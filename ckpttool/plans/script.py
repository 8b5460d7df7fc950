r"""The TOML of a plan: names of sources, variables, and a table for each step.

sources = ["base", "tuned"]

[variables]
width = 768

[[step]]
for = "bert/encoder/layer_{i}"
rename = "bert/encoder/layer_{i}=>block{i}"

[[step]]
assert = "block.*/output/dense/kernel"
shape = ["?", "{width}"]
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ckpttool.catalogue.names import is_entry
from ckpttool.core import toml_text
from ckpttool.core.errors import CkptError, FormatError, MissingFile, PlanError, UnknownName
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.core.patterns import SEPARATOR
from ckpttool.core.suggestions import suggestion
from ckpttool.lineage.derivation import letters
from ckpttool.remote.paths import is_url, refuse_url_input

Value = str | int | float
Given = TypeVar("Given")
LOOP = "for"
"""The key of a loop: the step is repeated for each match of its pattern."""
PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")
"""A name in braces, which `{2,3}` in a regular expression is not."""
_KEYS = ("sources", "variables", "step")
_HEADER = re.compile(r"\s*\[\[\s*step\s*\]\]")
_IS_TEXT = re.compile(r"^\s*(\[\[\s*step\s*\]\]|step\s*=)", re.MULTILINE)
"""Distinguishes the TOML of a plan from a path."""
MOST_STEPS = 100_000
"""The maximum number of steps after unrolling loops."""


@dataclass(frozen=True)
class Entry:
    """The table of a step as written, and its place in the plan for messages.

    >>> Entry({"rename": "layer_{i}=>block{i}"}, "plan.toml, step 1").filled({"i": "3"}).table
    {'rename': 'layer_3=>block3'}
    """

    table: Mapping[str, Any]
    place: str = ""

    def filled(self, values: Mapping[str, Value]) -> "Entry":
        """Return the step with variables substituted; a text that is a single variable gets the type of its value.

        Raises:
            UnknownName: a variable has no value.
        """

        def fill(value: Any) -> Any:
            if isinstance(value, list):
                return [fill(each) for each in value]
            if not isinstance(value, str):
                return value
            if alone := PLACE.fullmatch(value):
                return value_of(alone)
            return PLACE.sub(lambda match: str(value_of(match)), value)

        def value_of(match: re.Match[str]) -> Value:
            if match[1] not in values:
                near = suggestion(match[1], values)
                raise UnknownName(f"{self.place}: {match[0]} is neither a variable nor a group of `for`{near}")
            return values[match[1]]

        return Entry({key: fill(value) for key, value in self.table.items()}, self.place)

    def unrolled(self, names: Iterable[str], variables: Mapping[str, Value]) -> Iterator["Entry"]:
        """Yield the step with variables substituted: once, or with `for`, once for each of its matches in `names`.

        Raises:
            UnknownName: `for` matches nothing, or a variable has no value.
            PlanError: `for` is not a text with a new name in braces, or matches too often.
        """
        if LOOP not in self.table:
            yield self.filled(variables)
            return
        rest = Entry({key: value for key, value in self.table.items() if key != LOOP}, self.place)
        for values in self._matches(names, variables):
            yield rest.filled({**variables, **values})

    def _matches(self, names: Iterable[str], variables: Mapping[str, Value]) -> list[dict[str, Value]]:
        """Return the distinct values of the names in `for`, sorted, with numbers in numeric order."""
        template = self.table[LOOP]
        groups = [name for name in dict.fromkeys(PLACE.findall(str(template))) if name not in variables]
        if not groups:
            raise PlanError(
                f"{self.place}: `for` is {template!r}, expected a pattern with a new name in braces: x_{{i}}"
            )
        known = Entry({LOOP: template}, self.place).filled({**{name: f"{{{name}}}" for name in groups}, **variables})
        text = known.table[LOOP]
        for name in groups:  # first a group, then back-references
            text = text.replace(f"{{{name}}}", f"(?P<{name}>[^/.]+)", 1).replace(f"{{{name}}}", f"(?P={name})")
        compiled(text)
        expression, names = re.compile(rf"(?:{text})(?={SEPARATOR}|\Z)", re.DOTALL), list(names)
        matches = [expression.match(quick(expression, name, text)) for name in names]
        found = {tuple(match[group] for group in groups) for match in matches if match}
        if any(value is None for values in found for value in values):  # a group in one of several alternatives
            raise PlanError(f"{self.place}: `for` {template!r} matches names without a value of each name in braces")
        if not found:
            raise UnknownName(f"{self.place}: `for` {template!r} matches nothing{suggestion(template, names)}")
        if len(found) > MOST_STEPS:
            raise PlanError(
                f"{self.place}: `for` {template!r} matches {len(found)} times, at most {MOST_STEPS} steps are allowed"
            )
        ordered = sorted(found, key=lambda values: [(not each.isdigit(), len(each), each) for each in values])
        return [dict(zip(groups, values, strict=True)) for values in ordered]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


@dataclass(frozen=True)
class Script:
    """A parsed plan: its steps, its sources in order with their paths (None if not in the plan), and its variables."""

    steps: tuple[Entry, ...]
    sources: Mapping[str, Path | None] = field(default_factory=dict)
    variables: Mapping[str, Value] = field(default_factory=dict)
    path: Path | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    """The expected SHA-256 of sources, if the plan states them."""

    @classmethod
    def given_as(cls, plan: "str | Path | Mapping[str, Any]") -> "Script":
        """Parse a plan, given as the path of a file, as parsed TOML, or as TOML text.

        Raises:
            FormatError: it is not a plan.
        """
        if isinstance(plan, Mapping):
            return cls.of(plan)
        return cls.of_text(plan) if isinstance(plan, str) and _IS_TEXT.search(plan) else cls.read(Path(plan))

    @classmethod
    def read(cls, path: Path) -> "Script":
        """Read a plan from a file; paths in it are relative to its folder.

        Raises:
            FormatError: it is not TOML, or contains other keys than sources, variables and steps.
            MissingFile: there is no such file.
            CkptError: the path is a URL, or cannot be read.
        """
        refuse_url_input(path)
        try:
            text = path.read_bytes()
        except FileNotFoundError as error:
            raise MissingFile(f"{path}: no such plan, expected a TOML file of sources and steps") from error
        except OSError as error:
            raise CkptError(f"{path}: {error.strerror}; a plan is a TOML file of sources and steps") from error
        return cls.of_text(text, path)

    @classmethod
    def of_text(cls, text: str | bytes, path: Path | None = None) -> "Script":
        """Parse the TOML of a plan.

        >>> Script.of_text('step = [{drop-slots = true}]').steps
        (Entry(table={'drop-slots': True}, place='step 1'),)

        Raises:
            FormatError: it is not TOML, or has something else than sources, variables and steps.
        """
        try:
            document = toml_text.loads(text)
        except ValueError as error:
            raise FormatError(f"{path or 'the plan'}: not valid TOML: {error}") from error
        return cls.of(document, path, _lines(text))

    @classmethod
    def of(cls, document: Mapping[str, Any], path: Path | None = None, lines: Sequence[int] = ()) -> "Script":
        """Parse a plan from its TOML document; `lines` has the line numbers of the steps, if known.

        >>> Script.of({"sources": ["base"], "step": [{"drop-slots": True}]}).steps
        (Entry(table={'drop-slots': True}, place='step 1'),)

        Raises:
            FormatError: a key or value is invalid.
        """
        where = f"{path}: " if path else ""
        for key in document:
            if key not in _KEYS:
                raise FormatError(f"{where}{key} has no meaning in a plan; known: {', '.join(_KEYS)}")
        steps, variables = document.get("step"), document.get("variables", {})
        if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
            raise FormatError(f'{where}expected a table for each step: [[step]] and below it rename = "RE=>NEW"')
        if not isinstance(variables, dict) or not all(_is_value(each) for each in variables.values()):
            raise FormatError(f"{where}expected numbers and texts in [variables]")
        place = f"{path}, step" if path else "step"
        known = lines if len(lines) == len(steps) else [0] * len(steps)
        places = [f"{place} {number}{f' (line {line})' if line else ''}" for number, line in enumerate(known, 1)]
        entries = tuple(Entry(step, place) for step, place in zip(steps, places, strict=True))
        paths, hashes = _sources(document.get("sources", {}), path, where)
        return cls(entries, paths, variables, path, hashes)

    def given(self, paths: Iterable[Given]) -> dict[str, Given | Path]:
        """Return a mapping of source names to what is given, in order, which overrides the paths in the plan.

        The sources of a plan without names are called a, b, c ...

        Raises:
            PlanError: a source has no path, or more paths are given than the plan has sources.
        """
        paths = list(paths)
        names = list(self.sources) or [letters(number) for number in range(len(paths))]
        if len(paths) > len(names):
            raise PlanError(f"{self._of()}: {len(paths)} sources are given, it has {len(names)}: {', '.join(names)}")
        found: dict[str, Given | Path] = {name: path for name, path in self.sources.items() if path}
        found |= dict(zip(names, paths, strict=False))
        lacking = [name for name in names if name not in found]
        if lacking or not found:
            raise PlanError(f"{self._of()}: no path is given for {', '.join(lacking) or 'a source'}")
        return {name: found[name] for name in names}

    def _of(self) -> str:
        return str(self.path or "the plan")


def _lines(text: str | bytes) -> list[int]:
    r"""Return the line numbers of `[[step]]`.

    >>> _lines('[[step]]\nkeep = "a"\n\n[[ step ]]\ndrop = "b"')
    [1, 4]
    """
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return [number for number, line in enumerate(decoded.split("\n"), 1) if _HEADER.match(line)]


def _sources(found: Any, path: Path | None, where: str) -> tuple[dict[str, Path | None], dict[str, str]]:
    """Parse the sources, `["base", "tuned"]` or `{base = "base.ckpt"}`, into paths and hashes by name.

    A source with a hash is `{path = "base.ckpt", sha256 = "..."}`.
    """
    named = {name: {} for name in found} if isinstance(found, list) and all(map(_is_text, found)) else found
    tables = {name: {"path": each} if isinstance(each, str) else each for name, each in _items(named)}
    if not isinstance(named, dict) or not all(map(_is_source, tables.values())):
        raise FormatError(f'{where}expected sources = ["base", "tuned"], or [sources] and below it base = "base.ckpt"')
    folder = path.parent if path else Path()
    paths = {name: _place(folder, table["path"]) if "path" in table else None for name, table in tables.items()}
    return paths, {name: table["sha256"] for name, table in tables.items() if "sha256" in table}


def _items(found: Any) -> Iterable[tuple[str, Any]]:
    return found.items() if isinstance(found, dict) else ()


def _is_source(table: Any) -> bool:
    return isinstance(table, dict) and table.keys() <= {"path", "sha256"} and all(map(_is_text, table.values()))


def _place(folder: Path, value: str) -> Path:
    return Path(value) if is_entry(value) or is_url(value) else folder / value


def _is_value(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
