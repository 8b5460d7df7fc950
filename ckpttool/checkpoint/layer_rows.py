"""The table of a model's layers that notebooks show: the tensors of each, and a histogram of their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from ckpttool.core.notebooks import MOST_BYTES, MOST_ROWS, distribution, shown_cell
from ckpttool.core.tensors import Tensor


def layer_rows(layers: Mapping[str, Sequence[Tensor]]) -> list[dict[str, Any]]:
    """Return a row for each layer: its tensors, its size, and a histogram of its numbers.

    Histograms are omitted if the tensors have more than `MOST_BYTES` in total.
    """
    reads = sum(tensor.nbytes for tensors in layers.values() for tensor in tensors) <= MOST_BYTES
    rows = []
    for name, tensors in list(layers.items())[: MOST_ROWS + 1]:
        shapes = ", ".join(f"{_below(tensor.name, name)} {shown_cell(tensor.shape)}".strip() for tensor in tensors)
        sizes = {"parameters": sum(tensor.spec.elements for tensor in tensors)}
        values = distribution(tensor.read() for tensor in tensors if tensor.dtype.is_number) if reads else None
        rows.append({"layer": name, "tensors": shapes, **sizes, "values": values})
    return [*rows, *({} for _ in range(len(layers) - len(rows)))]


def _below(name: str, layer: str) -> str:
    return name.removeprefix(layer).lstrip("/.") or name
