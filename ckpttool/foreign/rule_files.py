"""Files of rules: lines `RE => NEW`, or a .toml with tables `[[rule]]` or a table `[rename]`."""

import tomllib
from pathlib import Path

from ckpttool.errors import CkptError, MissingFile
from ckpttool.foreign.rules import Rule, parse_rule
from ckpttool.selection import suggestion

KEYS: dict[str, type] = {"from": str, "to": str, "drop": bool, "optional": bool}


def read_rules(path: Path) -> list[Rule]:
    """Read a file of rules: lines `RE => NEW` with `#` comments, or a .toml.

    A .toml has tables `[[rule]]`: `from`, a regular expression, and `to` or `drop = true`; with `optional = true` a
    rule may match nothing. Or it has a table `[rename]` of "RE" = "NEW".

    Raises:
        MissingFile: there is no such file.
        CkptError: it has something else.
    """
    if not path.is_file():
        raise MissingFile(f"{path} is missing: no such file of rules")
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
        if not isinstance(value, KEYS[key]):
            raise CkptError(f"{where}: {key} = {value!r} is not a {KEYS[key].__name__}")
    if not table.get("from") or bool(table.get("to")) == table.get("drop", False):
        raise CkptError(f"{where}: a rule has from, and either to or drop = true")
    try:
        return Rule(table["from"], table.get("to", ""), table.get("optional", False))
    except CkptError as error:
        raise CkptError(f"{where}: {error}") from error
