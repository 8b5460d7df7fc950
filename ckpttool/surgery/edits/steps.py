r"""Applying edits in order, with a record of what each of them did to which tensor; scripts of edits.

A script is TOML with a table for each edit:

[[edit]]
rename = "hidden(\\d)=>fc\\1"

[[edit]]
drop-slots = true
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core import toml_text
from ckpttool.core.errors import CkptError, FormatError, UnknownName
from ckpttool.core.suggestions import suggestion
from ckpttool.remote.paths import refuse_url_input
from ckpttool.surgery.edits import EDITS
from ckpttool.surgery.edits.edit import SETTINGS


@dataclass(frozen=True)
class Step:
    """An edit to apply: its name in `EDITS`, the text of its value, and its place in a script (for messages)."""

    edit: str
    text: str = ""
    place: str = ""

    def __str__(self) -> str:
        return f"{self.edit} {self.text}".strip()

    def apply(self, ckpt: Checkpoint, settings: Mapping[str, Any]) -> tuple[Checkpoint, list[str]]:
        """Return the edited checkpoint and the edit's remarks; settings without a field in the edit are ignored.

        Raises:
            UnknownName: no edit has the name, or no tensor matches.
            CkptError: the text is invalid, or the edit is not possible; the message has the place.
        """
        kind = EDITS.get(self.edit)
        if kind is None:
            raise UnknownName(f"{self.place}: no edit is named {self.edit}{suggestion(self.edit, EDITS)}")
        fields = kind.__dataclass_fields__
        own = {key: settings[key] for key in SETTINGS if key in settings and key in fields}
        try:
            edit = replace(kind.parse(self.text), **own)
            edited, remarks = edit.apply(ckpt), edit.remarks(ckpt)
        except CkptError as error:
            raise type(error)(f"{self.place or self}: {error}") from error
        files = edited.provenance.files  # an edit may add source files
        table = {key: value for key, value in own.items() if value != fields[key].default}
        step = {self.edit: self.text or True, **table}
        return edited.made_of(replace(ckpt.provenance, files=files).then(str(self), step)), remarks


@dataclass(frozen=True)
class Edited:
    """An edited checkpoint, with the edits of each tensor (by new name), dropped tensors, and skipped edits.

    `remarks` are the edits' notes for the user.
    """

    tensors: Checkpoint
    done: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def then(self, step: Step, settings: Mapping[str, Any]) -> "Edited":
        """Return the result of one more edit."""
        after, remarks = step.apply(self.tensors, settings)
        before = {self.tensors.origins.get(name, name): name for name in self.tensors}
        done: dict[str, tuple[str, ...]] = {}
        for name in after:
            old = before.pop(after.origins.get(name, name), None)
            untouched = old is not None and after[name] is self.tensors[old]
            done[name] = (() if old is None else self.done[old]) + (() if untouched else (str(step),))
        gone = {origin: (*self.done[name], str(step)) for origin, name in before.items()}
        return Edited(after, done, {**self.dropped, **gone}, self.skipped, (*self.remarks, *remarks))


def apply(
    source: Checkpoint, steps: Iterable[Step], settings: Mapping[str, Any] | None = None, lenient: bool = False
) -> Edited:
    """Apply edits in order; if `lenient`, edits that match nothing are skipped, and listed with the reason.

    >>> import numpy as np
    >>> edited = apply(Checkpoint.of({"fc/bias": np.zeros(2)}), [Step("rename", "fc=>out"), Step("cast", "float16")])
    >>> dict(edited.done)
    {'out/bias': ('rename fc=>out', 'cast float16')}

    Raises:
        UnknownName: an edit matches nothing.
        CkptError: an edit is not possible.
    """
    # Tensors are created once, so that a tensor that an edit does not change is the same object afterwards.
    edited = Edited(source.holding(dict(source)), dict.fromkeys(source, ()))
    for step in steps:
        try:
            edited = edited.then(step, settings or {})
        except UnknownName as error:
            if not lenient:
                raise
            edited = replace(edited, skipped=(*edited.skipped, str(error)))
    return edited


def read_script(path: Path) -> list[Step]:
    """Return the edits of a script; whether they exist is checked when they are applied.

    Raises:
        FormatError: the file is not TOML, or has another structure; the message has the number of the entry.
        CkptError: the path is a URL.
    """
    refuse_url_input(path)
    try:
        script = toml_text.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not valid TOML: {error}") from error
    entries = script.get("edit")
    if set(script) != {"edit"} or not isinstance(entries, list):
        raise FormatError(f'{path}: expected a table for each edit: [[edit]] and below it rename = "RE=>NEW"')
    return [_step(path, number, entry) for number, entry in enumerate(entries, 1)]


def _step(path: Path, number: int, entry: Any) -> Step:
    place = f"{path}, edit {number}"
    if not isinstance(entry, dict) or len(entry) != 1:
        given = ", ".join(entry) if isinstance(entry, dict) else repr(entry)
        raise FormatError(f"{place}: expected one edit, found {given or 'none'}; each needs its own [[edit]]")
    ((key, value),) = entry.items()
    if not isinstance(value, str) and value is not True:
        raise FormatError(f"{place}: {key} is {value!r}, expected a text (true where an edit accepts no value)")
    name, text = key.replace("_", "-"), "" if value is True else value
    return Step(name, text, f"{place}, {name} {text!r}" if text else f"{place}, {name}")
