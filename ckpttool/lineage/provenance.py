"""Provenance: the files and edits that data comes from. Checkpoints, graphs, their views and saved outputs carry it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ckpttool.lineage.derivation import Derivation, Steps
from ckpttool.lineage.source_file import GRAPHS_FRAMEWORK, SourceFile
from ckpttool.remote.paths import without_secrets

if TYPE_CHECKING:
    from ckpttool.lineage.file_hash import HashThreads
    from ckpttool.lineage.records import Chain

MOVES = ("transpose ", "reshape ")
"""Edits after which the layout of a tensor is that chosen by the user."""
MADE_BY_PLANS = ("edit", "convert", "merge", "average", "apply", "split", "join", "save")
"""The commands whose output a plan can reproduce from tensors alone; others also change a graph."""


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
