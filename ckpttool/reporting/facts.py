"""The contents of a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from ckpttool.surgery.diff import Diff
from ckpttool.surgery.differing.spectrum import Spectrum
from ckpttool.surgery.differing.verdict import Verdict
from ckpttool.surgery.filters import Filters
from ckpttool.training.diagnosis import Diagnosis
from ckpttool.training.mistakes import Mistake
from ckpttool.training.run import Epoch

Row = Mapping[str, Any]
MOST_TENSORS, MOST_OTHERS = 1500, 500
"""The largest number of tensors on a page, of layers and of others each: a page of a thousand is about a megabyte."""
Commands = Callable[[str, str], Sequence[tuple[str, str]]]
"""Returns labels and command lines for a scope, from its name and the pattern that matches it."""


@dataclass(frozen=True)
class ModelEvaluation:
    """The evaluation of a model: the metrics of `evaluate`, the worst examples, and a diagnosis of its layers."""

    data: str
    figures: Row
    worst: Sequence[Mistake] = ()
    diagnoses: Sequence[Diagnosis] = ()
    no_diagnosis: str = ""


@dataclass(frozen=True)
class Against:
    """A comparison with another model: its path, the differences, and a verdict."""

    path: Path
    diff: Diff
    verdict: Verdict
    spectra: Mapping[str, Spectrum]


@dataclass(frozen=True)
class Facts:
    """A model or a checkpoint, and the information about it.

    Args:
        path: Its path as specified.
        about: Its properties, as pairs of label and text.
        layers: The rows of `layers`, in data-flow order if known, with the kind of each layer and the shape of its
            output.
        tensors: Rows of all tensors by name: shape, dtype, bytes, kind, the statistics and the histogram of `stats`.
        trained: Whether each weight is trained, as far as known.
        links: The layers that each layer reads, as far as known.
        lineage: The rows of `log`.
        history: The epochs of the run that made it.
        filters: The kernel that is drawn, and its pictures.
        against: A comparison with another model.
        evaluation: The evaluation.
        notes: The information that is missing, and why.
        commands: Commands for a layer that a user may want to run.
        library: The Hub's name of the framework, if there is one.
    """

    path: Path
    about: Sequence[tuple[str, str]]
    layers: Sequence[Row]
    tensors: Mapping[str, Row]
    trained: Mapping[str, bool] = field(default_factory=dict)
    links: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lineage: Row = field(default_factory=dict)
    history: Sequence[Epoch] = ()
    filters: tuple[str, Filters] | None = None
    against: Against | None = None
    evaluation: ModelEvaluation | None = None
    notes: Sequence[str] = ()
    commands: Commands = lambda _name, _pattern: ()
    library: str | None = None

    @cached_property
    def shown(self) -> Sequence[Row]:
        """The layers on a page: the first ones, up to `MOST_TENSORS` tensors."""
        return shown_layers(self.layers)

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(layer["parameters"] for layer in self.layers)


def shown_layers(layers: Sequence[Row]) -> Sequence[Row]:
    """Return the first layers, as many as fit on a page with their tensors, but at least one.

    >>> len(shown_layers([{"variables": ("kernel", "bias")}] * 25_000))
    750
    """
    counts = accumulate(len(layer["variables"]) for layer in layers)
    fitting = sum(1 for _ in takewhile(lambda count: count <= MOST_TENSORS, counts))
    return layers[: max(1, fitting)]
