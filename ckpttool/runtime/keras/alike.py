"""Similar layers: the first is traced; the others have placeholders for their outputs until the trace is complete.

Their ops are then copied from the first one.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.graph.rewrite.copied_ops import Copy, Original, Shape
from ckpttool.runtime.configure import tensorflow


@dataclass(frozen=True)
class _First:
    """The ops of the first layer of a kind, and the tensors that it reads and outputs."""

    ops: Original
    reads: Sequence[Any]
    gives: Sequence[Any]


class Alike:
    """The layers of a trace that can be copied, and the copies requested so far."""

    def __init__(self, shared: Any) -> None:
        """Start without layers; `shared` is a tensor that all of them read."""
        self.copies: list[Copy] = []
        self._shared = shared
        self._first: dict[Hashable, _First] = {}
        self._scopes: set[str] = set()

    def of(self, kind: Hashable, reads: Sequence[Any], build: Callable[[], list[Any]]) -> list[Any]:
        """Return the result of `build`, or placeholders for it if a layer of this kind has been built.

        `build` adds ops in the current scope. Layers of one kind differ only in the tensors that they read and their
        sizes; no constant in a layer may depend on these.
        """
        scope = f"{tensorflow().compat.v1.get_default_graph().get_name_scope()}/"
        if scope in self._scopes or scope == "/" or any(each.shape.rank is None for each in reads):
            return build()
        self._scopes.add(scope)
        shapes = tuple(map(_shape_of, reads))
        first = self._first.get(kind) or self._first.get((kind, shapes))
        return self._built(scope, kind, reads, build) if first is None else self._standing(scope, first, reads)

    def _built(self, scope: str, kind: Hashable, reads: Sequence[Any], build: Callable[[], list[Any]]) -> list[Any]:
        graph = tensorflow().compat.v1.get_default_graph()
        before = len(graph.get_operations())
        given = build()
        ops = graph.get_operations()[before:]
        names, known = {op.name for op in ops}, {tensor.name for tensor in [*reads, self._shared]}
        outside = {tensor.name for op in ops for tensor in op.inputs if tensor.op.name not in names}
        own = all(name.startswith(scope) for name in names) and all(each.op.name in names for each in given)
        if own and outside <= known and all(each.value_index == 0 for each in given):
            original = Original(scope, [op.name for op in ops], [tensor.name for tensor in reads])
            shapes = tuple(map(_shape_of, reads))
            key = (kind, shapes) if any(map(_says_sizes, ops)) else kind
            self._first[key] = _First(original, reads, given)
        return given

    def _standing(self, scope: str, first: _First, reads: Sequence[Any]) -> list[Any]:
        pairs = list(zip(first.reads, reads, strict=True))
        self.copies.append(
            Copy(
                first.ops,
                scope,
                [tensor.name for tensor in reads],
                {_shape_of(before): _shape_of(after) for before, after in pairs},
            )
        )
        shapes = {_shape_of(before): after.shape for before, after in pairs}
        start, placeholder = len(first.ops.scope), tensorflow().compat.v1.placeholder
        return [
            placeholder(each.dtype, shapes.get(_shape_of(each), each.shape), each.op.name[start:])
            for each in first.gives
        ]


def _shape_of(tensor: Any) -> Shape:
    return () if tensor.shape.rank is None else tuple(-1 if size is None else size for size in tensor.shape)


def _says_sizes(op: Any) -> bool:
    """Return whether an op is a constant with several numbers, such as a shape, or a number for each channel."""
    return bool(op.type == "Const" and op.outputs[0].shape.rank != 0 and op.outputs[0].shape.num_elements() != 0)
