"""Records beside models (lineages, run reports, options, indexes, `checkpoint` files) that refer to other places."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ckpttool.core import toml_text
from ckpttool.core.errors import FormatError
from ckpttool.lineage.output import SUFFIX as LINEAGE
from ckpttool.scanning.finding import Finding
from ckpttool.scanning.graphs import leads_out

INDEXES = (".safetensors.index.json", ".bin.index.json")
REPORT = ".run.json"
WRITTEN = ("output", "cache-dir", "tensorboard", "plot", "html", "save-to", "study")
"""Options that name output locations."""
LARGEST = 1 << 28
LARGEST_STATE = 1 << 22
_STRING = r"""(?:"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+')"""
STATE = re.compile(rf"""#[^\n]*+|({_STRING}(?:(?:\s|\#[^\n]*+\n)*+{_STRING})*+)|[^"'#]++|["'][^\n]*+""", re.DOTALL)
"""Tokens of a protobuf text message: comments, strings (adjacent ones are concatenated), anything else, and the rest of
a line with an unterminated string."""
HELP = "check the path before passing this file to a command"


def is_record(path: Path) -> bool:
    """Return whether a file is a record, by its name."""
    return path.name.endswith((LINEAGE, REPORT, *INDEXES, ".toml")) or path.name == "checkpoint"


def record_findings(path: Path) -> Iterator[Finding]:
    """Yield the paths in a record that refer to other places.

    Raises:
        FormatError: the record is too large, or neither JSON nor TOML.
    """
    if path.stat().st_size > LARGEST:
        raise FormatError(f"{path} has {path.stat().st_size} bytes, at most {LARGEST} are read")
    text = path.read_bytes()
    if path.name == "checkpoint":
        return _state(text, path)
    try:
        document = toml_text.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: neither JSON nor TOML, despite its name: {error}") from error
    if path.name.endswith(INDEXES):
        return _index(document, path)
    return _lineage(document, path) if path.name.endswith(LINEAGE) else _options(document, path)


def _state(text: bytes, path: Path) -> Iterator[Finding]:
    """Yield the suspicious paths of a `checkpoint` file, all of whose strings are paths.

    Raises:
        FormatError: it is larger than any real one.
    """
    if len(text) > LARGEST_STATE:
        raise FormatError(f"{path} has {len(text)} bytes, at most {LARGEST_STATE} are read")
    strings = (match[1] for match in STATE.finditer(text.decode("utf-8", "replace")) if match[1])
    for name in dict.fromkeys(map(_said, strings)):
        if ".." in Path(name).parts or set(name) & set("*?["):
            reason = "TensorFlow opens the path, and interprets it as a pattern of file names"
            yield Finding(path, "record/path", "model_checkpoint_path", name[:200], "medium", reason, HELP)


def _said(strings: str) -> str:
    """Return the concatenation of adjacent string literals, unescaped."""
    from google.protobuf.text_encoding import CUnescape

    parts = [each[1:-1] for each in re.findall(f"#[^\n]*+|{_STRING}", strings) if each[0] != "#"]
    try:
        return b"".join(map(CUnescape, parts)).decode("utf-8", "replace")
    except ValueError:
        return "".join(parts)


def _index(document: Any, path: Path) -> Iterator[Finding]:
    files = document.get("weight_map") if isinstance(document, dict) else None
    for name in dict.fromkeys(str(each) for each in files.values()) if isinstance(files, dict) else ():
        if leads_out(name) or "/" in name:
            reason = "the index declares tensors in a file outside of its folder"
            yield Finding(path, "record/path", "weight_map", name[:200], "medium", reason, HELP)


def _lineage(document: Any, path: Path) -> Iterator[Finding]:
    """Yield source files of a lineage outside the folder of their path, which `log` would hash."""
    for source in _sources(document):
        for name in source.get("files", ()) if isinstance(source.get("files"), list) else ():
            if leads_out(str(name)):
                reason = "`log` reads the file to see whether it is still what it was"
                yield Finding(path, "record/path", "files", str(name)[:200], "low", reason, HELP)


def _sources(document: Any) -> Iterator[dict[str, Any]]:
    todo = [document]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if "files" in value and "hash" in value:
                yield value
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def _options(document: Any, path: Path) -> Iterator[Finding]:
    """Yield options of a run report or an options file that set output locations or allow ops."""
    options = document.get("options", document) if isinstance(document, dict) else {}
    for key, value in options.items() if isinstance(options, dict) else ():
        name = str(key).replace("_", "-")
        if name in WRITTEN and isinstance(value, str) and (leads_out(value) or "://" in value):
            reason = f"a command that reads its options from this file writes its {name} there"
            yield Finding(path, "record/path", name, value[:200], "low", reason, HELP)
        if name == "allow-op" and value:
            reason = "it asks to run ops that can have side effects; commands never accept that from a file"
            yield Finding(path, "record/path", name, str(value)[:200], "low", reason, HELP)
