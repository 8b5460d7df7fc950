"""Execution of a plan: its steps are applied in order to checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.lineage.derivation import ON
from ckpttool.plans.assertions import Checks
from ckpttool.plans.kinds import kind_of
from ckpttool.plans.script import Entry, Script, Value
from ckpttool.plans.step import PlanState, PlanStep, Taken
from ckpttool.surgery.edits.steps import Edited


@dataclass(frozen=True)
class Carried:
    """The result of a plan: the edited checkpoint of its last step, the source that it started from, and all steps.

    `checks` has the pending assertions on values; `flaws` is filled while values are read. `vocabulary` maps the
    tokens of the result to their rows, if a merge aligned vocabularies.
    """

    source: Checkpoint
    edited: Edited
    steps: tuple[Taken, ...]
    checks: Checks
    flaws: tuple[dict[str, str], ...]
    notes: tuple[str, ...]
    vocabulary: Mapping[str, int] = field(default_factory=dict)


def carry_out(script: Script, sources: Mapping[str, Checkpoint], values: Mapping[str, Value] | None = None) -> Carried:
    """Execute a plan; values are read only when the result is read.

    Args:
        script: The plan.
        sources: The checkpoints by their names in the plan; the first step applies to the first.
        values: Values of variables, which override those in the plan.

    >>> import numpy as np
    >>> steps = [{"rename": "fc=>out"}, {"assert": "out", "shape": ["?", "{width}"]}]
    >>> script = Script.of({"variables": {"width": 3}, "step": steps})
    >>> carried = carry_out(script, {"a": Checkpoint.of({"fc/kernel": np.zeros((2, 3))})})
    >>> [(taken.step, taken.names) for taken in carried.steps]
    [('rename fc=>out', ('out/kernel',)), ('assert out', ('out/kernel',))]

    Raises:
        CkptError: a step matches nothing or is refused, or an assertion fails; the message names the step.
    """
    edited = {name: Edited(ckpt.holding(dict(ckpt)), dict.fromkeys(ckpt, ())) for name, ckpt in sources.items()}
    state = PlanState(edited, dict(sources), next(iter(edited)))
    variables = {**script.variables, **(values or {})}
    done: list[Taken] = []
    for entry in script.steps:
        kind = kind_of(entry)
        for each in list(entry.unrolled(_names(entry, state), variables)):
            done.append(_done(kind, each, state))
    result, begun = state.checkpoints[state.current], state.begun[state.current]
    told = (tuple(done), state.checks, tuple(state.flaws), tuple(state.notes))
    return Carried(begun, result, *told, state.vocabularies.get(state.current, {}))


def _names(entry: Entry, state: PlanState) -> Checkpoint:
    """Return the tensor names that a loop iterates over."""
    return state.edited(str(entry.table.get(ON, state.current))).tensors


def _done(kind: PlanStep, entry: Entry, state: PlanState) -> Taken:
    """Execute a step; its errors start with its place in the plan."""
    try:
        kind.check(entry)  # again, now that variables have values
        return kind.apply(entry, state)
    except CkptError as error:
        if str(error).startswith(entry.place):
            raise
        raise type(error)(f"{entry.place}: {error}") from error
