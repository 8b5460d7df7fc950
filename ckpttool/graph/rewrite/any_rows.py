"""Any number of rows: rewrites a graph that was built for a fixed batch size so that it accepts any.

If TensorFlow knows the batch size, it puts the number into constants: the target shapes of reshapes and fills, the
initial zeros of a recurrent cell, the divisor of a mean of losses. In the rewritten graph, these are computed from the
number of rows that are fed.
"""

import re
from collections.abc import Collection, Iterator
from math import prod

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import dtype_numbered
from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef, TensorShapeProto
from ckpttool.graph.contents.constants import constant, numbers, single_number
from ckpttool.graph.contents.op_outputs import known_shape, shape_of_output
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import BROADCASTING, ENTERS, JOINS, LOOPS, SELECTS, SHAPES
from ckpttool.graph.rewrite.draft import Draft, set_inputs
from ckpttool.graph.rewrite.row_count import RowCount, as_numbers

_GRADIENTS = re.compile(r"(?:.*/)?gradients(?:_\d+)?/")
_FOLDED = re.compile(r"(?:.*/)?(?:Shape|dense_shape)(?:_\d+)?")
_SHAPE_INPUT = {
    **dict.fromkeys(("Reshape", "BroadcastTo", "Tile"), 1),
    **dict.fromkeys(("Fill", "EmptyTensorList", "TensorListReserve", "RandomUniform", "RandomStandardNormal"), 0),
    **dict.fromkeys(("TruncatedNormal", "RandomUniformInt", "StatelessRandomUniformV2"), 0),
}
"""Op types with an input that is the shape of their output: the index of that input."""
_TAKES_ROWS = BROADCASTING | JOINS | SELECTS | ENTERS | LOOPS | {"MatMul"}
"""Op types that may combine rows with a constant of the same number of rows."""


def with_any_rows(graph: Graph, placeholders: Collection[str], rows: int) -> tuple[Graph, list[str]]:
    """Return the graph whose placeholders of `rows` rows accept any number, and descriptions of ops that prevent it.

    If there are such ops, the graph is returned unchanged. Gradients and training ops are not rewritten.
    """
    if not placeholders:
        return graph, []
    rewriting = _Rewriting(graph, placeholders, rows)
    holders = list(rewriting.holders())
    return (graph if holders else rewriting.done()), holders


def lets_any_rows(graph: Graph, placeholder: str, rows: int) -> bool:
    """Return whether a placeholder of `rows` rows could accept any number of rows."""
    return not any(_Rewriting(graph, [placeholder], rows).holders())


def without_shapes(graph: Graph) -> Graph:
    """Return the graph without the ops' `_output_shapes`."""
    draft = Draft(graph)
    for name, node in graph.nodes.items():
        if "_output_shapes" in node.attr:
            del draft.op(name).attr["_output_shapes"]
    return draft.sealed()


def built_for(graph: Graph, placeholders: Collection[str], surely: bool = False) -> int | None:
    """Return the number of rows to which a tensor below placeholders of any batch size is reshaped, or None.

    With `surely`, only if the static shapes show that the constant is a number of rows.
    """
    below = graph.descendants(placeholders)
    for name in (name for name in graph.nodes if name in below and graph.nodes[name].op == "Reshape"):
        before = known_shape(shape_of_output(graph, graph.inputs(name)[0]))
        after = numbers(graph.nodes[graph.inputs(name)[1].op])
        sizes = [int(size) for size in after] if after is not None and after.ndim == 1 else []
        if not sizes or not before or before[0] is not None or _GRADIENTS.match(name):
            continue
        row = [size for size in before[1:] if size is not None]
        known = len(sizes) > 1 and len(row) == len(before) - 1 > 0 and prod(sizes) == sizes[0] * prod(row)
        if known if surely else min(sizes) > 0 or sizes[0] > 1:
            return sizes[0] if sizes[0] > 0 else None
    return None


