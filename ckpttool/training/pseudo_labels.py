"""Pseudo-labels (Lee 2013): unlabelled rows get a model's most confident predictions as labels for training."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.columns import Column
from ckpttool.data.dataset import training_rows
from ckpttool.data.doubts import sum_of_hashes
from ckpttool.data.fitting import fit_labels
from ckpttool.data.splits import Split
from ckpttool.training.bound import Bound
from ckpttool.training.options import PseudoLabels
from ckpttool.training.outputs import Meaning, meaning, softmax

LISTED = 10_000
"""Up to this number of rows per round, the report lists their indices; of more it has a digest."""


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows labelled by a model, by ascending index in the data, with the model's input shapes and dtypes."""

    rows: Split
    classes: Array
    probabilities: Array

    def added_to(self, bound: Bound) -> Bound:
        """Return a bound model whose training rows include these.

        Raises:
            DataError: they are stored with another shape or dtype.
        """
        train, *others = bound.splits
        spec = bound.wanted().labels
        column = Column(next(iter(self.rows.stored.values())).path, "pseudo-labels", self.classes)
        labels = fit_labels(column, replace(spec, steps=None)) if spec else None
        joined = train.followed_by(self.rows, None if labels is None else np.asarray(labels.array[:]))
        rows = counted(self.rows.rows, "row with a pseudo-label is", "rows with pseudo-labels are")
        note = f"{rows} trained on beside {train.rows} with labels"
        return replace(bound, splits=(joined, *others), notes=(*bound.notes, note))

    def facts(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the facts for a report: their number, probabilities, and the label of each row."""
        numbers = self.rows.numbers
        known = {
            names[number] if number < len(names) else str(number): numbers[self.classes == number].tolist()
            for number in np.unique(self.classes).tolist()
        }
        text = np.stack([numbers, self.classes]).astype("<i8").tobytes()
        return {
            "rows": self.rows.rows,
            "classes": {name: len(rows) for name, rows in known.items()},
            "probability": float(self.probabilities.mean()),
            "least_probability": float(self.probabilities.min()),
            "labelled": known if self.rows.rows <= LISTED else None,
            "digest": hashlib.blake2b(text, digest_size=16).hexdigest(),
        }


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Unlabelled rows that match a model's inputs, except those that it is trained or evaluated on with labels."""

    rows: Split
    free: Array

    @classmethod
    def of(cls, bound: Bound, pseudo: PseudoLabels, features: str | None, group: str | None) -> "Unlabelled":
        """Open the rows for a model that is bound to labelled rows.

        Raises:
            DataError: they do not match the model's inputs.
            PlanError: its outputs are not classes.
        """
        _classes_of(bound)
        rows = training_rows(pseudo.unlabelled, replace(bound.wanted(features, labels=False), group=group))
        names = list(rows.inputs)
        labelled = [sum_of_hashes([split.inputs[name] for name in names]) for split in bound.splits]
        own = sum_of_hashes([rows.inputs[name] for name in names])
        return cls(replace(rows, labels=None, labels_stored=None), ~np.isin(own, np.concatenate(labelled)))

    @property
    def note(self) -> str:
        """A note with the number of rows."""
        left_out = len(self.free) - int(self.free.sum())
        without = f", {left_out} of them are labelled rows by their inputs, which are excluded" if left_out else ""
        return f"{counted(self.rows.rows, 'row')} without labels{without}"

    def labelled_by(self, bound: Bound, pseudo: PseudoLabels) -> tuple[LabelledRows | None, float]:
        """Return the rows with the most confident predictions, None if there are none, and the highest probability."""
        feeds: Mapping[str, Any] = {f"{name}:0": array for name, array in self.rows.inputs.items()}
        stream = bound.inference([str(bound.roles.logits)], feeds)
        outputs = np.concatenate([given for _, (given,) in stream.over(feeds, self.rows.rows)])
        probabilities = _probabilities(_classes_of(bound), outputs, bound)
        classes, highest = probabilities.argmax(axis=1), probabilities.max(axis=1)
        chosen = surest(classes, highest, pseudo.share, self.free & (highest >= pseudo.sure), self.free)
        best = float(highest[self.free].max(initial=0.0))
        if not len(chosen):
            return None, best
        return LabelledRows(self.rows.part("pseudo", chosen), classes[chosen], highest[chosen]), best


def surest(classes: Array, highest: Array, share: float, sure: Array, free: Array) -> Array:
    """Return the indices of the most confident rows: a share of those predicted for each class, if sure enough.

    >>> classes, highest = np.array([0, 0, 0, 0, 1, 1]), np.array([0.9, 0.6, 0.8, 0.7, 0.6, 0.55])
    >>> surest(classes, highest, 0.5, highest > 0.5, highest > 0).tolist()
    [0, 2, 4]
    """
    chosen = []
    for number in np.unique(classes[free]):
        rows = np.flatnonzero((classes == number) & free)
        first = rows[np.argsort(-highest[rows], kind="stable")][: ceil(share * len(rows))]
        chosen.append(first[sure[first]])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def _classes_of(bound: Bound) -> Meaning:
    """Return the meaning of a model's outputs, which must be classes.

    Raises:
        PlanError: they are not classes.
    """
    graph, roles = bound.model.graph, bound.roles
    means = meaning(graph, roles, roles.logits) if roles.logits else None
    if means is None or means.predicts == "numbers":
        found = "are numbers" if means else "are not known to be such"
        raise PlanError(f"{bound.model.path}: `pseudo_label` is for classification; the outputs {found}")
    return means


def _probabilities(means: Meaning, outputs: Array, bound: Bound) -> Array:
    """Return the probability of each class for each row; of a single binary output, that of both classes.

    Raises:
        PlanError: a row can have several labels.
    """
    one = outputs.shape[-1] == 1 or outputs.ndim == 1
    if outputs.ndim > 2 or (means.predicts == "labels" and not one):
        found = f"outputs of {list(outputs.shape[1:])} for a row, of which several hold"
        raise PlanError(f"{bound.model.path}: `pseudo_label` is for one class per example, found {found}")
    if not one:
        return (means.probabilities or softmax)(outputs)
    if means.probabilities is None:
        raise PlanError(f"{bound.model.path}: `pseudo_label` needs probabilities, which its loss does not define")
    holds = means.probabilities(outputs.reshape(-1))
    return np.stack([1 - holds, holds], axis=1)
