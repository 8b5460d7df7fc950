"""Show: one tensor with its values, statistics and a histogram, as text and as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import UnknownName
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array, Tensor
from ckpttool.model.resolve import open_checkpoint
from ckpttool.surgery.summary import Histogram, Summary, has_numbers, histogram, summarize, text_values

MOST = 1000
"""Up to this number of elements, all are shown."""


@dataclass(frozen=True)
class TensorReport:
    """A tensor and its statistics; strings have no statistics, and variants no values."""

    tensor: Tensor
    values: Array | None
    summary: Summary | None
    histogram: Histogram | None
    full: bool

    def row(self) -> dict[str, Any]:
        """Return the fields for JSON; `values` has the nesting of the tensor, None if there are too many."""
        few = self.values is not None and (self.full or self.values.size <= MOST)
        return {
            **self.tensor.spec.row(),
            "summary": self.summary.row() if self.summary else None,
            "histogram": self.histogram.row() if self.histogram else None,
            "values": _nested(self.values) if few and self.values is not None else None,
        }

    def lines(self) -> Iterator[str]:
        """Yield lines of text."""
        spec = self.tensor.spec
        yield f"{spec.name}  {list(spec.shape)}  {spec.dtype}  {counted(spec.nbytes, 'byte')}"
        if self.values is not None:
            yield from self._numbers(self.values).splitlines()
        if self.summary is not None:
            yield "  ".join(f"{name} {_short(value)}" for name, value in self.summary.row().items())
        if self.histogram is not None:
            yield from self.histogram.lines()

    def _numbers(self, values: Array) -> str:
        threshold = values.size if self.full else MOST
        return np.array2string(values, threshold=threshold, max_line_width=100, separator=", ")


def tensor_report(path: Path, name: str, full: bool = False) -> TensorReport:
    """Read a tensor of a checkpoint and return its report; `full` keeps all of its values.

    Raises:
        UnknownName: the tensor does not exist; the message has the nearest name.
        CorruptCheckpoint: its checksum does not match.
    """
    tensors = open_checkpoint(path)
    if name not in tensors:
        if below := [each for each in tensors if each.startswith((f"{name}/", f"{name}."))]:
            raise UnknownName(f"{path}: {name} is a layer, expected one of its tensors: {listed(below)}")
        raise UnknownName(f"{path}: no tensor named {name}{suggestion(name, tensors)}")
    tensor = tensors[name]
    if has_numbers(tensor):
        summary = summarize(tensor)
        return TensorReport(tensor, tensor.read(), summary, histogram(tensor, summary), full)
    texts = text_values(tensor)
    values = np.array(texts, object).reshape(tensor.shape) if texts or not tensor.spec.elements else None
    return TensorReport(tensor, values, None, None, full)


def _nested(values: Array) -> Any:
    """Return values as nested lists of Python numbers, complex ones as pairs."""
    if values.dtype.kind == "c":
        return np.stack([values.real, values.imag], -1).tolist()
    return values.tolist() if values.dtype.kind in "biufO" else values.astype(np.float64).tolist()


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
