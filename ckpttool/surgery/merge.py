"""Checkpoints merged into one: all of their tensors, those that they share, or something between their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.lineage.provenance import Provenance
from ckpttool.surgery.merging import METHODS
from ckpttool.surgery.merging.agreement import SHOWN, Joined, join, label
from ckpttool.surgery.merging.choices import Choices

Prefer = Literal["first", "last"]
NAMES = ("union", "intersection")
"""Ways to merge that choose tensors by their names, and compute nothing."""
HOWS = (*NAMES, *METHODS)
EQUAL = Choices()
"""Nothing chosen: every checkpoint counts alike."""


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
    prefer: Prefer | None = None,
    base: Checkpoint | None = None,
    choices: Choices = EQUAL,
    lenient: bool = False,
    kind: Mapping[str, str] | None = None,
) -> Joined:
    """Plan what several checkpoints become.

    `union` has the tensors of all, `intersection` those that all have; of a name that several have, `prefer` says whose
    it is. The other ways (`METHODS`) compute weights that share names; ties and dare need the `base` that the models
    were trained from. `kind` says what is a weight in the last one, where more than the names is known.

    Raises:
        PlanError: a union has a name twice and nothing is preferred; weights do not agree; an option does not fit.
    """
    _require_fit(how, prefer, base, choices)
    if how in NAMES:
        return _by_names(checkpoints, how, prefer)
    wanted = METHODS[how].sources
    if wanted not in (None, len(checkpoints)):
        raise PlanError(f"{how} merges {wanted} checkpoints, not {len(checkpoints)}")
    shares = replace(choices, weights=choices.shares(len(checkpoints)))
    sources = checkpoints if base is None else [base, *checkpoints]
    return join(sources, lambda tensors: _merged(how, tensors, base is not None, shares), how, lenient, kind)


def _require_fit(how: str, prefer: Prefer | None, base: Checkpoint | None, choices: Choices) -> None:
    """Check that what was chosen means something to a way of merging, and is in range."""
    if how not in HOWS:
        raise PlanError(f"nothing is merged by {how!r}; there are {', '.join(HOWS)}")
    heeds = ("prefer",) if how in NAMES else METHODS[how].heeds
    given = {"prefer": prefer, "base": base, **vars(choices)}
    for option, value in given.items():
        if value is not None and option not in heeds:
            raise PlanError(f"`{option}` means nothing to {how}{_heeded(heeds)}")
    if "base" in heeds and base is None:
        raise PlanError(f"{how} needs `base`, the checkpoint that the others were trained from")
    for option, least in {"t": 0.0, "density": 1e-9}.items():
        value = given[option]
        if isinstance(value, float) and not least <= value <= 1:
            raise PlanError(f"`{option}` {value:g}: expected a number from 0 to 1{', and not 0' * bool(least)}")


def _heeded(options: Sequence[str]) -> str:
    return f", which takes {', '.join(f'`{option}`' for option in options)}" if options else ""


def _merged(how: str, tensors: list[Tensor], with_base: bool, choices: Choices) -> Tensor:
    base, models = (tensors[0], tensors[1:]) if with_base else (None, tensors)
    return METHODS[how].merge(models, base, choices)


def _by_names(checkpoints: Sequence[Checkpoint], how: str, prefer: Prefer | None) -> Joined:
    """Choose tensors by their names; an object graph, which has places for one checkpoint's alone, is left out."""
    if len(checkpoints) < 2:
        raise PlanError(f"{len(checkpoints)} checkpoints, expected two or more")
    owners: dict[str, list[int]] = {}
    for number, source in enumerate(checkpoints):
        for name in source:
            owners.setdefault(name, []).append(number)
    objects = owners.pop(OBJECT_GRAPH, [])
    if how == "union" and prefer is None:
        _refuse_collisions(owners, checkpoints)
    if how == "intersection":
        owners = {name: numbers for name, numbers in owners.items() if len(numbers) == len(checkpoints)}
    chosen = {name: numbers[-1 if prefer == "last" else 0] for name, numbers in owners.items()}
    kept = {name: checkpoints[number][name] for name, number in chosen.items()}
    if not kept:
        raise PlanError("no tensor is in all of the checkpoints")
    labels = [label(source, number) for number, source in enumerate(checkpoints)]
    rows = tuple(kept[name].spec.row() | {"then": f"from {labels[number]}"} for name, number in chosen.items())
    notes = ("left out: the object graphs, which say where the tensors of one checkpoint belong",) if objects else ()
    texts = {key: text for source in _weakest_first(checkpoints, prefer) for key, text in source.metadata.items()}
    left_out = dict.fromkeys(name for source in checkpoints for name in source.left_out)
    made_of = Provenance.joined(*(source.provenance for source in checkpoints))
    return Joined(Checkpoint(kept, metadata=texts, left_out=tuple(left_out), provenance=made_of), rows, notes)


def _weakest_first(checkpoints: Sequence[Checkpoint], prefer: Prefer | None) -> Sequence[Checkpoint]:
    """Return the checkpoints so that what is preferred comes last, and stays."""
    return checkpoints if prefer == "last" else checkpoints[::-1]


def _refuse_collisions(owners: Mapping[str, list[int]], checkpoints: Sequence[Checkpoint]) -> None:
    twice = {name: numbers for name, numbers in owners.items() if len(numbers) > 1}
    if not twice:
        return
    listed = [
        f"{name} is in {' and '.join(label(checkpoints[number], number) for number in numbers)}"
        for name, numbers in list(twice.items())[:SHOWN]
    ]
    more = f"; and {len(twice) - SHOWN} more" if len(twice) > SHOWN else ""
    raise PlanError(f"{'; '.join(listed)}{more}; `prefer` says whose to take")
