"""Look-up tables that a SavedModel fills from text files: the files are read, and their content is put into the graph.

TensorFlow would read any file that the graph names; we read only files of `assets/`, and no links that lead elsewhere.
Source: `TextFileLineIterator` and `InitializeTableFromTextFile` in `tensorflow/core/kernels/lookup_util.cc`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import DType, dtype_numbered
from ckpttool.core.errors import GraphError
from ckpttool.core.plain_files import stays_in
from ckpttool.formats.tensorflow.prefix import SAVED_MODEL_GRAPHS
from ckpttool.formats.tensorflow.saved_model import ASSETS
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.rewrite.draft import Draft, type_attr
from ckpttool.graph.rewrite.tables import asset_files

_FILLS = {"InitializeTableFromTextFile": "InitializeTable", "InitializeTableFromTextFileV2": "InitializeTableV2"}
_NUMBER, _LINE = -1, -2
"""Special column indices: the line number, and the whole line."""
_PARSERS: dict[str, Callable[[bytes], object]] = {
    "string": bytes,
    **dict.fromkeys(("int32", "int64"), lambda text: int(_plain(text))),
    **dict.fromkeys(("float32", "float64"), lambda text: float(_plain(text))),
}


def with_read_tables(graph: Graph) -> Graph:
    """Return the graph of a SavedModel in which tables that read its assets are filled from constants instead.

    Tables that read other files are unchanged.

    Raises:
        GraphError: a file is missing, is a link that leads elsewhere, or does not have the fields of the table.
    """
    files = _files(graph)
    fills = [name for name, node in graph.nodes.items() if node.op in _FILLS]
    draft, free = Draft(graph), FreeNames(graph.nodes)
    for name in fills:
        inputs = graph.inputs(name)
        table = graph.nodes.get(inputs[0].op) if len(inputs) == 2 else None
        if table is None or inputs[1].op not in files:
            continue
        read = _TextTable.of(graph, graph.nodes[name], table, files[inputs[1].op])
        keys, values = (
            constant(free.free(f"{name}/{side}"), np.array(column, dtype.numpy), dtype)
            for side, column, dtype in zip(("keys", "values"), read.columns(), read.dtypes, strict=True)
        )
        fill = NodeDef(name=name, op=_FILLS[graph.nodes[name].op], input=[str(inputs[0]), keys.name, values.name])
        fill.input.extend(text for text in graph.nodes[name].input if text.startswith("^"))
        for key, dtype in zip(("Tkey", "Tval"), read.dtypes, strict=True):
            fill.attr[key].CopyFrom(type_attr(dtype.number))
        draft.add(keys, values)
        draft.op(name).CopyFrom(fill)
    return draft.sealed()


def _files(graph: Graph) -> dict[str, Path]:
    """Return the assets of a SavedModel, by the op that contains the name of each."""
    source = Path(graph.source)
    if source.name not in SAVED_MODEL_GRAPHS:
        return {}
    folder = source.parent / ASSETS
    return {TensorRef.parse(each.tensor_info.name).op: folder / Path(each.filename).name for each in asset_files(graph)}


@dataclass(frozen=True)
class _TextTable:
    """A text file with a table's keys and values, and the columns of these."""

    file: Path
    problem: str
    places: tuple[int, int]
    dtypes: tuple[DType, DType]
    size: int
    delimiter: bytes
    offset: int

    @classmethod
    def of(cls, graph: Graph, fill: NodeDef, table: NodeDef, file: Path) -> "_TextTable":
        """Read the format from the attributes of the ops."""

        def number(key: str, default: int) -> int:
            return fill.attr[key].i if key in fill.attr else default

        return cls(
            file,
            f"{graph.source}: {fill.name} fills a table from {file}, which",
            (number("key_index", _LINE), number("value_index", _NUMBER)),
            (dtype_numbered(table.attr["key_dtype"].type), dtype_numbered(table.attr["value_dtype"].type)),
            number("vocab_size", -1),
            fill.attr["delimiter"].s if "delimiter" in fill.attr else b"\t",
            number("offset", 0),
        )

    def columns(self) -> tuple[list[object], list[object]]:
        """Return the keys and the values.

        Raises:
            GraphError: the file is missing, a link that leads elsewhere, or does not have the fields of the table.
        """
        pairs = list(islice(self._pairs(), None if self.size == -1 else self.size))
        if self.size not in (-1, len(pairs)):
            raise GraphError(f"{self.problem} has {counted(len(pairs), 'line')}, not {self.size}")
        return [key for key, _ in pairs], [value for _, value in pairs]

    def _pairs(self) -> Iterator[tuple[object, object]]:
        if not self.file.is_file():
            raise GraphError(f"{self.problem} is missing")
        if not stays_in(self.file.parent, self.file):
            raise GraphError(f"{self.problem} is a link to outside of the model")
        with self.file.open("rb") as lines:
            for number, line in enumerate(lines):
                text = line.removesuffix(b"\n").replace(b"\r", b"")
                if not text:
                    raise GraphError(f"{self.problem} has an empty line: {number + 1}")
                parts = text.split(self.delimiter) if max(self.places) >= 0 else []
                try:
                    key, value = (self._value(side, number, text, parts) for side in (0, 1))
                except (ValueError, KeyError, IndexError) as error:
                    lacks = f"lacks the fields that it needs in line {number + 1}: {error}"
                    raise GraphError(f"{self.problem} {lacks}") from error
                yield key, value

    def _value(self, side: int, number: int, line: bytes, parts: list[bytes]) -> object:
        place, dtype = self.places[side], self.dtypes[side]
        if place == _NUMBER:
            return number + self.offset
        return _PARSERS[dtype.name](line if place == _LINE else parts[place])


def _plain(text: bytes) -> str:
    """Return the text of a number, after rejecting syntax that only Python allows, such as underscores."""
    if not re.fullmatch(rb"\s*[-+.\w]+\s*", text) or b"_" in text:
        raise ValueError(f"{text!r} is not a number")
    return text.decode("ascii")
