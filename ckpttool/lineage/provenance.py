"""Provenance: the files and edits that data comes from. Checkpoints, graphs, their views and saved outputs carry it.

Files are hashed only when something is written, since most commands only read; and while they are read for it, so that
each is read from the disk once. A file that changes meanwhile is an error, so a hash is that of the bytes used.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.core.errors import FormatError
from ckpttool.formats.writing.staging import destination
from ckpttool.lineage.derivation import Derivation, Steps
from ckpttool.lineage.output import KEY
from ckpttool.remote.paths import without_secrets

if TYPE_CHECKING:
    from ckpttool.formats.format import Format, Tensors, Writing
    from ckpttool.lineage.file_hash import HashThreads
    from ckpttool.lineage.records import Chain, Source

GRAPHS_FRAMEWORK = "tensorflow"
"""The framework of graphs, whose layouts tensors next to a graph have."""
MOVES = ("transpose ", "reshape ")
"""Edits after which the layout of a tensor is that chosen by the user."""
MADE_BY_PLANS = ("edit", "convert", "merge", "average", "apply", "split", "join", "save")
"""The commands whose output a plan can reproduce from tensors alone; others also change a graph."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """A command or function that makes an output, and its arguments as specified.

    >>> Command("vars", ("https://me:key@host/model.ckpt",)).shown
    ('vars', 'https://host/model.ckpt')
    """

    name: str
    arguments: tuple[str, ...] = ()

    @classmethod
    def of_call(cls, verb: str, source: object, output: object) -> "Command":
        """Return the equivalent of a function call from Python."""
        return cls(verb, (str(source), "-o", str(output)))

    @property
    def shown(self) -> tuple[str, ...]:
        """The name and the arguments, without the secrets of URLs."""
        return self.name, *map(without_secrets, self.arguments)


class _Framework(NamedTuple):
    """The framework according to a file, that of all files of its format, and whether the file is a graph."""

    said: str | None
    always: str | None
    is_graph: bool = False


class SourceFile:
    """A file that was opened; it is hashed once, when something made from it is written."""

    def __init__(
        self, path: Path, name_it: Callable[[], "Source"], metadata: Mapping[str, str], framework: "_Framework | None"
    ) -> None:
        """Store its path, a function that names it, its metadata (which may contain its lineage) and its framework.

        Without a framework it is a file of changes, which have the layouts of what they change.
        """
        self.path, self._name_it, self._metadata, self._framework = path, name_it, metadata, framework
        self._hash: str | None = None

    @classmethod
    def of_checkpoint(cls, path: Path, format_: "Format", tensors: "Tensors") -> "SourceFile":
        """Return the source for an opened checkpoint."""

        def name_it() -> "Source":
            from ckpttool.lineage.records import Source

            return Source.unhashed_checkpoint(path, format_.NAME, tensors)

        return cls(path, name_it, tensors.metadata, _Framework(format_.framework(tensors), format_.FRAMEWORK))

    @classmethod
    def of_graph(cls, file: Path) -> "SourceFile":
        """Return the source for the file of a graph."""

        def name_it() -> "Source":
            from ckpttool.lineage.records import GRAPH, Source

            return Source.unhashed(file, GRAPH, [file])

        return cls(file, name_it, {}, _Framework(GRAPHS_FRAMEWORK, GRAPHS_FRAMEWORK, is_graph=True))

    @classmethod
    def of_named_graph(cls, name: Path) -> "SourceFile":
        """Return the source for a graph that is determined by its name, such as `keras:NAME`."""

        def name_it() -> "Source":
            from ckpttool.lineage.records import Source

            return Source.of_name(str(name))

        return cls(name, name_it, {}, _Framework(GRAPHS_FRAMEWORK, GRAPHS_FRAMEWORK, is_graph=True))

    @classmethod
    def of_patch(cls, file: Path, lineage: str) -> "SourceFile":
        """Return the source for a patch, with the lineage that it contains."""

        def name_it() -> "Source":
            from ckpttool.lineage.records import PATCH, Source

            return Source.unhashed(file, PATCH, [file])

        return cls(file, name_it, {KEY: lineage} if lineage else {}, None)

    def of_changes(self) -> "SourceFile":
        """Return the same file as one of changes."""
        return SourceFile(self.path, self._name_it, self._metadata, None)

    @cached_property
    def named(self) -> "Source":
        """The file without its hash, unless its name determines it."""
        return self._name_it()

    @property
    def source(self) -> "Source":
        """The file with its hash."""
        if self._hash is None and self.named.files:
            self._hash = self.named.hashed(self.path).hash
        return replace(self.named, hash=self._hash or self.named.hash)

    def hash_in(self, threads: "HashThreads") -> None:
        """Start to hash the file in a thread, unless it was hashed before."""
        if self._hash is None and self.named.files:
            threads.start(self.named.files_at(self.path), partial(setattr, self, "_hash"))

    @cached_property
    def chain(self) -> "Chain":
        """The file's own lineage; if it is damaged, a warning is logged and it is empty."""
        from ckpttool.lineage.records import Chain
        from ckpttool.lineage.storage import lineage_of

        try:
            return lineage_of(self.path, self._metadata)
        except FormatError as error:
            _log.warning("%s; it is excluded from the output's lineage", error)
            return Chain()

    @property
    def framework(self) -> str | None:
        """The framework whose layouts the tensors have.

        For converted files it is that of the lineage, because the framework in their metadata is meant for others.
        """
        if self._framework is None:
            return None
        records = self.chain.records
        return (records[-1].framework or self._framework.always) if records else self._framework.said

    @property
    def has_layouts(self) -> bool:
        """Whether it determines the layouts of tensors, unlike a file of changes."""
        return self._framework is not None

    @property
    def is_graph(self) -> bool:
        """Whether it is a graph."""
        return self._framework is not None and self._framework.is_graph


