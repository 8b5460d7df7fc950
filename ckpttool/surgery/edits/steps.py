"""Edits applied one after the other, with a record of what each of them did to which tensor."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, UnknownName
from ckpttool.core.names import suggestion
from ckpttool.surgery.edits.table import EDITS


@dataclass(frozen=True)
class Step:
    """An edit to be applied: its name in `EDITS`, the text of its value, and where that was said."""

    edit: str
    text: str = ""
    place: str = ""

    def __str__(self) -> str:
        return f"{self.edit} {self.text}".strip()

    def apply(self, ckpt: Checkpoint, settings: Mapping[str, Any]) -> Checkpoint:
        """Return the edited checkpoint; of the settings the edit takes those that it heeds.

        Raises:
            UnknownName: no edit has the name, or it takes nothing.
            CkptError: the text is not understood, or the edit is refused; the message has the place.
        """
        found = EDITS.get(self.edit)
        if found is None:
            raise UnknownName(f"{self.place}: no edit is named {self.edit}{suggestion(self.edit, EDITS)}")
        heeded = {key: settings[key] for key in found.heeds if key in settings}
        try:
            edited = found.function(ckpt, **found.read(self.text), **heeded)
        except CkptError as error:
            raise type(error)(f"{self.place or self}: {error}") from error
        return edited.made_of(ckpt.provenance.then(str(self)))


@dataclass(frozen=True)
class Edited:
    """An edited checkpoint; what was done to each tensor by its new name, what is gone, and what took nothing."""

    tensors: Checkpoint
    done: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def then(self, step: Step, settings: Mapping[str, Any]) -> "Edited":
        """Return what one more edit makes of it."""
        after = step.apply(self.tensors, settings)
        before = {_origin(self.tensors, name): name for name in self.tensors}
        done: dict[str, tuple[str, ...]] = {}
        for name in after:
            old = before.pop(_origin(after, name), None)
            untouched = old is not None and after[name] is self.tensors[old]
            done[name] = (() if old is None else self.done[old]) + (() if untouched else (str(step),))
        gone = {origin: (*self.done[name], str(step)) for origin, name in before.items()}
        return Edited(after, done, {**self.dropped, **gone}, self.skipped)


def apply(
    source: Checkpoint, steps: Iterable[Step], settings: Mapping[str, Any] | None = None, lenient: bool = False
) -> Edited:
    """Apply edits in their order; where `lenient`, those that take nothing are skipped, and listed with the reason.

    >>> import numpy as np
    >>> found = apply(Checkpoint.of({"fc/bias": np.zeros(2)}), [Step("rename", "fc=>out"), Step("cast", "float16")])
    >>> dict(found.done)
    {'out/bias': ('rename fc=>out', 'cast float16')}

    Raises:
        UnknownName: one takes nothing.
        CkptError: one is refused.
    """
    # Tensors are made once: what an edit leaves alone is the same object behind it.
    found = Edited(source.holding(dict(source)), dict.fromkeys(source, ()))
    for step in steps:
        try:
            found = found.then(step, settings or {})
        except UnknownName as error:
            if not lenient:
                raise
            found = Edited(found.tensors, found.done, found.dropped, (*found.skipped, str(error)))
    return found


def _origin(ckpt: Checkpoint, name: str) -> str:
    return ckpt.origins.get(name, name)
