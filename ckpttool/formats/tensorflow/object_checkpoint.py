"""TensorFlow 2's object checkpoints: a bundle with an object graph; tensors have the names of the variables.

The object graph is also a tensor of the mapping. It is updated when it is saved: renamed values get their new names,
and removed ones are deleted from it (`object_graph.keyed`).
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import is_file
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.core.variable_kinds import OBJECT_GRAPH, kinds
from ckpttool.formats.format import ANY, PLAIN, Checked, Format, Writing
from ckpttool.formats.tensorflow.bundle import Bundle, BundleTensors, files_of, verify_tensors
from ckpttool.formats.tensorflow.bundle_index import RANK_LIMIT
from ckpttool.formats.tensorflow.object_graph import graph_of, path_of
from ckpttool.formats.tensorflow.prefix import BundleFiles, prefix_of
from ckpttool.formats.wire.table import SortedTable
from ckpttool.remote.paths import is_remote


class ObjectTensors(BundleTensors):
    """The tensors of an object checkpoint, in the order of their names."""

    def __init__(self, files: BundleFiles) -> None:
        """Read the object graph; if a local one is damaged, tensors are named by their paths and can be inspected."""
        super().__init__(files)
        try:
            objects = graph_of(self, files.prefix)
            known, state = objects.names(), objects.state_keys()
        except CkptError:
            if is_remote(files.prefix):  # whose next answer may be another one: names must not depend on that
                raise
            known, state = {}, set()
        kind = kinds(list(self.entries))
        entries, self.entries = self.entries, {}
        named = {key: name for name, key in known.items()}
        keys: dict[str, str] = {}
        for key in entries:  # without a name in the object graph: the path, or the key if that is taken
            path = path_of(key)
            keys[named.get(key) or (key if path in known or path in keys else path)] = key
        self.stored_as = dict(sorted(keys.items()))
        by_name = kinds(list(self.stored_as))
        self.kinds = {name: kind[key] for name, key in self.stored_as.items()}
        for name, key in self.stored_as.items():
            if self.kinds[name] == "weight" and (key in state or by_name[name] == "slot"):
                self.kinds[name] = "slot"
        for name, key in self.stored_as.items():
            entry = entries[key]
            self.entries[name] = entry._replace(spec=TensorSpec(name, entry.spec.shape, entry.spec.dtype))


class ObjectCheckpoint(Format):
    """TensorFlow 2's object checkpoints."""

    NAME = "object"
    FRAMEWORK = "tensorflow"
    LIMITS = "is a bundle with an object graph: written where there is one, read by TensorFlow 2 by path"
    HOLDS = ANY
    DIMENSIONS = RANK_LIMIT
    OBJECT_GRAPH = True
    OPTIONS = frozenset({"shard_bytes"})

    def recognises(self, path: Path) -> bool:
        """Return whether a bundle has an object graph."""
        index = BundleFiles.of(prefix_of(path)).index
        try:
            return is_file(index) and SortedTable(index).get(OBJECT_GRAPH.encode()) is not None
        except CkptError:
            if is_remote(path):
                raise
            return False  # the reader of bundles reports the error

    def open(self, path: Path) -> ObjectTensors:
        """Read the index and the object graph; for errors see `Bundle.open`."""
        return ObjectTensors(files_of(path))

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write a bundle whose object graph maps each tensor to an object.

        Raises:
            FormatError: there is no object graph, or it does not contain a tensor.
        """
        if OBJECT_GRAPH not in tensors:
            raise FormatError(f"{path}: an object checkpoint needs the object graph of one; `to` bundle needs none")
        Bundle().save(tensors, path, how)

    def outputs(self, path: Path) -> list[Path]:
        """Return the files of a bundle."""
        return Bundle().outputs(path)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Check the bundle, and that it contains every value of the object graph."""
        opened, readable = self.open(path), True
        for checked in verify_tensors(opened):
            readable = readable and not (checked.name == OBJECT_GRAPH and checked.problem)
            yield checked
        if readable:
            yield from _inconsistent(opened, str(prefix_of(path)))


def _inconsistent(opened: ObjectTensors, source: str) -> Iterator[Checked]:
    """Yield the values of the object graph that are missing in the bundle, or the graph if it cannot be parsed."""
    try:
        named = graph_of(opened, source).names()
    except CorruptCheckpoint as error:
        yield Checked(OBJECT_GRAPH, 0, str(error))
        return
    stored = sorted(opened.stored_as.values())
    for name, key in named.items():
        at = bisect_left(stored, key)  # where those that begin so would be
        if name not in opened and not (at < len(stored) and stored[at].startswith(key)):
            yield Checked(name, 0, f"{source}: {name} is in the object graph, but its value is missing ({key})")
