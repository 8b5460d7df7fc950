"""Merge checkpoints into one: the union or the intersection of their tensors, or a combination of their weights."""

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
from ckpttool.surgery.merging.agreement import JoinedCheckpoints, join, label, shortened, with_plan_step
from ckpttool.surgery.merging.alignment import Tokens, align
from ckpttool.surgery.merging.method import TaskVectorMethod, WeightMethod
from ckpttool.surgery.merging.scales import Scale, Scales
from ckpttool.surgery.merging.vocabulary import Vocabulary

Prefer = Literal["first", "last"]
NAMES = ("union", "intersection")
"""The merge methods that select tensors by name and compute nothing."""
HOWS = (*NAMES, *METHODS)
"""The names of all merge methods."""
ABOUT_TOKENS = ("tokens", "token_rows", "vocab_tensors")
"""The parameters that apply only with vocabularies."""


class MergeParameters(TypedDict, total=False):
    """The parameters of merge methods; None or empty means not given."""

    prefer: Prefer | None
    """Which checkpoint's tensor to take if several have the name (union, intersection)."""
    weights: tuple[float, ...] | None
    """The weight of each checkpoint (methods that have weights)."""
    t: float | None
    """The interpolation factor from the first to the second, 0 to 1 (slerp); how far to move at most (nearswap)."""
    density: float | None
    """The fraction of each task vector to keep, 0 to 1 (ties, dare, della, breadcrumbs, and their variants; sce)."""
    epsilon: float | None
    """How much more than `density` the largest elements are kept, and less the smallest (della, della-linear); the
    largest change that is none (ram)."""
    gamma: float | None
    """The fraction of each task vector to drop as outliers, 0 to 1 (breadcrumbs, breadcrumbs-ties)."""
    seed: int | None
    """The random seed (dare, della, and their variants)."""
    scale: Scale | None
    """The factor of the task vectors: one number, or one per pattern of tensors (methods with a base)."""
    tokens: Tokens | None
    """Which tokens the result has: those of `all` vocabularies, the last one's first, or only the `last` one's."""
    token_rows: Sequence[str]
    """Tokens with the model whose row all get, such as `<pad>=1` (the first model) or `<pad>=base`."""
    vocab_tensors: Sequence[str]
    """Patterns of the tensors with a row per token; by default they are found by size."""


def merge(checkpoints: Sequence[Checkpoint], how: str = "union", **options: Any) -> Checkpoint:
    """Return the merged checkpoint, computed lazily; see `plan_merge` for the options and errors.

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
    """Plan the merge of several checkpoints.

    Args:
        checkpoints: Two or more; the order matters to `prefer`, `weights` and what is taken from the last.
        how: `union` has the tensors of all, `intersection` the names common to all; the methods of `METHODS` combine
            weights of the same name.
        base: The common base model (methods on task vectors).
        vocab: The vocabulary of each checkpoint in order, then of the base: rows of the same token are merged (methods
            that combine weights).
        lenient: Skip weights whose shape or dtype differs; allow a union of an adapter with a model.
        parameters: The parameters of the method, described in `MergeParameters`.

    Raises:
        PlanError: a union has a duplicate name without `prefer`, or an adapter; weights differ in shape or dtype; a
            parameter is invalid or does not apply.
    """
    given = given_of({"base": base, "vocab": vocab, **parameters})
    method = _method(how, given)
    if method is not None:
        joined = _by_method(method, checkpoints, given, lenient)
    else:
        if how == "union" and not lenient:
            refuse_adapters(checkpoints)
        joined = _by_names(checkpoints, how, parameters.get("prefer"))
    return with_plan_step(joined, "merge", checkpoints, _as_written(how, given, lenient), base)


def given_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are neither None nor empty.

    >>> given_of({"t": 0.0, "base": None, "vocab": ()})
    {'t': 0.0}
    """
    return {name: value for name, value in parameters.items() if not (value is None or value in ((), []))}


def _method(how: str, given: Mapping[str, Any]) -> WeightMethod | TaskVectorMethod | None:
    """Return the method with its parameters, or None for `union` and `intersection`.

    Raises:
        PlanError: no method has the name, or a parameter does not apply or is invalid.
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
            raise PlanError(f"`{name}` does not apply to {how}{_parameters_text(own)}")
    if kind is None:
        return None
    parameters = {name: value for name, value in given.items() if name not in ("base", "vocab", *ABOUT_TOKENS)}
    return kind(**parameters | ({"scale": Scales.of(given["scale"])} if "scale" in given else {}))


def _parameters_text(own: Sequence[str]) -> str:
    """Return the parameters of a method, for a message; vocabularies alone are what every method of weights takes."""
    if list(own) == ["vocab"]:
        return ", which has no parameters"
    return f"; its parameters are {', '.join(f'`{each}`' for each in own)}"


def _by_method(
    method: WeightMethod | TaskVectorMethod,
    checkpoints: Sequence[Checkpoint],
    given: Mapping[str, Any],
    lenient: bool,
) -> JoinedCheckpoints:
    """Return the checkpoints merged by a method."""
    if method.sources not in (None, len(checkpoints)):
        raise PlanError(f"{method.name} merges {method.sources} checkpoints, not {len(checkpoints)}")
    notes = _divided(method.name, given.get("weights"), method.parts(len(checkpoints)))
    base: Checkpoint | None = given.get("base")
    if isinstance(method, TaskVectorMethod):
        method.scale.require_known(checkpoints[-1])
    if "vocab" in given:
        tokens: Tokens = given.get("tokens", "all")
        tensors, token_rows = given.get("vocab_tensors", ()), given.get("token_rows", ())
        aligned = align(checkpoints, given["vocab"], base, tokens, tensors, token_rows)
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
    """Return a note if `linear` normalises the given weights; it names the method that does not."""
    if weights is None or how != "linear" or math.isclose(total := sum(parts), 1):
        return []
    given, each = (",".join(f"{part / by:.4g}" for part in parts) for by in (1, total))
    return [
        f"a mean: the weights {given} are divided by their sum {total:g}, which gives {each}; `how` sum does not divide"
    ]


def _by_names(checkpoints: Sequence[Checkpoint], how: str, prefer: Prefer | None) -> JoinedCheckpoints:
    """Select tensors by name; object graphs are skipped, since each fits only its own checkpoint."""
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


def _as_written(how: str, given: Mapping[str, Any], lenient: bool) -> dict[str, Any]:
    """Return the parameters as the table of a plan's merge step, without the checkpoints."""
    said = {name.replace("_", "-"): value for name, value in given.items() if name != "base"}
    for name, written in (("weights", float), ("vocab", str), ("vocab-tensors", str), ("token-rows", str)):
        if name in said:
            said[name] = list(map(written, said[name]))
    if isinstance(scale := said.get("scale"), Mapping):
        said["scale"] = [f"{pattern}={value}" for pattern, value in scale.items()]
    elif scale is not None and not isinstance(scale, int | float):
        said["scale"] = list(scale)
    return {**said, "how": None if how == "union" else how, "lenient": lenient}
