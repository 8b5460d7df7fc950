"""What a command reads and does is noted while it runs, so that whatever it writes carries its lineage.

Where no command runs, as in a program that uses the library, nothing is noted and nothing is carried. What makes hashes
and records is imported when something is written: most commands only look.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ckpttool.core.errors import FormatError
from ckpttool.remote.paths import without_secrets

if TYPE_CHECKING:
    from ckpttool.formats.format import Format, Tensors, Writing
    from ckpttool.lineage.chain import Chain
    from ckpttool.lineage.sources import Source

KEY = "ckpttool.lineage"
"""The name of the lineage among the texts that a format keeps."""
_log = logging.getLogger(__name__)


class Recording:
    """A command that runs: its arguments, what it has opened until its first output, and the edits it makes."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Take the command line, which begins with the command's name; secrets in URLs are left out."""
        self.arguments = tuple(map(without_secrets, arguments))
        self.steps: list[str] = []
        self._opened: dict[str, tuple[Callable[[], Source], Mapping[str, str]]] = {}

    def note(self, path: Path, making: Callable[[], "Source"], metadata: Mapping[str, str]) -> None:
        """Note a source; it is read for its hash only if something is written."""
        self._opened.setdefault(str(path), (making, metadata))

    @cached_property
    def chain(self) -> "Chain":
        """The lineage of the outputs: those of the sources, then this command. What is opened later is no source."""
        from ckpttool.core.versions import versions
        from ckpttool.lineage.chain import Chain, Record

        command, *arguments = self.arguments
        sources = tuple(making() for making, _ in self._opened.values())
        parents = [_lineage(Path(path), metadata) for path, (_, metadata) in self._opened.items()]
        date = datetime.now(UTC).isoformat(timespec="seconds")
        record = Record(command, tuple(arguments), sources, tuple(self.steps), versions(), date)
        return Chain.joined(parents).then(record)


_going: ContextVar[Recording | None] = ContextVar("recording", default=None)


@contextlib.contextmanager
def recording(arguments: Sequence[str]) -> Iterator[None]:
    """Note what happens in the block as the doing of a command."""
    token = _going.set(Recording(arguments))
    try:
        yield
    finally:
        _going.reset(token)


def note_checkpoint(path: Path, format: str, tensors: "Tensors") -> None:  # noqa: A002
    """Note that a checkpoint was opened."""

    def source() -> "Source":
        from ckpttool.lineage.sources import Source

        return Source.of(path, format, tensors)

    if going := _going.get():
        going.note(path, source, tensors.metadata)


def note_graph(file: Path) -> None:
    """Note that the file of a graph was read."""

    def source() -> "Source":
        from ckpttool.lineage.sources import Source

        return Source.of_graph(file)

    if going := _going.get():
        going.note(file, source, {})


def note_steps(steps: Iterable[object]) -> None:
    """Note the edits that will be made, in their order."""
    if going := _going.get():
        going.steps += map(str, steps)


@contextlib.contextmanager
def carried(output: Path, target: "Format", how: "Writing") -> Iterator["Writing"]:
    """Give how to write an output so that it carries the lineage; where the format has no place, put it beside."""
    going = _going.get()
    if going is None:
        yield how
        return
    from ckpttool.lineage.places import MOST_TEXT, write_beside
    from ckpttool.lineage.sources import Source

    text = json.dumps(going.chain.as_json())
    if target.METADATA and len(text) <= MOST_TEXT:
        yield replace(how, metadata={**how.metadata, KEY: text})
    else:
        yield how
        write_beside(output, Source.of(output, target.NAME, target.open(output)), going.chain)


def carry_graph(output: Path) -> None:
    """Put the lineage beside a graph that was written without a checkpoint."""
    if going := _going.get():
        from ckpttool.lineage.places import write_beside
        from ckpttool.lineage.sources import Source

        write_beside(output, Source.of_graph(output), going.chain)


def _lineage(path: Path, metadata: Mapping[str, str]) -> "Chain":
    """Return the lineage of a source; one that is damaged is no reason not to go on."""
    from ckpttool.lineage.chain import Chain
    from ckpttool.lineage.places import lineage_of

    try:
        return lineage_of(path, metadata)
    except FormatError as error:
        _log.warning("%s; it is left out of the output's lineage", error)
        return Chain()
