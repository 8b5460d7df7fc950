"""Parametrised weights in PyTorch's files: the parts of each stand in its place; here it is seen whole again.

`torch.nn.utils.weight_norm` saves `weight_g` and `weight_v`, `spectral_norm` `weight_orig`, `weight_u` and `weight_v`,
`prune` `weight_orig` and `weight_mask`; `torch.nn.utils.parametrizations` saves all below `parametrizations.weight`.
A part alone is no weight of the network: nothing is made of one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.foreign.layouts.conv import Transposed
from ckpttool.foreign.layouts.layout import Layout
from ckpttool.foreign.layouts.parametrised import Parametrisation, Pruned, SpectralNorm, WeightNorm
from ckpttool.foreign.rules import Rule


class Form(NamedTuple):
    """How parts are called: by the ends of their names behind what they share; what is at the end may be missing."""

    first: re.Pattern[str]
    ends: tuple[str, ...]
    optional: int
    layout: Layout


_OLD = r"(?P<before>.*)(?P<weight>(?<![^./])\w+)_"
_NEW = r"(?P<before>(?:.*[./])?)parametrizations[./](?P<weight>\w+)[./]"
FORMS = (
    Form(re.compile(_NEW + "original0"), ("original0", "original1"), 0, WeightNorm()),
    Form(re.compile(_NEW + "original"), ("original", "0._u", "0._v"), 0, SpectralNorm()),
    Form(re.compile(_OLD + "g"), ("g", "v"), 0, WeightNorm()),
    Form(re.compile(_OLD + "orig"), ("orig", "u", "v"), 1, SpectralNorm()),
    Form(re.compile(_OLD + "orig"), ("orig", "mask"), 0, Pruned()),
)
_BELOW = re.compile(_NEW)
_PART = re.compile(_NEW + r".+|(?:.*[./])?(?:weight|bias)(?:_[ih]h_l\d+(?:_reverse)?)?_(?:g|v|orig)", re.DOTALL)
"""A name that only a part has."""


class Parametrised(NamedTuple):
    """A weight by the name that it has without its parametrisation, its parts, and what makes it of them."""

    name: str
    parts: tuple[str, ...]
    layout: Layout

    def __str__(self) -> str:
        return f"{self.name} is {self.layout} of {' '.join(self.parts)}"


@dataclass(frozen=True)
class Resolved:
    """A file with its weights whole; `made` has those that are computed, `alone` parts whose others are not known."""

    source: Checkpoint
    weights: Checkpoint
    made: Mapping[str, Parametrised]
    alone: frozenset[str]

    def laid_out(self, layouts: Mapping[str, Layout]) -> Checkpoint:
        """Return the weights, computed as the layouts say that they are used: PyTorch's defaults are by the layer."""
        tensors: dict[str, Tensor] = {}
        for name in layouts.keys() & self.made.keys():
            layout = self.made[name].layout
            if isinstance(layout, SpectralNorm) and layout.dim is None:
                layout = replace(layout, likely=int(isinstance(layouts[name], Transposed)))
                (tensors[name],) = layout.applied([self.source[part] for part in self.made[name].parts], [name])
        return self.weights.holding({**self.weights, **tensors}) if tensors else self.weights

    def problem(self, name: str) -> str:
        """Return why nothing is made of a tensor: it is a part of a weight that cannot be computed; '' else."""
        if name not in self.alone:
            return ""
        return (
            f"{name} is a part of a weight under a parametrisation that is not known here, or whose other parts are "
            "not there; torch.nn.utils.parametrize.remove_parametrizations before saving (of the older forms "
            "remove_weight_norm, remove_spectral_norm, prune.remove) gives the weight"
        )

    def require_whole(self, name: str) -> None:
        """Refuse a part of a weight that cannot be computed.

        Raises:
            PlanError: it is one.
        """
        if problem := self.problem(name):
            where = f"{self.weights.path.name}: " if self.weights.path else ""
            raise PlanError(f"{where}{problem}")


