"""What a report shows, as its verb has found it."""

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
"""Tensors of layers, and others, that a page has figures of: one of a thousand is about a megabyte."""
Commands = Callable[[str, str], Sequence[tuple[str, str]]]
"""What gives labels and command lines for a scope, by its name and the pattern that takes it."""


@dataclass(frozen=True)
class Judged:
    """What a model makes of rows: the figures of `evaluate`, the worst examples, and the diagnosis of its layers."""

    data: str
    figures: Row
    worst: Sequence[Mistake] = ()
    diagnoses: Sequence[Diagnosis] = ()
    no_diagnosis: str = ""


@dataclass(frozen=True)
class Against:
    """What a model is compared with, how it differs, and what that means."""

    path: Path
    diff: Diff
    verdict: Verdict
    spectra: Mapping[str, Spectrum]


@dataclass(frozen=True)
class Facts:
    """A model or a checkpoint, and what is known of it.

    Args:
        path: As it was given.
        about: What it is, in pairs of words.
        layers: As `layers` has them, in data-flow order where that is known, with the kind and the shape of what each
            gives.
        tensors: A row of every tensor by its name: shape, dtype, bytes, kind, the figures and the histogram of `stats`.
        trained: Whether each weight is trained, where something says so.
        links: What leads to each layer, where something says so.
        lineage: As `log` has it.
        history: The epochs of the run that made it.
        filters: The kernel that is drawn, and its pictures.
        against: What it is compared with, and how it differs.
        judged: Evaluation.
        notes: What could not be found out, and why.
        commands: What a user may want to run of a layer.
        library: What the Hub calls the framework that it is of, if it is of one.
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
    judged: Judged | None = None
    notes: Sequence[str] = ()
    commands: Commands = lambda _name, _pattern: ()
    library: str | None = None

    @cached_property
    def shown(self) -> Sequence[Row]:
        """The layers that a page has: the first ones, up to `MOST_TENSORS` tensors."""
        return shown_layers(self.layers)

    @property
    def parameters(self) -> int:
        """How many numbers its weights have."""
        return sum(layer["parameters"] for layer in self.layers)


def shown_layers(layers: Sequence[Row]) -> Sequence[Row]:
    """Return the first layers of many, those whose tensors a page has room for, and one at least.

    >>> len(shown_layers([{"variables": ("kernel", "bias")}] * 25_000))
    750
    """
    counts = accumulate(len(layer["variables"]) for layer in layers)
    fitting = sum(1 for _ in takewhile(lambda count: count <= MOST_TENSORS, counts))
    return layers[: max(1, fitting)]