@dataclass(frozen=True)
class Provenance:
    """The files from which data was read, in the order in which they were opened, and the edits since then."""

    files: tuple[SourceFile, ...] = ()
    edits: tuple[str, ...] = ()
    derivation: Derivation | None = None
    """The steps of a plan that make the data from the files; None if no plan can."""

    @classmethod
    def of_file(cls, file: SourceFile) -> "Provenance":
        """Return the provenance of data that was read from a file without edits."""
        return cls((file,), derivation=Derivation(str(file.path)))

    @classmethod
    def joined(cls, *parts: "Provenance", made: Derivation | None = None) -> "Provenance":
        """Return the provenance of data made from several parts; `made` is its derivation from theirs.

        Each file is included once.
        """
        files: dict[str, SourceFile] = {}
        for file in (file for part in parts for file in part.files):
            files.setdefault(str(file.path), file)
        return cls(tuple(files.values()), tuple(edit for part in parts for edit in part.edits), made)

    def noting(self, edit: str) -> "Provenance":
        """Return the provenance with another edit's text, for a step that its derivation already contains."""
        return replace(self, edits=(*self.edits, edit))

    def with_changes_of(self, other: "Provenance") -> "Provenance":
        """Return the provenance with the files of changes, such as those of an adapter."""
        changes = Provenance(tuple(file.of_changes() for file in other.files))
        return Provenance.joined(self, changes, made=self.derivation)

    def beside(self, graph: "Provenance") -> "Provenance":
        """Return the provenance of tensors that belong to a graph."""
        return Provenance.joined(graph, self, made=self.derivation)

    @property
    def framework(self) -> str | None:
        """The framework whose layouts the tensors have; None if unknown, if there are several, or after moved axes.

        Tensors made with a graph have the layouts that the graph reads.
        """
        if any(file.is_graph for file in self.files):
            return GRAPHS_FRAMEWORK
        known = {file.framework for file in self.files if file.has_layouts}
        moved = any(edit.startswith(MOVES) for edit in self.edits)
        return None if moved or len(known) != 1 else known.pop()

    def then(self, edit: str, step: Mapping[str, Any] | None = None) -> "Provenance":
        """Return the provenance after another edit, and the table of its step in a plan, if there is one."""
        made = Derivation(table=step, of=self.derivation) if step is not None and self.derivation else None
        return replace(self, edits=(*self.edits, edit), derivation=made)

    def chain(self, command: Command) -> "Chain":
        """Return the lineage of an output: those of its files, then the command."""
        from ckpttool.lineage.file_hash import HashThreads

        with HashThreads() as threads:
            self.hash_in(threads)
            threads.wait()
        return self.hashed(self.draft(command))

    def draft(self, command: Command) -> "Chain":
        """Return the lineage of an output without the hashes of its files."""
        from ckpttool.lineage.records import Chain, Record, versions

        name, *arguments = command.shown
        date = datetime.now(UTC).isoformat(timespec="seconds")
        sources = tuple(file.named for file in self.files)
        makers = tuple(chain.records[-1].id if (chain := file.chain).records else None for file in self.files)
        known = (name, tuple(arguments), sources, self.edits, versions(), date, self.framework)
        record = Record(*known, makers if any(makers) else (), self._plan() if name in MADE_BY_PLANS else None)
        return Chain.joined(file.chain for file in self.files).then(record)

    def hash_in(self, threads: "HashThreads") -> None:
        """Start to hash the files, each in a thread."""
        for file in self.files:
            file.hash_in(threads)

    def hashed(self, draft: "Chain") -> "Chain":
        """Return a draft with the hashes of the files."""
        *others, record = draft.records
        return replace(draft, records=(*others, replace(record, sources=tuple(file.source for file in self.files))))

    def _plan(self) -> dict[str, Any] | None:
        """Return the steps of a plan as they are stored in a record, with sources as indices of files; None if none."""
        steps = Steps.of(self.derivation) if self.derivation else None
        if steps is None:
            return None
        places = {str(file.path): place for place, file in enumerate(self.files)}
        return {"sources": [places[path] for path in steps.files], "step": list(steps.tables)}


