"""Find the tensors with a row per token, and the axis of the rows, by size or by pattern."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.patterns import Pattern
from ckpttool.surgery.merging.agreement import computable, label
from ckpttool.surgery.merging.vocabulary import Vocabulary

_WITH_AXIS = re.compile(r"(.*?)(?:,\s*axis\s*=\s*(-?\d+)\s*)?", re.DOTALL)


@dataclass(frozen=True)
class VocabularyTensors:
    """The checkpoints with their vocabularies; `last` is the index of the last model, which the base may follow."""

    checkpoints: Sequence[Checkpoint]
    vocabularies: Sequence[Vocabulary]
    last: int

    def axes(self, patterns: Sequence[str] = ()) -> dict[str, int]:
        """Return the axis of the token rows by tensor name.

        Args:
            patterns: `RE` or `RE, axis=1`; tensors that they match may have more rows than there are tokens.

        Raises:
            UnknownName: a pattern matches nothing.
            PlanError: no tensor fits, or a tensor fits along two axes.
        """
        if not patterns:
            return self._found()
        axes: dict[str, int] = {}
        ties = self.checkpoints[self.last].ties()
        for text in patterns:
            match = _WITH_AXIS.fullmatch(text)
            pattern, axis = (match[1].strip(), match[2]) if match else (text, None)
            taken = Pattern(pattern).select(self._comparable())
            for name in dict.fromkeys([*taken, *(alias for alias, kept in ties.items() if kept in taken)]):
                axes[name] = self._only_axis(name, None if axis is None else int(axis))
        return axes

    def _found(self) -> dict[str, int]:
        fitting = {name: self._axes_of(name) for name in self._comparable()}
        found = {name: axes for name, axes in fitting.items() if axes}
        if not found:
            raise PlanError(self._why_none())
        for name, axes in found.items():
            if len(axes) > 1:
                raise PlanError(
                    f"{self._shapes(name)}: axes {axes[0]} and {axes[1]} are both as long as the vocabulary; "
                    "`vocab_tensors` RE, axis=0 specifies the axis of the tokens"
                )
        return {name: axes[0] for name, axes in found.items()}

    def _comparable(self) -> list[str]:
        """Return the names of the non-empty weights that all checkpoints have, with the same rank."""
        everywhere = [
            name for name in computable(self.checkpoints[self.last]) if all(name in each for each in self.checkpoints)
        ]
        return [
            name
            for name in everywhere
            if len({len(each[name].shape) for each in self.checkpoints}) == 1
            and all(each[name].spec.elements for each in self.checkpoints)
        ]

    def _axes_of(self, name: str, exact: bool = True) -> list[int]:
        """Return the axes whose lengths equal the vocabulary sizes (or exceed them, unless `exact`).

        The other axes must be equal in all checkpoints.
        """
        shapes = [each[name].shape for each in self.checkpoints]
        sizes = [each.size for each in self.vocabularies]

        def fits(axis: int) -> bool:
            rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
            lengths = [shape[axis] for shape in shapes]
            enough = lengths == sizes or (not exact and all(map(int.__ge__, lengths, sizes)))
            return enough and len(rest) == 1

        return [axis for axis in range(len(shapes[0])) if fits(axis)]

    def _only_axis(self, name: str, given: int | None) -> int:
        """Return the axis of the token rows in a tensor that a pattern matches.

        Raises:
            PlanError: no axis fits, or two do and none is given.
        """
        rank = len(self.checkpoints[self.last][name].shape)
        axes = self._axes_of(name) or self._axes_of(name, exact=False)
        if given is not None:
            axes = [axis for axis in self._axes_of(name, exact=False) if axis in (given, given + rank)]
        if len(axes) == 1:
            return axes[0]
        sizes = ", ".join(f"{each.size} for {each}" for each in self.vocabularies)
        if not axes:
            raise PlanError(
                f"{self._shapes(name)}: no axis is long enough for the tokens and the only one that differs: {sizes}"
            )
        raise PlanError(
            f"{self._shapes(name)}: axes {axes[0]} and {axes[1]} are both long enough for the tokens "
            f"({sizes}); `vocab_tensors` RE, axis=0 specifies which"
        )

    def _shapes(self, name: str) -> str:
        shapes = {label(each, number): list(each[name].shape) for number, each in enumerate(self.checkpoints)}
        same = len({str(shape) for shape in shapes.values()}) == 1
        each = "" if same else f" ({'; '.join(f'{shape} in {where}' for where, shape in shapes.items())})"
        return f"{name} is {list(self.checkpoints[self.last][name].shape)}{each}"

    def _why_none(self) -> str:
        """Return the message for no fitting tensor: a vocabulary without such a dimension, and the next size."""
        remedy = "`vocab_tensors` RE specifies tensors that have more rows than there are tokens"
        for number, (ckpt, vocabulary) in enumerate(zip(self.checkpoints, self.vocabularies, strict=True)):
            lengths = {length: name for name, length in self._lengths(ckpt)}
            if vocabulary.size not in lengths:
                larger = min((length for length in lengths if length > vocabulary.size), default=None)
                near = f", the next longer is that of {lengths[larger]}, {larger}" if larger else ""
                return (
                    f"{vocabulary} has {vocabulary.size} tokens, and no weight of {label(ckpt, number)} has a "
                    f"dimension of {vocabulary.size}{near}; {remedy}"
                )
        sizes = ", ".join(f"{each.size} in {each}" for each in self.vocabularies)
        return f"no weight has a dimension as long as the vocabularies in all checkpoints: {sizes}; {remedy}"

    @staticmethod
    def _lengths(ckpt: Checkpoint) -> Iterator[tuple[str, int]]:
        for name in computable(ckpt):
            for length in ckpt[name].shape:
                yield name, length
