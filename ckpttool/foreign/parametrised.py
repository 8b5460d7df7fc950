"""Parametrised weights in PyTorch's files, which store parts of a weight: computes the weights from the parts.

A part on its own is not a weight of the network, and is not imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.foreign.rules import Rule
from ckpttool.layouts.conv import Transposed
from ckpttool.layouts.layout import Layout
from ckpttool.layouts.parametrised import Parametrisation, SpectralNorm
from ckpttool.layouts.parts import Parametrised, is_part, parametrised, with_wholes


@dataclass(frozen=True)
class Resolved:
    """A file with computed weights (`made`) instead of their parts; `alone` are parts of incomplete weights."""

    source: Checkpoint
    weights: Checkpoint
    made: Mapping[str, Parametrised]
    alone: frozenset[str]

    def laid_out(self, layouts: Mapping[str, Layout]) -> Checkpoint:
        """Return the weights, computed for the layers that use them: PyTorch's defaults depend on the layer."""
        tensors: dict[str, Tensor] = {}
        for name in layouts.keys() & self.made.keys():
            layout = self.made[name].layout
            if isinstance(layout, SpectralNorm) and layout.dim is None:
                layout = replace(layout, likely=int(isinstance(layouts[name], Transposed)))
                (tensors[name],) = layout.applied([self.source[part] for part in self.made[name].parts], [name])
        return self.weights.holding({**self.weights, **tensors}) if tensors else self.weights

    def problem(self, name: str) -> str:
        """Return the message that a tensor is a part of a weight that cannot be computed; empty if it is not."""
        if name not in self.alone:
            return ""
        return (
            f"{name} is a part of a weight under an unknown parametrisation, or whose other parts are missing; "
            "torch.nn.utils.parametrize.remove_parametrizations before saving (of the older forms "
            "remove_weight_norm, remove_spectral_norm, prune.remove) makes it a weight"
        )

    def require_whole(self, name: str) -> None:
        """Check that a tensor is not a part of a weight that cannot be computed.

        Raises:
            PlanError: it is such a part.
        """
        if problem := self.problem(name):
            where = f"{self.weights.path.name}: " if self.weights.path else ""
            raise PlanError(f"{where}{problem}")


def resolved(file: Checkpoint, rules: Sequence[Rule] = ()) -> Resolved:
    """Return a file with parametrised weights instead of their parts, unless a rule matches all parts of one.

    >>> import numpy as np
    >>> parts = {"fc.weight_g": np.ones((2, 1)), "fc.weight_v": np.full((2, 4), 3.0), "fc.bias": np.zeros(2)}
    >>> whole = resolved(Checkpoint.of(parts)).weights
    >>> {name: tensor.shape for name, tensor in whole.items()}, whole["fc.weight"].read()[0, 0].item()
    ({'fc.weight': (2, 4), 'fc.bias': (2,)}, 0.5)

    Raises:
        PlanError: a rule matches only some parts of a weight.
    """
    known = list(parametrised(file))
    made = {each.name: each for each in known if not any(_takes_all(rule, each) for rule in rules)}
    for each in made.values():
        _refuse_part(file, each, rules)
    taken = {part for each in known for part in each.parts}
    alone = frozenset(name for name in file if name not in taken and is_part(name))
    return Resolved(file, with_wholes(file, made.values()), made, alone)


def _takes_all(rule: Rule, whole: Parametrised) -> bool:
    return len(rule.patterns) > 1 and any({*move.sources} == {*whole.parts} for move in rule.moves(whole.parts))


def _refuse_part(file: Checkpoint, whole: Parametrised, rules: Sequence[Rule]) -> None:
    """Check that no rule matches a part of a weight, but not the weight.

    Raises:
        PlanError: a rule does.
    """
    for rule in rules:
        parts = [part for part in whole.parts if rule.takes(part)]
        if parts and not rule.takes(whole.name):
            where = f"{file.path.name}: " if file.path else ""
            alone = f"the rule {rule} matches {parts[0]} alone, which is only a part"
            raise PlanError(f"{where}{alone}: {whole}; a rule that matches {whole.name} converts the whole")


def is_parametrisation(transform: str | None) -> bool:
    """Return whether a rule's transform computes a weight from its parts.

    >>> is_parametrisation("weight_norm(of=conv)"), is_parametrisation("conv"), is_parametrisation(None)
    (True, False, False)
    """
    return any((transform or "").startswith(each.name) for each in Parametrisation.__subclasses__())
