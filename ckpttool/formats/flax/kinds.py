"""Kinds of tensors inferred from their paths in a train state of Flax, Optax or Orbax."""

import re
from collections.abc import Iterable, Mapping

from ckpttool.core.variable_kinds import TensorKind

SLOT = re.compile(r"(.*/)?(opt_state|optimizer/state|state/param_states)/.+")
STEP = re.compile(r"(.*/)?(step|state/step)")


def kinds_of(names: Iterable[str]) -> Mapping[str, TensorKind]:
    """Return which tensors are optimizer slots and which are step counters, by name.

    >>> kinds_of(["params/Dense_0/kernel", "opt_state/0/mu/Dense_0/kernel", "step"])
    {'opt_state/0/mu/Dense_0/kernel': 'slot', 'step': 'step'}
    """
    found: dict[str, TensorKind] = {}
    for name in names:
        if STEP.fullmatch(name):
            found[name] = "step"
        elif SLOT.fullmatch(name):
            found[name] = "slot"
    return found
