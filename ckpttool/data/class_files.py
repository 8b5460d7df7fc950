"""Files of class names: one name per line, a JSON list, or a JSON object such as Keras's `imagenet_class_index.json`.

A JSON object has the names by number (`{"0": "cat"}`, `{"0": ["n02123045", "tabby"]}`), or the numbers by name
(`{"cat": 0}`, as in Keras's `class_indices` and PyTorch's `class_to_idx`). Lines may start with their numbers, as in
TensorFlow's `labels.txt` (`0:cat`).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError, MissingFile
from ckpttool.core.names import listed
from ckpttool.formats.wire import strict_json
from ckpttool.remote.paths import refuse_url_input

Classes = str | Path | Sequence[str] | None
"""Class names in the order of their numbers, as a sequence, a JSON list or the path of a file; None: not specified."""

_NUMBERED = re.compile(r"(\d+)\s*:\s*(.+)")
_LARGEST = 16 << 20
"""Maximum size of a file of names in bytes; a hundred thousand names have two million."""


def class_names_of(classes: Classes) -> tuple[str, ...]:
    """Return the class names that are given or that a file contains; an empty tuple for None.

    Names of several classes (ImageNet has `crane` twice) get their numbers appended.

    >>> class_names_of(["crane", "tench", "crane"])
    ('crane (0)', 'tench', 'crane (2)')
    >>> class_names_of('["cat, wild", "dog"]')
    ('cat, wild', 'dog')

    Raises:
        MissingFile: the file does not exist.
        DataError: it contains no names, or is invalid.
    """
    if classes is None:
        return ()
    if isinstance(classes, str) and classes.startswith("["):
        names = _read(classes, "`classes`")
    else:
        names = read_class_names(Path(classes)) if isinstance(classes, (str, Path)) else list(classes)
    several = {name for name, count in Counter(names).items() if count > 1}
    return tuple(f"{name} ({number})" if name in several else name for number, name in enumerate(names))


def check_count(names: Sequence[str], outputs: int, what: str | Path, spare: bool = False) -> None:
    """Check that there is one name per output of `what`; a single output can stand for two classes.

    Raises:
        DataError: there are more or fewer names; with `spare` there may be fewer.
    """
    if names and len(names) != outputs and (len(names), outputs) != (2, 1) and not (spare and len(names) < outputs):
        found = f"{what} has {counted(outputs, 'output')}"
        named = f"there are {counted(len(names), 'class', 'classes')}: {listed(names)}"
        advice = f"specify `classes` with a file of all {outputs} names, or put another `head` on with `reuse`"
        raise DataError(f"{found}, and {named}; {advice}")


def spare_outputs(names: Sequence[str], outputs: int) -> list[str]:
    """Return a note about outputs that have no class name, as a list that is empty if all have one.

    >>> spare_outputs(["cat", "dog"], 4), spare_outputs(["cat", "dog"], 1)
    (['4 outputs and 2 classes: cat, dog: the last 2 stand for none; `classes` names them'], [])
    """
    count = outputs - len(names) if names else 0
    which = "the last one stands" if count == 1 else f"the last {count} stand"
    classes = counted(len(names), "class", "classes")
    said = f"{counted(outputs, 'output')} and {classes}: {listed(names)}: {which} for none"
    return [f"{said}; `classes` names {'it' if count == 1 else 'them'}"] if count > 0 else []


def named_outputs(names: Sequence[str], outputs: int) -> tuple[str, ...]:
    """Return a name for each output: those without a class name are numbered; no names if there are no class names.

    >>> named_outputs(["cat", "dog"], 3), named_outputs([], 3)
    (('cat', 'dog', 'output 2'), ())
    """
    return (*names, *(f"output {number}" for number in range(len(names), outputs))) if names else ()


def read_class_names(path: Path) -> list[str]:
    """Return the class names of a file.

    Raises:
        MissingFile: it does not exist.
        DataError: it contains no names, or is invalid.
    """
    refuse_url_input(path)
    if not path.is_file():
        raise MissingFile(f"{path}: no such file of class names")
    with path.open("rb") as file:
        raw = file.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        raise DataError(f"{path} is too large, expected the name of a class on each line")
    return _read(raw, str(path))


def _read(content: bytes | str, source: str) -> list[str]:
    """Return the names in a text of lines or of JSON."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        names = _of_json(strict_json.parse(text.encode())) if text.lstrip()[:1] in ("[", "{") else _of_lines(text)
    except ValueError as error:
        raise DataError(f"{source}: not a valid file of class names: {error}") from error
    if not names:
        raise DataError(f"{source} has no names, expected the name of a class on each line")
    return names


def _of_lines(text: str) -> list[str]:
    r"""Return the names of lines, sorted by their numbers, which are removed, if all lines are numbered from 0.

    >>> _of_lines("tabby cat\npug\n"), _of_lines("0:tabby cat\n1:pug\n")
    (['tabby cat', 'pug'], ['tabby cat', 'pug'])
    """
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if "" in lines:
        raise ValueError(f"line {lines.index('') + 1} is empty, expected a name on each line")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    found = {int(match[1]): match[2] for match in numbered if match}
    return [found[number] for number in range(len(lines))] if set(found) == set(range(len(lines))) else lines


def _of_json(value: Any) -> list[str]:
    """Return the names of a list, or of an object of names by number or of numbers by name.

    >>> _of_json({"1": ["n02", "pug"], "0": ["n01", "tabby"]}), _of_json({"pug": 1, "tabby": 0})
    (['tabby', 'pug'], ['tabby', 'pug'])
    """
    if isinstance(value, Mapping) and all(isinstance(number, int) for number in value.values()):
        value = {str(number): name for name, number in value.items()}
    if isinstance(value, Mapping):
        missing = [number for number in range(len(value)) if str(number) not in value]
        if missing:
            raise ValueError(f"the class {missing[0]} has no name, expected the numbers 0 to {len(value) - 1}")
        value = [value[str(number)] for number in range(len(value))]
    names = [name[-1] if isinstance(name, list) and name else name for name in value]
    wrong = next((name for name in names if not isinstance(name, str) or not name.strip()), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is not a name, expected texts")
    return names
