"""Parametrised weights in PyTorch's files: which tensors are the parts of one, by their names and shapes.

`torch.nn.utils.weight_norm` saves `weight_g` and `weight_v`, `spectral_norm` `weight_orig`, `weight_u` and `weight_v`,
`prune` `weight_orig` and `weight_mask`; `torch.nn.utils.parametrizations` saves all below `parametrizations.weight`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.tensors import Tensor
from ckpttool.layouts.parametrised import Parametrisation, Pruned, SpectralNorm, WeightNorm


class Form(NamedTuple):
    """How parts are called: by the ends of their names behind what they share; what is at the end may be missing."""

    first: re.Pattern[str]
    ends: tuple[str, ...]
    optional: int
    layout: Parametrisation


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
    layout: Parametrisation

    def __str__(self) -> str:
        return f"{self.name} is {self.layout} of {' '.join(self.parts)}"


def parametrised(file: Checkpoint) -> Iterator[Parametrised]:
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


def with_wholes(file: Checkpoint, wholes: Iterable[Parametrised]) -> Checkpoint:
    """Return a file with weights in the places of the first of their parts, and without the others.

    >>> import numpy as np
    >>> file = Checkpoint.of({"fc.weight_g": np.ones((2, 1)), "fc.weight_v": np.ones((2, 4)), "fc.bias": np.zeros(2)})
    >>> list(with_wholes(file, parametrised(file)))
    ['fc.weight', 'fc.bias']
    """
    owner = {part: each for each in wholes for part in each.parts}
    tensors: dict[str, Tensor] = {}
    for name, tensor in file.items():
        if name not in owner:
            tensors[name] = tensor
        elif name == owner[name].parts[0]:
            whole = owner[name]
            (tensors[whole.name],) = whole.layout.applied([file[part] for part in whole.parts], [whole.name])
    return file.holding(tensors) if owner else file


def _beside(file: Checkpoint) -> dict[str, set[str]]:
    """Return all that is saved below each parametrised weight, which may be under several, or under one of its own."""
    beside: dict[str, set[str]] = {}
    for name in file:
        if match := _BELOW.match(name):
            beside.setdefault(match[0], set()).add(name)
    return beside


def is_part(name: str) -> bool:
    """Say whether only a part of a parametrised weight has a name.

    >>> is_part("fc.weight_g"), is_part("fc.weight")
    (True, False)
    """
    return _PART.fullmatch(name) is not None
