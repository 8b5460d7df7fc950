"""Distillation: the logits of a teacher model are computed once for the training rows, and fed with them."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError, PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.dataset import training_splits
from ckpttool.data.files import Source
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.comparisons import comparison_kind
from ckpttool.graph.roles.logits import logits_below
from ckpttool.graph.roles.resolve import Roles
from ckpttool.graph.roles.served import result_of
from ckpttool.model.model import Model
from ckpttool.runtime.distillation import Distillation
from ckpttool.training.bound import Bound
from ckpttool.training.options import Options

KINDS = ("softmax", "sigmoid")
"""The losses with which the logits of a teacher can be compared."""


def distillation_of(graph: Graph, roles: Roles, options: Options) -> Distillation | None:
    """Return the distillation loss; None without a teacher.

    Raises:
        PlanError: the loss does not compare distributions, or the options' numbers are invalid.
    """
    if options.teacher is None:
        return None
    kind = comparison_kind(graph, roles.loss, roles.logits) if roles.loss and roles.logits else None
    if roles.logits is None or kind not in KINDS:
        found = f"which is {kind}" if kind else "whose logits are not known"
        expected = "expected a cross entropy of a softmax or of sigmoids: an `objective` puts one on the outputs"
        raise PlanError(f"{graph.source}: `teacher` has nothing to be compared with in the loss, {found}; {expected}")
    return Distillation(roles.logits, str(kind), options.temperature, options.teacher_weight)


def with_teacher(bound: Bound, options: Options, data: Source) -> Bound:
    """Return a bound model with the teacher's logits for the training rows, computed with the teacher's preprocessing.

    Raises:
        PlanError: the graph's own training op has no distillation loss.
        DataError: the teacher has another number of outputs, or does not accept the rows.
    """
    if options.teacher is None:
        return bound
    if options.recipe is None:
        raise PlanError("`training_op` trains what it was made for: leave `teacher` out")
    distillation_of(bound.model.graph, bound.roles, options)
    teacher = Bound.of(Model.open(options.teacher), needed=("inputs",), seed=options.seed)
    wanted, own = teacher.wanted(options.features, labels=False), bound.wanted(options.features)
    wanted = replace(wanted, labels=own.labels, beside=(), group=options.held_out.group, classes=own.classes)
    split, _ = training_splits(data, wanted, options.held_out)
    if not np.array_equal(split.numbers, bound.splits[0].numbers):
        raise DataError(f"{data}: {options.teacher} takes other rows to train on than {bound.model.path}")
    rows = {f"{name}:0": array for name, array in split.inputs.items()}
    output = teacher.roles.logits or result_of(teacher.model.graph, "logits").tensor
    logits = logits_below(teacher.model.graph, output).tensor
    taught = np.concatenate([given for _, (given,) in teacher.inference([logits], rows).over(rows, split.rows)])
    _check(bound, taught, options.teacher)
    given = f"{logits} of {counted(split.rows, 'row')}"
    said = f"`teacher` {options.teacher}: {given}, at temperature {options.temperature:g}"
    notes = [f"{said}, is {options.teacher_weight:g} of the loss that is minimised"]
    notes += ["the `teacher` has seen the rows as they are, without `augment`"] if options.augment else []
    return replace(bound, taught=taught.astype(np.float32), notes=(*bound.notes, *notes))


def _check(bound: Bound, taught: Array, teacher: str | Path) -> None:
    """Check that a teacher has as many outputs as the model."""
    row = bound.check_classes()
    if row is not None and taught.shape[1:] != tuple(row):
        found, expected = list(taught.shape[1:]), list(row)
        raise DataError(f"`teacher` {teacher} gives {found} numbers for a row, {bound.model.path} has {expected}")


def fingerprint_of(bound: Bound) -> str | None:
    """Return the fingerprint of a teacher's logits; None without a teacher."""
    return None if bound.taught is None else f"{zlib.crc32(bound.taught.tobytes()):08x}"
