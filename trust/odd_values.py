"""Odd values in every field of JSON and TOML: headers, indexes, configurations, saved states, manifests, plans.

Each field of a valid file is replaced by each odd value (another type, negative, too large, not finite, a path out of
the folder, half a surrogate pair ...), or removed, its checksum is repaired, and the file is read: only ckpttool's
errors may be raised, in bounded time and memory.

    python trust/odd_values.py [--every N] [PART OF A NAME ...]
"""

import argparse
import copy
import itertools
import json
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import samples
from fuzz import judged

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "formats"))
import fuzzing

GONE = object()
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 1 << 31, 1 << 63, 10**400, 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "\0", "\ud800", "\x1b[2J", "../x", "/etc/passwd", "a" * 5000),
    *([], {}, [[]], [{}], [None], ["x"], [0], [-1], [1 << 40], {"x": {}}, {"a": []}, {"": None}, GONE),
)
FEW = 4
"""The number of elements of a list that are tried: the others are similar."""
Place = tuple[Any, ...]


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Yield the path of every nested value.

    >>> list(places({"a": [1]}))
    [(), ('a',), ('a', 0)]
    """
    yield above
    below = value.items() if isinstance(value, dict) else enumerate(value[:FEW]) if isinstance(value, list) else ()
    for key, each in below:
        yield from places(each, (*above, key))


def replaced(value: Any, place: Place, new: Any) -> Any:
    """Return a value with the one at a path replaced or removed.

    >>> replaced({"a": [1]}, ("a", 0), None)
    {'a': [None]}
    """
    if not place:
        return new
    value = copy.deepcopy(value)
    at = value
    for key in place[:-1]:
        at = at[key]
    if new is GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = new
    return value


def toml(value: Any) -> str:
    """Return a value as TOML.

    Raises:
        ValueError: if TOML has no such value.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if value is None or value is GONE:
        raise ValueError("TOML has no such value")
    return repr(value) if isinstance(value, float) else json.dumps(value)


def lines_of_toml(value: Any) -> str:
    """Return a document of TOML."""
    if not isinstance(value, dict):
        raise ValueError("a document is a table")
    return "".join(f"{json.dumps(key)} = {toml(each)}\n" for key, each in value.items())


def seeds() -> Iterator[tuple[str, Any, Any]]:
    """Yield the parsers with valid parts in JSON or TOML: the name, the parsed part, and the function to write it."""
    for name, target in fuzzing.TARGETS.items():
        for read, write in ((json.loads, json.dumps), (lambda raw: tomllib.loads(raw.decode()), lines_of_toml)):
            try:
                value = read(target.seed)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict | list):
                yield name, value, write
                break


def parts(value: Any, write: Any) -> Iterator[tuple[str, bytes]]:
    """Yield changed versions of a valid part, with a description of the change."""
    for place, new in itertools.product(places(value), ODD):
        if place or new is not GONE:
            try:
                part = write(replaced(value, place, new)).encode()
            except (ValueError, TypeError):  # it cannot be serialised
                continue
            yield f"{'.'.join(map(str, place))} = {'nothing' if new is GONE else repr(new)[:40]}", part


def main() -> None:
    """Try all values, or every Nth, and print a row for each parser and the totals."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("wanted", nargs="*", default=[""], help="parts of names")
    asked, tried, bad, files = parser.parse_args(), 0, 0, 0
    warnings.simplefilter("ignore")  # from NumPy, for the odd input
    for name, value, write in seeds():
        if not any(part in name for part in asked.wanted):
            continue
        before, files = (tried, bad), files + 1
        with tempfile.TemporaryDirectory(dir=samples.folder()) as folder:
            for changed, part in itertools.islice(parts(value, write), files % asked.every, None, asked.every):
                tried += 1
                if found := judged(fuzzing.TARGETS[name], Path(folder), part):
                    bad += 1
                    print(f"  bad: {name}: {changed}: {found[:200]}".encode("ascii", "backslashreplace").decode())
        print(f"{name:30} {tried - before[0]:6} tried {bad - before[1]:4} bad", flush=True)
    note = f"{len(ODD)} values in each field of {files} kinds of JSON and TOML"
    print(json.dumps({"figure": "odd values in fields", "tried": tried, "bad": bad, "note": note}))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
