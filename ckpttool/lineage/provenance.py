"""Provenance: what data was made of. Checkpoints and graphs carry it, views of them keep it, and what is saved has it.

Nothing is hashed before something is written: most commands only look.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.core.errors import FormatError
from ckpttool.formats.writing.staging import destination
from ckpttool.lineage.derivation import Derivation, Steps
from ckpttool.remote.paths import without_secrets

if TYPE_CHECKING:
    from ckpttool.formats.format import Format, Tensors, Writing
    from ckpttool.lineage.records import Chain, Source

KEY = "ckpttool.lineage"
"""The name of the lineage among the texts that a format keeps."""
GRAPHS_FRAMEWORK = "tensorflow"
"""The framework of graphs, which arranges what is written beside one."""
MOVES = ("transpose ", "reshape ")
"""Edits after which a tensor is arranged as the user wanted it."""
MADE_BY_PLANS = ("edit", "convert", "merge", "average", "apply", "split", "join", "save")
"""The commands that make of tensors what a plan could; others change a graph too."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """What makes an output: a command or function, and its arguments as they were given.

    >>> Command("vars", ("https://me:key@host/model.ckpt",)).shown
    ('vars', 'https://host/model.ckpt')
    """

    name: str
    arguments: tuple[str, ...] = ()

    @classmethod
    def of_call(cls, verb: str, source: object, output: object) -> "Command":
        """Return what stands for a call of a verb as a function."""
        return cls(verb, (str(source), "-o", str(output)))

    @property
    def shown(self) -> tuple[str, ...]:
        """The name and the arguments, without the secrets of URLs."""
        return self.name, *map(without_secrets, self.arguments)


class _Framework(NamedTuple):
    """The framework that a file says it is of, that of every file of its format, and whether it is a graph."""

    said: str | None
    always: str | None
    is_graph: bool = False


class SourceFile:
    """A file that was opened: hashed when something is written that was made of it, and once."""

    def __init__(
        self, path: Path, hash_it: Callable[[], "Source"], metadata: Mapping[str, str], framework: "_Framework"
    ) -> None:
        """Take where it is, what gives its hash, the texts that it keeps, its own lineage among them, and its kind."""
        self.path, self._hash_it, self._metadata, self._framework = path, hash_it, metadata, framework

    @classmethod
    def of_checkpoint(cls, path: Path, format_: "Format", tensors: "Tensors") -> "SourceFile":
        """Return the source that an opened checkpoint is."""

        def hash_it() -> "Source":
            from ckpttool.lineage.records import Source

            return Source.of(path, format_.NAME, tensors)

        return cls(path, hash_it, tensors.metadata, _Framework(format_.framework(tensors), format_.FRAMEWORK))

    @classmethod
    def of_graph(cls, file: Path) -> "SourceFile":
        """Return the source that the file of a graph is."""

        def hash_it() -> "Source":
            from ckpttool.lineage.records import Source

            return Source.of_graph(file)

        return cls(file, hash_it, {}, _Framework(GRAPHS_FRAMEWORK, GRAPHS_FRAMEWORK, is_graph=True))

    @classmethod
    def of_named_graph(cls, name: Path) -> "SourceFile":
        """Return the source that a graph is which follows from its name."""

        def name_it() -> "Source":
            from ckpttool.lineage.records import Source

            return Source.of_name(str(name))

        return cls(name, name_it, {}, _Framework(GRAPHS_FRAMEWORK, GRAPHS_FRAMEWORK, is_graph=True))

    @classmethod
    def of_patch(cls, file: Path, lineage: str) -> "SourceFile":
        """Return the source that a patch is, with the lineage that it keeps."""

        def hash_it() -> "Source":
            from ckpttool.lineage.records import Source

            return Source.of_patch(file)

        return cls(file, hash_it, {KEY: lineage} if lineage else {}, _Framework(None, None))

    @cached_property
    def source(self) -> "Source":
        """The file with its hash."""
        return self._hash_it()

    @cached_property
    def chain(self) -> "Chain":
        """The file's own lineage; one that is damaged is no reason not to go on."""
        from ckpttool.lineage.records import Chain
        from ckpttool.lineage.storage import lineage_of

        try:
            return lineage_of(self.path, self._metadata)
        except FormatError as error:
            _log.warning("%s; it is excluded from the output's lineage", error)
            return Chain()

    @property
    def framework(self) -> str | None:
        """The framework that arranged the tensors.

        The lineage of what was converted says it, for what is written here names a framework for the sake of others.
        """
        records = self.chain.records
        return (records[-1].framework or self._framework.always) if records else self._framework.said

    @property
    def is_graph(self) -> bool:
        """Whether it is a graph."""
        return self._framework.is_graph


