"""Checkpoints merged into one: all of their tensors, those that they share, or something between their weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypedDict, Unpack

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.lineage.provenance import Provenance
from ckpttool.surgery.merging import METHODS
from ckpttool.surgery.merging.adapters import refuse_adapters
from ckpttool.surgery.merging.agreement import JoinedCheckpoints, join, label, shortened, told
from ckpttool.surgery.merging.alignment import Tokens, align
from ckpttool.surgery.merging.method import TaskVectorMethod, WeightMethod
from ckpttool.surgery.merging.scales import Scale, Scales
from ckpttool.surgery.merging.vocabulary import Vocabulary

Prefer = Literal["first", "last"]
NAMES = ("union", "intersection")
"""Ways to merge that choose tensors by their names, and compute nothing."""
HOWS = (*NAMES, *METHODS)
"""All ways, by name."""
ABOUT_TOKENS = ("tokens", "vocab_tensors")
"""What means something where vocabularies are given."""


class MergeParameters(TypedDict, total=False):
    """What ways to merge go by beside checkpoints; what is None or empty counts as not given."""

    prefer: Prefer | None
    """Whose tensor it is that several have (union, intersection)."""
    weights: tuple[float, ...] | None
    """How much each checkpoint counts (linear, sum, task-arithmetic, ties, dare, breadcrumbs)."""
    t: float | None
    """How far to go from the first to the second, 0 to 1 (slerp)."""
    density: float | None
    """The part of a task vector that is kept, 0 to 1 (ties, dare, breadcrumbs)."""
    gamma: float | None
    """The part of a task vector that is dropped as outliers, 0 to 1 (breadcrumbs)."""
    seed: int | None
    """The random seed (dare)."""
    scale: Scale | None
    """How far to go along task vectors: a number, or one for the tensors of a pattern (methods of a base)."""
    tokens: Tokens | None
    """Whose tokens the result has: of `all` vocabularies, the last one's first, or of the `last` alone."""
    vocab_tensors: Sequence[str]
    """Patterns of the tensors with a row for each token; else they are found by their size."""


def merge(checkpoints: Sequence[Checkpoint], how: str = "union", **options: Any) -> Checkpoint:
    """Return several checkpoints as one, computed as it is read; `plan_merge` has the options, and what is raised.

    >>> import numpy as np
    >>> low, top = Checkpoint.of({"hidden1/bias": np.zeros(3)}), Checkpoint.of({"outputs/bias": np.zeros(2)})
    >>> list(merge([low, top]))
    ['hidden1/bias', 'outputs/bias']
    """
    return plan_merge(checkpoints, how, **options).tensors


def plan_merge(
    checkpoints: Sequence[Checkpoint],
    how: str = "union",
    *,
    base: Checkpoint | None = None,
    vocab: Sequence[Vocabulary] = (),
    lenient: bool = False,
    **parameters: Unpack[MergeParameters],
) -> JoinedCheckpoints:
    """Plan what several checkpoints become.

    Args:
        checkpoints: Two or more, in the order in which they count.
        how: `union` has the tensors of all, `intersection` those that all have; the methods of `METHODS` compute
            weights that share names.
        base: What the models were trained from (task-arithmetic, ties, dare, breadcrumbs, model-stock).
        vocab: The vocabularies of the checkpoints in their order, and that of the base: rows of the same token are
            merged (methods that compute weights).
        lenient: Leave out weights on which the checkpoints do not agree; join an adapter to a model by their names.
        parameters: Those of the way, each described in `MergeParameters`.

    Raises:
        PlanError: a union has a name twice and nothing is preferred, or an adapter; weights do not agree; a parameter
            does not fit.
    """
    given = given_of({"base": base, "vocab": vocab, **parameters})
    method = _method(how, given)
    if method is not None:
        joined = _by_method(method, checkpoints, given, lenient)
    else:
        if how == "union" and not lenient:
            refuse_adapters(checkpoints)
        joined = _by_names(checkpoints, how, parameters.get("prefer"))
    return told(joined, "merge", checkpoints, _as_written(how, given, lenient), base)


