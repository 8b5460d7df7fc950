"""Source files: the files that were opened, as the lineage of outputs made from them names and hashes them.

Files are hashed only when something is written, since most commands only read; and while they are read for it, so that
each is read from the disk once. A file that changes meanwhile is an error, so a hash is that of the bytes used.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.core import seen_files
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.lineage.output import KEY

if TYPE_CHECKING:
    from ckpttool.formats.format import Format, Tensors
    from ckpttool.lineage.file_hash import HashThreads
    from ckpttool.lineage.records import Chain, Source

GRAPHS_FRAMEWORK = "tensorflow"
"""The framework of graphs, whose layouts tensors next to a graph have."""
_log = logging.getLogger(__name__)


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
        self._seen = seen_files.noting()

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
        file = SourceFile(self.path, self._name_it, self._metadata, None)
        file._seen = self._seen
        return file

    @cached_property
    def named(self) -> "Source":
        """The file without its hash, unless its name determines it."""
        return self._name_it()

    @property
    def source(self) -> "Source":
        """The file with its hash; raises the same error as `hash_in`."""
        if self._hash is None and self.named.files:
            from ckpttool.lineage.file_hash import hash_of

            self._hash = hash_of(self._files())
        return replace(self.named, hash=self._hash or self.named.hash)

    def hash_in(self, threads: "HashThreads") -> None:
        """Start to hash the file in a thread, unless it was hashed before.

        Raises:
            CorruptCheckpoint: one of its files has been replaced or removed since it was opened.
        """
        if self._hash is None and self.named.files:
            threads.start(self._files(), partial(setattr, self, "_hash"))

    def _files(self) -> list[Path]:
        """Return the paths of its files, after checking that they still are those that were opened."""
        files = self.named.files_at(self.path)
        if self._seen and (others := [file for file in files if self._seen.is_other(file)]):
            raise CorruptCheckpoint(
                f"{self.path} changed while it was read: {others[0]} is not the file that was opened, whose hash is "
                "unknown; open it again"
            )
        return files

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
