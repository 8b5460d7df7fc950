"""A plan that is carried out: its steps one after the other, on the checkpoints that it is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.lineage.derivation import ON
from ckpttool.plans.assertions import Checks
from ckpttool.plans.kinds import kind_of
from ckpttool.plans.script import Entry, Script, Value
from ckpttool.plans.step import PlanStep, Stage, Taken
from ckpttool.surgery.edits.steps import Edited


@dataclass(frozen=True)
class Carried:
    """What a plan made: the checkpoint that its last step worked on, the one that this began as, and each step.

    `checks` has the assertions that wait for values, `flaws` fill while these are read. `vocabulary` has the tokens of
    what was made, where a merge has joined several.
    """

    source: Checkpoint
    edited: Edited
    steps: tuple[Taken, ...]
    checks: Checks
    flaws: tuple[dict[str, str], ...]
    notes: tuple[str, ...]
    vocabulary: Mapping[str, int] = field(default_factory=dict)


def carry_out(script: Script, sources: Mapping[str, Checkpoint], values: Mapping[str, Value] | None = None) -> Carried:
    """Carry out a plan: no value is read before what it made is.

    Args:
        script: The plan.
        sources: The checkpoints by the names that its steps have for them; the first step works on the first.
        values: Variables in the places of those that the plan has.

    >>> import numpy as np
    >>> steps = [{"rename": "fc=>out"}, {"assert": "out", "shape": ["?", "{width}"]}]
    >>> script = Script.of({"variables": {"width": 3}, "step": steps})
    >>> carried = carry_out(script, {"a": Checkpoint.of({"fc/kernel": np.zeros((2, 3))})})
    >>> [(taken.step, taken.names) for taken in carried.steps]
    [('rename fc=>out', ('out/kernel',)), ('assert out', ('out/kernel',))]

    Raises:
        CkptError: a step takes nothing, is refused, or an assertion does not hold; the message has its place.
    """
    edited = {name: Edited(ckpt.holding(dict(ckpt)), dict.fromkeys(ckpt, ())) for name, ckpt in sources.items()}
    stage = Stage(edited, dict(sources), next(iter(edited)))
    variables = {**script.variables, **(values or {})}
    done: list[Taken] = []
    for entry in script.steps:
        kind = kind_of(entry)
        for each in list(entry.unrolled(_names(entry, stage), variables)):
            done.append(_done(kind, each, stage))
    result, begun = stage.checkpoints[stage.current], stage.begun[stage.current]
    told = (tuple(done), stage.checks, tuple(stage.flaws), tuple(stage.notes))
    return Carried(begun, result, *told, stage.vocabularies.get(stage.current, {}))


def _names(entry: Entry, stage: Stage) -> Checkpoint:
    """Return the names over which a loop goes."""
    return stage.edited(str(entry.table.get(ON, stage.current))).tensors


def _done(kind: PlanStep, entry: Entry, stage: Stage) -> Taken:
    """Do a step; its errors begin with its place."""
    try:
        kind.check(entry)  # once more, now that variables have their values
        return kind.apply(entry, stage)
    except CkptError as error:
        if str(error).startswith(entry.place):
            raise
        raise type(error)(f"{entry.place}: {error}") from error
