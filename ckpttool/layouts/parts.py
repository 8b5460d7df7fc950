"""Finding parametrised weights in PyTorch's files: the parts of each, by names and shapes.

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
    """The names of parts: a pattern for the first, the endings of all, and how many of the last may be missing."""

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
"""The names that only parts have."""


class Parametrised(NamedTuple):
    """A weight: its name without the parametrisation, its parts, and the layout that computes it from them."""

    name: str
    parts: tuple[str, ...]
    layout: Parametrisation

    def __str__(self) -> str:
        return f"{self.name} is {self.layout} of {' '.join(self.parts)}"


def parametrised(file: Checkpoint) -> Iterator[Parametrised]:
    """Yield the weights whose parts are complete and have matching shapes, and whose own name is unused."""
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
    """Return a file with weights in the place of the first of their parts, without the parts.

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
    """Return all names below each parametrised weight, which may have several parametrisations, or a custom one."""
    beside: dict[str, set[str]] = {}
    for name in file:
        if match := _BELOW.match(name):
            beside.setdefault(match[0], set()).add(name)
    return beside


def is_part(name: str) -> bool:
    """Return whether a name is one that only parts of parametrised weights have.

    >>> is_part("fc.weight_g"), is_part("fc.weight")
    (True, False)
    """
    return _PART.fullmatch(name) is not None