UNKNOWN = Provenance()
"""The provenance of arrays in memory."""


@contextlib.contextmanager
def carried(
    provenance: Provenance, command: Command | None, output: Path, target: "Format", how: "Writing"
) -> Iterator["Writing"]:
    """Yield the writing options that include the lineage; if the format has no metadata, write it beside the output.

    Arrays in memory that are not written by a command have no lineage.
    """
    if command is None and not provenance.files:
        yield how
        return
    from ckpttool.lineage.file_hash import HashThreads
    from ckpttool.lineage.records import Source
    from ckpttool.lineage.storage import MOST_TEXT, text_of, write_beside

    with HashThreads() as threads:
        draft = provenance.draft(command or Command("save", (str(destination(output)),)))
        provenance.hash_in(threads)

        def finished() -> "Chain":
            threads.wait()
            return provenance.hashed(draft)

        text = text_of(draft)
        if target.METADATA and len(text) <= MOST_TEXT:
            metadata = {**target.EXPECTED_METADATA, **how.metadata}
            if target.LATER:
                yield replace(how, metadata={**metadata, KEY: text}, later=lambda: {KEY: text_of(finished())})
            else:
                yield replace(how, metadata={**metadata, KEY: text_of(finished())})
        else:
            yield how
            write_beside(output, Source.of(output, target.NAME, target.open(output)), finished())


def carry_graph(provenance: Provenance, command: Command | None, output: Path) -> None:
    """Write the lineage beside a graph that was written without a checkpoint."""
    if command is None and not provenance.files:
        return
    from ckpttool.lineage.records import Source
    from ckpttool.lineage.storage import write_beside

    chain = provenance.chain(command or Command("save", (str(destination(output)),)))
    write_beside(output, Source.of_graph(output), chain)
