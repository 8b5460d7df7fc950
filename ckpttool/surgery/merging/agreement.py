"""The weights that several checkpoints of one model share, and differences in their shapes, dtypes or names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.dtypes import FLOATS
from ckpttool.core.errors import PlanError
from ckpttool.core.notes import notes_about
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.lineage.derivation import Derivation
from ckpttool.lineage.provenance import Provenance
from ckpttool.surgery.blocks import arrays

SHOWN = 5
"""The maximum number of tensors named in an error."""


@dataclass(frozen=True)
class JoinedCheckpoints:
    """The merged checkpoint, with a row for every source tensor, and notes.

    `flaws` is filled while the tensors are read: notes on non-finite results, by name. `vocabulary` maps tokens to rows
    if several vocabularies were merged; `resized` lists the tensors with more rows than in the last checkpoint.
    """

    tensors: Checkpoint
    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    flaws: dict[str, str] = field(default_factory=dict)
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    resized: tuple[str, ...] = ()


def join(
    checkpoints: Sequence[Checkpoint],
    combine: Callable[[list[Tensor]], Tensor],
    what: str,
    lenient: bool = False,
) -> JoinedCheckpoints:
    """Combine the weights of several checkpoints of one model, and take everything else from the last.

    Only float and complex weights are combined; integers, strings, step counters, optimizer slots and the object graph
    are those of the last checkpoint. `what` is the entry of combined tensors in the rows; `lenient` skips weights that
    differ in shape or dtype, or that a checkpoint lacks.

    Raises:
        PlanError: there are fewer than two checkpoints, or weights differ; the message names them.
    """
    if len(checkpoints) < 2:
        raise PlanError(f"{counted(len(checkpoints), 'checkpoint')}, expected two or more")
    last, shared = checkpoints[-1], computable(checkpoints[-1])
    problems = _problems(checkpoints, shared)
    if problems and not lenient:
        raise PlanError(f"{shortened(list(problems.values()))}; `lenient` omits such tensors")
    joined = {name: None for name in shared if name not in problems}
    kept = {name: last[name] for name in last if name not in problems}
    flaws: dict[str, str] = {}
    kept |= {name: _combined(name, checkpoints, combine, flaws) for name in joined}
    fates = {name: what if name in joined else "from the last" for name in kept}
    fates |= {name: f"skipped: {why}" for name, why in problems.items()}
    specs = {name: tensor.spec for source in checkpoints for name, tensor in source.items() if name in fates}
    rows = [specs[name].row() | {"then": fate} for name, fate in fates.items()]
    return JoinedCheckpoints(
        last.holding(kept).made_of(Provenance.joined(*(source.provenance for source in checkpoints))),
        tuple(rows),
        tuple(notes_about("skipped", problems.values(), most=1)),
        flaws,
    )


def with_plan_step(
    joined: JoinedCheckpoints,
    how: str,
    checkpoints: Sequence[Checkpoint],
    options: Mapping[str, Any],
    base: Checkpoint | None = None,
) -> JoinedCheckpoints:
    """Return a copy whose lineage has the plan step (`merge` or `average`, with its options) that reproduces it."""
    derivations = [each.provenance.derivation for each in checkpoints]
    table = {
        how: derivations,
        **{name: value for name, value in options.items() if value is not None and value is not False},
    }
    if base is not None:
        derivations, table["base"] = [*derivations, base.provenance.derivation], base.provenance.derivation
    made = None if None in derivations else Derivation(table=table)
    return replace(joined, tensors=joined.tensors.made_of(replace(joined.tensors.provenance, derivation=made)))


def joinable(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Return the names of the float and complex weights, which all checkpoints of one model share.

    Raises:
        PlanError: weights differ; the message names them.
    """
    shared = computable(checkpoints[-1])
    if problems := _problems(checkpoints, shared):
        raise PlanError(shortened(list(problems.values())))
    return shared


def computable(tensors: Checkpoint) -> list[str]:
    """Return the names of the float and complex weights."""
    dtypes = {name: tensors[name].dtype.name for name, of in tensors.kinds().items() if of == "weight"}
    return [name for name, dtype in dtypes.items() if dtype in FLOATS or dtype.startswith("complex")]


def _problems(checkpoints: Sequence[Checkpoint], shared: Sequence[str]) -> dict[str, str]:
    """Return the weights that differ in shape or dtype, or are missing somewhere, with the difference."""
    last = checkpoints[-1]
    lost = [
        name for other in checkpoints[:-1] for name, of in other.kinds().items() if of == "weight" and name not in last
    ]
    return {name: why for name in [*shared, *lost] if (why := _disagreement(name, checkpoints))}


def label(tensors: Checkpoint, number: int) -> str:
    """Return a checkpoint's name for messages: its path, or its number, counted from 1."""
    return str(tensors.path) if tensors.path else f"checkpoint {number + 1}"


def _combined(
    name: str, checkpoints: Sequence[Checkpoint], combine: Callable[[list[Tensor]], Tensor], flaws: dict[str, str]
) -> Tensor:
    """Return the lazily combined tensor; reading it adds a note to `flaws` if a result is not finite."""
    tensors = [source[name] for source in checkpoints]

    def note() -> None:
        guilty = [label(checkpoints[n], n) for n, tensor in enumerate(tensors) if not is_finite(tensor)]
        whence = f"as in {', '.join(guilty)}" if guilty else "though no checkpoint does: its numbers are too large"
        flaws[name] = f"{name} has NaN or infinities, {whence}"

    return watched(combine(tensors), note)


def _disagreement(name: str, checkpoints: Sequence[Checkpoint]) -> str | None:
    """Return how a tensor differs between checkpoints, or None if it does not."""

    def described(spec: TensorSpec | None) -> str:
        return f"{spec.dtype} {list(spec.shape)}" if spec else "missing"

    specs = {label(source, n): source[name].spec if name in source else None for n, source in enumerate(checkpoints)}
    (first, expected), *others = specs.items()
    for where, spec in others:
        if (spec and (spec.shape, spec.dtype)) != (expected and (expected.shape, expected.dtype)):
            return f"{name} is {described(expected)} in {first}, {described(spec)} in {where}"
    return None


def shortened(problems: Sequence[str]) -> str:
    """Return problems joined for a message: the first `SHOWN`, and the number of the rest."""
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return f"{'; '.join(problems[:SHOWN])}{more}"


def watched(tensor: Tensor, note: Callable[[], None]) -> Tensor:
    """Return the tensor; reading it calls `note` if it has NaN or infinities.

    >>> flawed = []
    >>> watched(Tensor.of("x", np.array([1.0, np.nan])), lambda: flawed.append("x")).read().tolist(), flawed
    ([1.0, nan], ['x'])
    """
    little = tensor.dtype.numpy.newbyteorder("<")

    def pieces() -> Iterator[memoryview]:
        finite = True
        for piece in tensor.pieces():
            finite = finite and bool(np.isfinite(np.frombuffer(piece, little)).all())
            yield piece
        if not finite:
            note()

    def read() -> Array:
        whole = tensor.read()
        if not np.isfinite(whole).all():
            note()
        return whole

    return Tensor(tensor.spec, read, pieces, concurrent=tensor.concurrent)


def is_finite(tensor: Tensor) -> bool:
    """Return whether all numbers of a tensor are finite.

    >>> is_finite(Tensor.of("x", np.array([1.0, np.inf])))
    False
    """
    return all(np.isfinite(block).all() for block in arrays(tensor))