@dataclass(frozen=True)
class Provenance:
    """The files that data was read from, in the order in which they were opened, and the edits since."""

    files: tuple[SourceFile, ...] = ()
    edits: tuple[str, ...] = ()
    derivation: Derivation | None = None
    """How a plan would make it of the files; None where no steps of a plan do."""

    @classmethod
    def of_file(cls, file: SourceFile) -> "Provenance":
        """Return the provenance of what was read from a file, and is what is there."""
        return cls((file,), derivation=Derivation(str(file.path)))

    @classmethod
    def joined(cls, *parts: "Provenance", made: Derivation | None = None) -> "Provenance":
        """Return the provenance of what is made of several, `made` by a step of a plan with their derivations.

        A file that several were read from counts once.
        """
        files: dict[str, SourceFile] = {}
        for file in (file for part in parts for file in part.files):
            files.setdefault(str(file.path), file)
        return cls(tuple(files.values()), tuple(edit for part in parts for edit in part.edits), made)

    def noting(self, edit: str) -> "Provenance":
        """Return the provenance with a step's text for people, of what its derivation has already."""
        return replace(self, edits=(*self.edits, edit))

    def beside(self, graph: "Provenance") -> "Provenance":
        """Return the provenance of tensors that go with a graph."""
        return Provenance.joined(graph, self, made=self.derivation)

    @property
    def framework(self) -> str | None:
        """The framework that arranged the tensors; None where nothing says it, or several did, or an edit moved axes.

        What is made with a graph is arranged as that reads it.
        """
        if any(file.is_graph for file in self.files):
            return GRAPHS_FRAMEWORK
        known = {file.framework for file in self.files}
        moved = any(edit.startswith(MOVES) for edit in self.edits)
        return None if moved or len(known) != 1 else known.pop()

    def then(self, edit: str, step: Mapping[str, Any] | None = None) -> "Provenance":
        """Return the provenance after one more edit, and the table of the step that makes it, if a plan has such."""
        made = Derivation(table=step, of=self.derivation) if step is not None and self.derivation else None
        return replace(self, edits=(*self.edits, edit), derivation=made)

    def chain(self, command: Command) -> "Chain":
        """Return the lineage of an output: those of the files, then the command that makes it."""
        from ckpttool.lineage.records import Chain, Record, versions

        name, *arguments = command.shown
        date = datetime.now(UTC).isoformat(timespec="seconds")
        sources = tuple(file.source for file in self.files)
        makers = tuple(chain.records[-1].id if (chain := file.chain).records else None for file in self.files)
        known = (name, tuple(arguments), sources, self.edits, versions(), date, self.framework)
        record = Record(*known, makers if any(makers) else (), self._plan() if name in MADE_BY_PLANS else None)
        return Chain.joined(file.chain for file in self.files).then(record)

    def _plan(self) -> dict[str, Any] | None:
        """Return the steps of a plan as a record keeps them, its sources by their places among the files."""
        steps = Steps.of(self.derivation) if self.derivation else None
        if steps is None:
            return None
        places = {str(file.path): place for place, file in enumerate(self.files)}
        return {"sources": [places[path] for path in steps.files], "step": list(steps.tables)}


UNKNOWN = Provenance()
"""That of arrays in memory."""


@contextlib.contextmanager
def carried(
    provenance: Provenance, command: Command | None, output: Path, target: "Format", how: "Writing"
) -> Iterator["Writing"]:
    """Give how to write an output so that it carries its lineage; where the format has no place, put it beside.

    Arrays in memory that no command writes have none.
    """
    if command is None and not provenance.files:
        yield how
        return
    from ckpttool.lineage.records import Source
    from ckpttool.lineage.storage import MOST_TEXT, text_of, write_beside

    chain = provenance.chain(command or Command("save", (str(destination(output)),)))
    text = text_of(chain)
    if target.METADATA and len(text) <= MOST_TEXT:
        yield replace(how, metadata={**target.EXPECTED_METADATA, **how.metadata, KEY: text})
    else:
        yield how
        write_beside(output, Source.of(output, target.NAME, target.open(output)), chain)


def carry_graph(provenance: Provenance, command: Command | None, output: Path) -> None:
    """Put the lineage beside a graph that was written without a checkpoint."""
    if command is None and not provenance.files:
        return
    from ckpttool.lineage.records import Source
    from ckpttool.lineage.storage import write_beside

    chain = provenance.chain(command or Command("save", (str(destination(output)),)))
    write_beside(output, Source.of_graph(output), chain)
