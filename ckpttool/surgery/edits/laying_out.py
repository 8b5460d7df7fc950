"""Edits with the layouts of imports: kernels, cells and attentions in another framework's layout, and back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.names import listed
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.edits.edit import Edit, changed, slots_in_shape, taken
from ckpttool.surgery.edits.splitting import refuse_slots, replaced

if TYPE_CHECKING:
    from ckpttool.layouts.layout import Layout

_TEXT = re.compile(r"(?P<names>.+?)\s*=\s*(?P<layout>[a-z_]+\s*(?:\(.*\))?)", re.DOTALL)


@dataclass(frozen=True)
class LayOut(Edit):
    r"""Arrange kernels as in TensorFlow: 'RE=conv', 'RE=flatten(64)', any layout of imports.

    The layout is one of docs/layouts.md. For one with several tensors, there is a pattern for each, and a name for each
    result: `(.*)weight_ih_l0 (.*)weight_hh_l0 => \1kernel \1recurrent_kernel = lstm(torch, keras)`. Tensors with equal
    groups belong together.

    >>> import numpy as np
    >>> before = Checkpoint.of({"conv.weight": np.zeros((8, 3, 5, 5)), "conv.bias": np.zeros(8)})
    >>> {name: tensor.shape for name, tensor in LayOut.parse("conv.weight=conv").apply(before).items()}
    {'conv.weight': (5, 5, 3, 8), 'conv.bias': (8,)}
    """

    name: ClassVar[str] = "layout"
    notation: ClassVar[str] = "RE=LAYOUT"
    back: ClassVar[bool] = False
    patterns: tuple[str, ...]
    new: tuple[str, ...]
    layout: str
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=conv`, or `RE RE=>NEW NEW=lstm(torch, keras)`."""
        match = _TEXT.fullmatch(text.strip().replace("=>", "\0"))
        if not match:
            raise PlanError("expected 'RE=LAYOUT' such as '.*conv.*weight=conv'")
        old, arrow, new = match["names"].partition("\0")
        patterns, names = tuple(old.split()), tuple(new.split())
        if not patterns or bool(arrow) != bool(names) or (len(patterns) > 1 and not names):
            raise PlanError("expected 'RE=LAYOUT', or as many patterns as the layout has inputs: 'RE RE=>NEW=LAYOUT'")
        from ckpttool.layouts import parse_layout  # imports NumPy, which most edits do not need

        parse_layout(match["layout"])
        return cls(patterns, names, match["layout"])

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors in the layout; slots of tensors that keep their names are changed, too.

        Raises:
            UnknownName: a pattern matches nothing.
            PlanError: a tensor does not fit the layout, or has slots that cannot be changed with it.
        """
        if self.new:
            return self._together(ckpt)
        names = taken(ckpt, self.patterns[0], self.slots)
        return changed(
            ckpt, [*names, *slots_in_shape(ckpt, names)], lambda tensor: self._laid_out([tensor], [tensor.name])[0]
        )

    def _laid_out(self, tensors: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
        from ckpttool.layouts import parse_layout

        shapes = [tensor.shape for tensor in tensors]
        layout: Layout = parse_layout(self.layout) if self.back else parse_layout(self.layout).fitted(shapes)
        try:
            made = len(layout.source_shapes(shapes) if self.back else layout.shapes(shapes))
            if made != len(names):
                raise PlanError(f"{layout} makes {made} tensors, but there are {len(names)} names for them")
            return (layout.inverted if self.back else layout.applied)(tensors, names)
        except PlanError as error:
            raise PlanError(f"{listed([tensor.name for tensor in tensors], 4)}: {error}") from error

    def _together(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the results for the tensors of each group, with their new names."""
        expressions = [compiled(pattern) for pattern in self.patterns]
        groups: dict[tuple[str | None, ...], dict[int, re.Match[str]]] = {}
        for name in taken(ckpt, None, self.slots):
            for place, (expression, pattern) in enumerate(zip(expressions, self.patterns, strict=True)):
                if match := expression.fullmatch(quick(expression, name, pattern)):
                    if place in (group := groups.setdefault(match.groups(), {})):
                        raise PlanError(f"{pattern!r} matches {group[place][0]} and {name} with the same groups")
                    group[place] = match
                    break
        if not groups:
            raise UnknownName(f"nothing matches {' '.join(self.patterns)}")
        new: dict[str, list[Tensor]] = {}
        for found in groups.values():
            if missing := [pattern for place, pattern in enumerate(self.patterns) if place not in found]:
                there = listed([match[0] for match in found.values()])
                raise PlanError(f"{missing[0]!r} matches nothing that belongs to {there}")
            names = [found[place][0] for place in range(len(self.patterns))]
            try:
                targets = [found[0].expand(each) for each in self.new]
            except (re.error, IndexError) as error:
                raise PlanError(f"{' '.join(self.new)} has a group that {self.patterns[0]!r} lacks: {error}") from error
            new |= {name: list[Tensor]() for name in names}
            new[names[0]] = self._laid_out([ckpt[name] for name in names], targets)
        refuse_slots(ckpt, list(new), "laid out")
        return replaced(ckpt, new)


@dataclass(frozen=True)
class LayOutBack(LayOut):
    """The inverse of `layout`: arrange TensorFlow's kernels as in PyTorch, 'RE=conv'.

    >>> import numpy as np
    >>> before = Checkpoint.of({"fc/kernel": np.zeros((784, 300))})
    >>> LayOutBack.parse("fc/kernel=>fc.weight=dense").apply(before)["fc.weight"].shape
    (300, 784)
    """

    name: ClassVar[str] = "layout-back"
    back: ClassVar[bool] = True
