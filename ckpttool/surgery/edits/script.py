r"""A script of edits: TOML with a table `[[edit]]` for each, applied in their order.

[[edit]]
rename = "hidden(\\d)=>fc\\1"

[[edit]]
drop-slots = true
"""

import tomllib
from pathlib import Path
from typing import Any

from ckpttool.core.errors import FormatError
from ckpttool.remote.paths import require_here
from ckpttool.surgery.edits.steps import Step


def read_script(path: Path) -> list[Step]:
    """Return the edits of a script; whether they exist is seen when they are applied.

    Raises:
        FormatError: it is not TOML, or has something else; the message has the number of the entry.
        CkptError: it is a URL.
    """
    require_here(path)
    try:
        said = tomllib.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: no TOML: {error}") from error
    entries = said.get("edit")
    if set(said) != {"edit"} or not isinstance(entries, list):
        raise FormatError(f'{path}: expected a table for each edit: [[edit]] and below it rename = "RE=>NEW"')
    return [_step(path, number, entry) for number, entry in enumerate(entries, 1)]


def _step(path: Path, number: int, entry: Any) -> Step:
    place = f"{path}, edit {number}"
    if not isinstance(entry, dict) or len(entry) != 1:
        found = ", ".join(entry) if isinstance(entry, dict) else repr(entry)
        raise FormatError(f"{place}: expected one edit, found {found or 'none'}; each has its own [[edit]]")
    ((key, value),) = entry.items()
    if not isinstance(value, str) and value is not True:
        raise FormatError(f"{place}: {key} is {value!r}, expected a text (true where an edit takes no value)")
    name, text = key.replace("_", "-"), "" if value is True else value
    return Step(name, text, f"{place}, {name} {text!r}" if text else f"{place}, {name}")
