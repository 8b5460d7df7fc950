"""Files of rules: lines `RE => NEW`, or a .toml with tables `[[rule]]` or a table `[rename]`; and the ready ones."""

import tomllib
from pathlib import Path

from ckpttool.core.errors import CkptError, MissingFile
from ckpttool.core.names import suggestion
from ckpttool.foreign import rulesets
from ckpttool.foreign.rules import Rule, parse_rule
from ckpttool.remote.paths import require_here

KEYS: dict[str, type | tuple[type, ...]] = {
    "from": (str, list),
    "to": (str, list),
    "transform": str,
    "drop": bool,
    "optional": bool,
    "copy": bool,
}


def read_rules(path: Path) -> list[Rule]:
    """Read a ready set by its name, or a file of rules: lines `RE => NEW` with `#` comments, or a .toml.

    A .toml has tables `[[rule]]`: `from`, a regular expression or a list of them, and `to` (with a `transform`) or
    `drop = true`; with `optional = true` a rule may match nothing, with `copy = true` its tensors are others' copies.
    Or it has a table `[rename]` of "RE" = "NEW".

    Raises:
        MissingFile: there is no such file or set.
        CkptError: it has something else, or is a URL.
    """
    require_here(path)
    path = rulesets.FILES.get(str(path), path)
    if not path.is_file():
        near = suggestion(str(path), rulesets.FILES) or f"; ready sets are {', '.join(rulesets.FILES)}"
        raise MissingFile(f"{path} is missing: no such file of rules{near}")
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".toml":
            return _toml_rules(path, tomllib.loads(text))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CkptError(f"{path} is not a file of rules: {error}") from error
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [_line_rule(path, number, line) for number, line in lines if line and not line.startswith("#")]


def _line_rule(path: Path, number: int, line: str) -> Rule:
    try:
        return parse_rule(line)
    except CkptError as error:
        raise CkptError(f"{path}, line {number}: {error}") from error


def _toml_rules(path: Path, document: dict[str, object]) -> list[Rule]:
    tables = document.get("rule")
    if set(document) == {"rule"} and isinstance(tables, list):
        return [_table_rule(f"{path}, rule {number}", table) for number, table in enumerate(tables, 1)]
    table = document.get("rename")
    if set(document) != {"rename"} or not isinstance(table, dict):
        raise CkptError(f'{path}: rules are tables [[rule]], or a table [rename] with lines "RE" = "NEW"')
    if not all(isinstance(new, str) for new in table.values()):
        raise CkptError(f"{path}: a new name is not a text")
    return [Rule(pattern, new) for pattern, new in table.items()]


def _table_rule(where: str, table: object) -> Rule:
    if not isinstance(table, dict):
        raise CkptError(f"{where}: it is no table")
    for key, value in table.items():
        if key not in KEYS:
            raise CkptError(f"{where}: {key} is no key of a rule{suggestion(key, KEYS)}")
        if not isinstance(value, KEYS[key]) or (isinstance(value, list) and not _texts(value)):
            raise CkptError(f"{where}: {key} = {value!r}, expected {_expected(key)}")
    if not table.get("from") or bool(table.get("to")) == table.get("drop", False):
        raise CkptError(f"{where}: a rule has from, and either to or drop = true")
    if table.get("drop") and {"transform", "copy"} & set(table):
        raise CkptError(f"{where}: what is dropped has no transform, and is no copy")
    try:
        sides = (_one_or_more(table["from"]), _one_or_more(table.get("to", "")))
        return Rule(*sides, table.get("optional", False), table.get("transform"), table.get("copy", False))
    except CkptError as error:
        raise CkptError(f"{where}: {error}") from error


def _texts(values: list[object]) -> bool:
    return all(isinstance(value, str) and value for value in values)


def _expected(key: str) -> str:
    if KEYS[key] is bool:
        return "true or false"
    return "a text" if key == "transform" else "a text or a list of texts"


def _one_or_more(value: str | list[str]) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else tuple(value)