def given_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are given.

    >>> given_of({"t": 0.0, "base": None, "vocab": ()})
    {'t': 0.0}
    """
    return {name: value for name, value in parameters.items() if not (value is None or value in ((), []))}


def _as_written(how: str, given: Mapping[str, Any], lenient: bool) -> dict[str, Any]:
    """Return what is given as a step of a plan has it, but for checkpoints."""
    said = {name.replace("_", "-"): value for name, value in given.items() if name != "base"}
    for name, written in (("weights", float), ("vocab", str), ("vocab-tensors", str)):
        if name in said:
            said[name] = list(map(written, said[name]))
    if isinstance(scale := said.get("scale"), Mapping):
        said["scale"] = [f"{pattern}={value}" for pattern, value in scale.items()]
    elif scale is not None and not isinstance(scale, int | float):
        said["scale"] = list(scale)
    return {**said, "how": None if how == "union" else how, "lenient": lenient}


def _by_method(
    method: WeightMethod | TaskVectorMethod,
    checkpoints: Sequence[Checkpoint],
    given: Mapping[str, Any],
    lenient: bool,
) -> JoinedCheckpoints:
    """Return what the checkpoints become by a method."""
    if method.sources not in (None, len(checkpoints)):
        raise PlanError(f"{method.name} merges {method.sources} checkpoints, not {len(checkpoints)}")
    notes = _divided(method.name, given.get("weights"), method.parts(len(checkpoints)))
    base: Checkpoint | None = given.get("base")
    if isinstance(method, TaskVectorMethod):
        method.scale.require_known(checkpoints[-1])
    if "vocab" in given:
        tokens: Tokens = given.get("tokens", "all")
        aligned = align(checkpoints, given["vocab"], base, tokens, given.get("vocab_tensors", ()))
        joined = aligned.on(_computed(method, aligned.models, aligned.base, lenient))
    else:
        joined = _computed(method, checkpoints, base, lenient)
    return replace(joined, notes=(*joined.notes, *notes))


def _computed(
    method: WeightMethod | TaskVectorMethod, checkpoints: Sequence[Checkpoint], base: Checkpoint | None, lenient: bool
) -> JoinedCheckpoints:
    if isinstance(method, WeightMethod):
        return join(checkpoints, method.merge, method.name, lenient)
    if base is None:
        raise PlanError(f"{method.name} needs `base`, the checkpoint that the others were trained from")
    return join([base, *checkpoints], lambda tensors: method.merge(tensors[1:], tensors[0]), method.name, lenient)


def _divided(how: str, weights: tuple[float, ...] | None, parts: Sequence[float]) -> list[str]:
    """Say that weights which were given are divided by their sum, and what adds them as they are."""
    if weights is None or how != "linear" or math.isclose(total := sum(parts), 1):
        return []
    given, each = (",".join(f"{part / by:.4g}" for part in parts) for by in (1, total))
    return [
        f"a mean: the weights {given} are divided by their sum {total:g}, which gives {each}; `how` sum does not divide"
    ]


def _method(how: str, given: Mapping[str, Any]) -> WeightMethod | TaskVectorMethod | None:
    """Return a method with its parameters, None for a way that goes by names.

    Raises:
        PlanError: no way has this name, or a parameter means nothing to it or is not valid.
    """
    if how not in HOWS:
        raise PlanError(f"unknown method {how!r}; known: {', '.join(HOWS)}")
    kind = METHODS.get(how)
    own = ["prefer"]
    if kind is not None:
        own = [*["base"] * issubclass(kind, TaskVectorMethod), *(field.name for field in fields(kind)), "vocab"]
        own += ABOUT_TOKENS if "vocab" in given else []
    for name in given:
        if name not in own:
            raise PlanError(
                f"`{name}` does not apply to {how}; its parameters are {', '.join(f'`{each}`' for each in own)}"
            )
    if kind is None:
        return None
    parameters = {name: value for name, value in given.items() if name not in ("base", "vocab", *ABOUT_TOKENS)}
    return kind(**parameters | ({"scale": Scales.of(given["scale"])} if "scale" in given else {}))


def _by_names(checkpoints: Sequence[Checkpoint], how: str, prefer: Prefer | None) -> JoinedCheckpoints:
    """Choose tensors by their names; an object graph, which has places for one checkpoint's alone, is left out."""
    if len(checkpoints) < 2:
        raise PlanError(f"{counted(len(checkpoints), 'checkpoint')}, expected two or more")
    labels = [label(source, number) for number, source in enumerate(checkpoints)]
    owners: dict[str, list[int]] = {}
    for number, source in enumerate(checkpoints):
        for name in source:
            owners.setdefault(name, []).append(number)
    objects = owners.pop(OBJECT_GRAPH, [])
    if how == "union" and prefer is None:
        twice = {name: numbers for name, numbers in owners.items() if len(numbers) > 1}
        problems = [f"{name} is in {' and '.join(labels[number] for number in at)}" for name, at in twice.items()]
        if problems:
            raise PlanError(f"{shortened(problems)}; `prefer` specifies which to use")
    if how == "intersection":
        owners = {name: numbers for name, numbers in owners.items() if len(numbers) == len(checkpoints)}
    chosen = {name: numbers[-1 if prefer == "last" else 0] for name, numbers in owners.items()}
    kept = {name: checkpoints[number][name] for name, number in chosen.items()}
    if not kept:
        raise PlanError("no tensor is in all checkpoints")
    rows = tuple(kept[name].spec.row() | {"then": f"from {labels[number]}"} for name, number in chosen.items())
    notes = ("skipped: the object graphs, as each is of one checkpoint",) if objects else ()
    strongest_last = checkpoints if prefer == "last" else checkpoints[::-1]
    texts = {key: text for source in strongest_last for key, text in source.metadata.items()}
    left_out = dict.fromkeys(name for source in checkpoints for name in source.left_out)
    made_of = Provenance.joined(*(source.provenance for source in checkpoints))
    return JoinedCheckpoints(
        Checkpoint(kept, metadata=texts, left_out=tuple(left_out), provenance=made_of), rows, notes
    )