class _Rewriting:
    """One rewrite: the ops that depend on the rows, the other ops that these read, and the row count as a tensor."""

    def __init__(self, graph: Graph, placeholders: Collection[str], rows: int) -> None:
        self.graph, self.fed, self.placeholders = graph, rows, placeholders
        self.draft, self.names = Draft(graph), FreeNames(graph.nodes)
        self.count = RowCount(graph, placeholders, rows, self.draft, self.names)
        self.rows = self.count.rows
        below = graph.descendants(placeholders, but=SHAPES)
        self.below = {name for name in below if not _GRADIENTS.match(name)}
        self.beside = graph.ancestors(*self.below) - self.below

    def holders(self) -> Iterator[str]:
        """Yield descriptions of the ops that require the fixed number of rows."""
        for name in (name for name in self.graph.nodes if name in self.below):
            node = self.graph.nodes[name]
            if node.op == "Unpack" and node.attr["num"].i == self.rows > 1 and not node.attr["axis"].i:
                yield f"{name} splits them into {counted(self.rows, 'tensor')}"
            elif node.op == "Squeeze" and self.rows == 1 and self._squeezes_rows(node):
                yield f"{name} removes the dimension of the rows"
            elif node.op == "StridedSlice" and self._has_rows(name) and not self._takes_all(name):
                yield f"{name} selects some of them"
            elif node.op == "Reshape" and self._of_rows(name) is None:
                yield f"{name} makes them {self._wanted(name)}"
        for name in (name for name in self.graph.nodes if name in self.beside):
            if self.graph.nodes[name].op.startswith("TensorArrayV") and self.rows > 1:
                size = numbers(self.graph.nodes[self.graph.inputs(name)[0].op])
                if size is not None and size.size == 1 and int(size.reshape(-1)[0]) == self.rows:
                    yield f"{name} depends on their number {self.rows}"

    def _squeezes_rows(self, node: NodeDef) -> bool:
        axes = list(node.attr["squeeze_dims"].list.i) if "squeeze_dims" in node.attr else []
        return 0 in axes or (not axes and self._has_rows(node.name))

    def _has_rows(self, name: str) -> bool:
        """Return whether the first dimension of an op's first input is the rows, as far as its shape is known."""
        ref = self.graph.inputs(name)[0]
        shape = known_shape(shape_of_output(self.graph, ref))
        return ref.op in self.placeholders or bool(shape and shape[0] == self.rows)

    def _takes_all(self, name: str) -> bool:
        """Return whether a strided slice selects all rows."""
        node = self.graph.nodes[name]
        if node.attr["ellipsis_mask"].i & 1 or node.attr["new_axis_mask"].i & 1:
            return True
        if node.attr["shrink_axis_mask"].i & 1:
            return False
        begin, end = (numbers(self.graph.nodes[ref.op]) for ref in self.graph.inputs(name)[1:3])
        from_first = bool(node.attr["begin_mask"].i & 1) or (begin is not None and int(begin[0]) == 0)
        to_last = bool(node.attr["end_mask"].i & 1) or (end is not None and int(end[0]) == self.rows)
        return from_first and to_last

    def _wanted(self, name: str) -> list[int] | None:
        """Return the constant target shape of a reshape, or None if it is computed."""
        values = numbers(self.graph.nodes[self.graph.inputs(name)[1].op])
        return None if values is None or values.ndim != 1 else [int(value) for value in values]

    def _of_rows(self, name: str) -> int | None:
        """Return the dimension of a reshape's constant shape that is the row count: -1 for none, None if unclear."""
        wanted = self._wanted(name)
        if not wanted or wanted[0] == -1:
            return -1
        if self.rows == 1:
            return 0 if wanted[0] == 1 or len(wanted) == 1 else None
        exact = [place for place, size in enumerate(wanted) if size == self.rows]
        if exact and (exact[0] == 0 or -1 not in wanted):
            return exact[0]
        if wanted[0] % self.rows == 0 and wanted[0]:
            return 0
        return -1 if -1 in wanted or not self._has_rows(name) else None

    def done(self) -> Graph:
        """Return the graph in which the number of rows is computed from the rows that are fed."""
        for name in self.placeholders:
            shape = self.draft.op(name).attr["shape"].shape
            _open(shape, self.fed)
        for name in [name for name in self.graph.nodes if name in self.below or name in self.beside]:
            self._follow(name)
        return without_shapes(self.draft.sealed())

    def _follow(self, name: str) -> None:
        """Replace an op's constant numbers of rows by computed ones."""
        node = self.graph.nodes[name]
        if node.op in LOOPS and "output_shapes" in node.attr:
            for shape in self.draft.op(name).attr["output_shapes"].list.shape:
                _open(shape, self.rows)
        if node.op == "Reshape" and name in self.below:
            self._reshape(name)
        elif node.op in _SHAPE_INPUT and name not in self.below:
            self._put(name, _SHAPE_INPUT[node.op], self._shape(self.graph.inputs(name)[_SHAPE_INPUT[node.op]]))
        elif node.op in ("RealDiv", "Div", "Mul") and name in self.below:
            self._divide(name)
        elif node.op == "Range" and self.rows > 1 and self._leads(self.graph.inputs(name)[1]):
            self._put(name, 1, self.count.scalar(self.graph.inputs(name)[1]))
        if (node.op in _TAKES_ROWS and name in self.below) or node.op in ENTERS:
            for place, ref in enumerate(self.graph.inputs(name)):
                self._put(name, place, self.count.filled(ref))
        for place, ref in enumerate(self.graph.inputs(name)):
            if _FOLDED.fullmatch(ref.op) and self._leads(ref):
                self._put(name, place, self.count.vector(ref))

    def _put(self, name: str, place: int, ref: TensorRef | None) -> None:
        """Replace an op's input at an index; None keeps it."""
        if ref is not None:
            node = self.draft.op(name)
            control = [text[1:] for text in node.input if text.startswith("^")]
            present = [self.graph.refs[text] for text in node.input if not text.startswith("^")]
            present[place] = ref
            set_inputs(node, present, control)

    def _reshape(self, name: str) -> None:
        """Make the dimension of a reshape that depends on the rows -1, or computed if another one already is -1."""
        ref, wanted, place = self.graph.inputs(name)[1], self._wanted(name), self._of_rows(name)
        if not wanted:
            self._put(name, 1, self._shape(ref))
        elif place is not None and place >= 0:
            if -1 in wanted:
                self._put(name, 1, self.count.vector(ref, wanted[0] // self.rows))
            else:
                sizes = [-1 if other == place else size for other, size in enumerate(wanted)]
                dtype = dtype_numbered(self.graph.nodes[ref.op].attr["dtype"].type)
                self._put(name, 1, self.count.add(constant(self.names.free(ref.op), as_numbers(sizes, dtype), dtype)))

    def _shape(self, ref: TensorRef) -> TensorRef | None:
        """Return a computed shape for a constant one; None if the shape is not a constant of the row count.

        A shape that is assembled from constants is changed in place.
        """
        node = self.graph.nodes[ref.op]
        if node.op == "Const":
            several = shape_of(node.attr["value"].tensor)[:1] > (1,)
            return self.count.vector(ref) if several and self.rows > 1 and self._leads(ref) else None
        if node.op in ("Identity", "Cast", "Pack", "ConcatV2"):
            first = self.graph.inputs(ref.op)[0]
            if self.graph.nodes[first.op].op != "Const":
                self._put(ref.op, 0, self._shape(first))
            elif node.op in ("Pack", "ConcatV2") and self.rows > 1 and self._leads(first):
                self._put(ref.op, 0, self.count.scalar(first) if node.op == "Pack" else self.count.vector(first))
        return None

    def _leads(self, ref: TensorRef) -> bool:
        """Return whether the first number of an integer constant is the number of rows."""
        values = numbers(self.graph.nodes[ref.op])
        if values is None or values.ndim > 1 or values.dtype.kind != "i":
            return False
        return bool(values.size) and int(values.reshape(-1)[0]) == self.rows

    def _divide(self, name: str) -> None:
        """Divide a sum over the rows by the computed number of rows instead of a constant."""
        inputs = self.graph.inputs(name)
        if self.rows == 1 or not any(self._sums_rows(ref) for ref in inputs):
            return
        for place, ref in enumerate(inputs):
            number = single_number(self.graph.nodes[ref.op])
            factor = self.graph.nodes[name].op == "Mul"
            if number is None or not np.isclose(number, 1 / self.rows if factor else self.rows, rtol=1e-6, atol=0):
                continue
            dtype = dtype_numbered(self.graph.nodes[ref.op].attr["dtype"].type)
            count = self.count.cast(self.count.scalar(None), dtype)
            self._put(name, place, self.count.op("Reciprocal", ref.op, [count], T=dtype) if factor else count)

    def _sums_rows(self, ref: TensorRef) -> bool:
        """Return whether a tensor is a sum over the rows."""
        if self.graph.nodes[ref.op].op != "Sum" or ref.op not in self.below:
            return False
        axes = numbers(self.graph.nodes[self.graph.inputs(ref.op)[1].op])
        return axes is not None and 0 in axes.reshape(-1)


def _open(shape: TensorShapeProto, rows: int) -> None:
    """Make the first dimension of a shape -1, in place, if it is the number of rows."""
    if shape.dim and shape.dim[0].size == rows:
        shape.dim[0].size = -1