def resolved(file: Checkpoint, rules: Sequence[Rule] = ()) -> Resolved:
    """Return a file with its parametrised weights in the place of their parts; a rule may take all parts of one itself.

    >>> import numpy as np
    >>> parts = {"fc.weight_g": np.ones((2, 1)), "fc.weight_v": np.full((2, 4), 3.0), "fc.bias": np.zeros(2)}
    >>> whole = resolved(Checkpoint.of(parts)).weights
    >>> {name: tensor.shape for name, tensor in whole.items()}, whole["fc.weight"].read()[0, 0].item()
    ({'fc.weight': (2, 4), 'fc.bias': (2,)}, 0.5)

    Raises:
        PlanError: a rule takes a part alone.
    """
    found = list(_found(file))
    made = {each.name: each for each in found if not any(_takes_all(rule, each) for rule in rules)}
    for each in made.values():
        _refuse_part(file, each, rules)
    owner = {part: each for each in made.values() for part in each.parts}
    tensors: dict[str, Tensor] = {}
    for name, tensor in file.items():
        if name not in owner:
            tensors[name] = tensor
        elif name == owner[name].parts[0]:
            whole = owner[name]
            (tensors[whole.name],) = whole.layout.applied([file[part] for part in whole.parts], [whole.name])
    taken = {part for each in found for part in each.parts}
    alone = frozenset(name for name in file if name not in taken and _PART.fullmatch(name))
    return Resolved(file, file.holding(tensors) if made else file, made, alone)


def _found(file: Checkpoint) -> Iterator[Parametrised]:
    """Yield the weights whose parts are all there, of shapes that fit, and whose own name is free."""
    taken: set[str] = set()
    beside = _beside(file)
    for form in FORMS:
        for name in file:
            match = None if name in taken else form.first.fullmatch(name)
            if match is None:
                continue
            shared = name.removesuffix(form.ends[0])
            parts = tuple(part for end in form.ends if (part := shared + end) in file)
            shapes = [file[part].shape for part in parts]
            whole = match["before"] + match["weight"]
            fits = len(parts) >= len(form.ends) - form.optional and form.layout.made_of(shapes)
            if fits and whole not in file and beside.get(shared, set()) <= {*parts}:
                taken |= {*parts}
                yield Parametrised(whole, parts, form.layout.fitted(shapes))


def _beside(file: Checkpoint) -> dict[str, set[str]]:
    """Return all that is saved below each parametrised weight, which may be under several, or under one of its own."""
    beside: dict[str, set[str]] = {}
    for name in file:
        if match := _BELOW.match(name):
            beside.setdefault(match[0], set()).add(name)
    return beside


def _takes_all(rule: Rule, whole: Parametrised) -> bool:
    return len(rule.patterns) > 1 and any({*move.sources} == {*whole.parts} for move in rule.moves(whole.parts))


def _refuse_part(file: Checkpoint, whole: Parametrised, rules: Sequence[Rule]) -> None:
    """Refuse a rule that takes a part, and would not take the weight.

    Raises:
        PlanError: there is one.
    """
    for rule in rules:
        parts = [part for part in whole.parts if rule.takes(part)]
        if parts and not rule.takes(whole.name):
            where = f"{file.path.name}: " if file.path else ""
            alone = f"the rule {rule} takes {parts[0]} alone, which is only a part"
            raise PlanError(f"{where}{alone}: {whole}; a rule that takes {whole.name} gets the whole")


def is_parametrisation(transform: str | None) -> bool:
    """Say whether a rule's transform computes a weight of its parts.

    >>> is_parametrisation("weight_norm(of=conv)"), is_parametrisation("conv"), is_parametrisation(None)
    (True, False, False)
    """
    return any((transform or "").startswith(each.name) for each in Parametrisation.__subclasses__())
