"""Pseudo-labels (Lee 2013): rows without labels get those that a model is surest of, to be trained on beside others."""

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
"""Rows of a round of which the report has each number; of more it has a digest."""


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows that a model has labelled, by their numbers in the data, which ascend; fitted as the model's own are."""

    rows: Split
    classes: Array
    probabilities: Array

    def added_to(self, bound: Bound) -> Bound:
        """Return a model bound to its rows with these beside those that it is trained on.

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
        """Return what a report has of them: how many, how sure, and which rows got which label."""
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
    """Rows without labels that a model can take, but for those that it is trained on, or judged by, with labels."""

    rows: Split
    free: Array

    @classmethod
    def of(cls, bound: Bound, pseudo: PseudoLabels, features: str | None, group: str | None) -> "Unlabelled":
        """Read the rows for a model that is bound to labelled ones.

        Raises:
            DataError: they do not fit the model.
            PlanError: its outputs are no classes.
        """
        _classes_of(bound)
        rows = training_rows(pseudo.unlabelled, replace(bound.wanted(features, labels=False), group=group))
        names = list(rows.inputs)
        labelled = [sum_of_hashes([split.inputs[name] for name in names]) for split in bound.splits]
        own = sum_of_hashes([rows.inputs[name] for name in names])
        return cls(replace(rows, labels=None, labels_stored=None), ~np.isin(own, np.concatenate(labelled)))

    @property
    def note(self) -> str:
        """How many rows there are, for a person."""
        left_out = len(self.free) - int(self.free.sum())
        without = f", {left_out} of them are labelled rows by their inputs, which are left out" if left_out else ""
        return f"{counted(self.rows.rows, 'row')} without labels{without}"

    def labelled_by(self, bound: Bound, pseudo: PseudoLabels) -> tuple[LabelledRows | None, float]:
        """Return the rows that a model is surest of, None where it is of none; and how sure it is of the surest."""
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
    """Return the numbers of the rows whose labels are surest: of each class a share of those that have it, if sure.

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
    """Return how the outputs of a model are classes.

    Raises:
        PlanError: they are none.
    """
    graph, roles = bound.model.graph, bound.roles
    means = meaning(graph, roles, roles.logits) if roles.logits else None
    if means is None or means.predicts == "numbers":
        found = "are numbers" if means else "are not known to be such"
        raise PlanError(f"{bound.model.path}: `pseudo_label` is for classification; the outputs {found}")
    return means


def _probabilities(means: Meaning, outputs: Array, bound: Bound) -> Array:
    """Return a probability of each class for each row, of one output that holds or not both.

    Raises:
        PlanError: several labels can hold for a row.
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
