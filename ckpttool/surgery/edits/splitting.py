"""Splitting tensors that consist of several parts, such as a joint projection of query, key and value, and fusing."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.names import components, listed, scopes_above
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.surgery.edits.edit import Edit, taken, whole_numbers
from ckpttool.surgery.edits.shapes import axis_of, resized_shape

_EQUALS = re.compile(r"(?<![?<])=")
"""An equals sign that does not belong to a lookahead or lookbehind."""


@dataclass(frozen=True)
class Parts:
    """The arrangement of parts along an axis: consecutive, or within each of `heads`, with `sizes` there."""

    names: tuple[str, ...]
    axis: int = 0
    heads: int = 1
    sizes: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str, example: str) -> Self:
        """Parse `q,k,v, axis=0, heads=12, sizes=64:8:8`.

        Raises:
            PlanError: the text has another form.
        """
        names: list[str] = []
        given: dict[str, tuple[int, ...]] = {}
        for word in (each.strip() for each in text.split(",")):
            key, equals, value = (each.strip() for each in word.partition("="))
            if not equals:
                names.append(word)
            elif key in ("axis", "heads", "sizes") and key not in given:
                given[key] = whole_numbers(value.replace(":", ","), f"a number for {key}, or sizes=64:8:8")
            else:
                raise PlanError(f"{word!r} has no meaning here{suggestion(key, ['axis', 'heads', 'sizes'])}: {example}")
        if not all(names) or len({*names}) != len(names) or (given and min(map(len, given.values())) < 1):
            raise PlanError(f"expected distinct names of parts, and axis, heads or sizes: {example}")
        single = {key: value[0] for key, value in given.items() if key != "sizes" and len(value) == 1}
        if len(single) != len(given.keys() - {"sizes"}) or single.get("heads", 1) < 1:
            raise PlanError(f"axis and heads are one number each, heads above 0: {example}")
        return cls(tuple(names), single.get("axis", 0), single.get("heads", 1), given.get("sizes", ()))

    def sizes_of(self, tensor: Tensor) -> tuple[int, ...]:
        """Return the size of each part within a head.

        Raises:
            PlanError: the sizes do not fill the axis.
        """
        axis, count = axis_of(tensor, self.axis), len(self.names)
        within, rest = divmod(tensor.shape[axis], self.heads)
        here = f"{tensor.name} is {list(tensor.shape)}"
        if self.sizes:
            if len(self.sizes) != count or min(self.sizes) < 1 or sum(self.sizes) * self.heads != tensor.shape[axis]:
                each = f" for each of {self.heads} heads" if self.heads > 1 else ""
                sizes = ":".join(map(str, self.sizes))
                raise PlanError(f"{here}: sizes {sizes}{each} do not divide axis {self.axis} into {count} parts")
            return self.sizes
        if rest or within % count or not within:
            heads = f" in each of {self.heads} heads" if self.heads > 1 else ""
            raise PlanError(
                f"{here}: axis {self.axis} does not divide into {count} equal parts{heads}; `sizes=4:1:1` specifies "
                "the size of each"
            )
        return (within // count,) * count


@dataclass(frozen=True)
class SplitParts(Edit):
    """Split tensors along an axis: query, key and value of one projection.

    The last component that RE matches is replaced by the name of each part: with `.*c_attn=q,k,v, axis=-1`,
    `h.0.c_attn.weight` is split into `h.0.q.weight` and so on. Parts have equal sizes, or those of
    `sizes=4096:1024:1024`. With `heads=12`, the parts are within each head, as in GPT-NeoX and BLOOM.

    >>> import numpy as np
    >>> joined = Checkpoint.of({"h.0.c_attn.weight": np.zeros((2, 6)), "h.0.c_attn.bias": np.zeros(6)})
    >>> {name: tensor.shape for name, tensor in SplitParts.parse(".*c_attn=q,k,v, axis=-1").apply(joined).items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'h.0.q.weight': (2, 2), 'h.0.k.weight': (2, 2), 'h.0.v.weight': (2, 2),
     'h.0.q.bias': (2,), 'h.0.k.bias': (2,), 'h.0.v.bias': (2,)}
    """

    name: ClassVar[str] = "split-parts"
    notation: ClassVar[str] = "RE=q,k,v,axis=0"
    pattern: str
    parts: Parts

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=q,k,v, axis=0, heads=12`."""
        example = "'.*c_attn=q,k,v, axis=-1'"
        pattern, parts = _sides(text, example)
        read = Parts.parse(parts, example)
        if len(read.names) < 2:
            raise PlanError(f"expected two parts or more: {example}")
        return cls(pattern, read)

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors split.

        Raises:
            UnknownName: the pattern matches nothing.
            PlanError: a tensor cannot be split this way, has slots, or a part's name is taken.
        """
        names = taken(ckpt, self.pattern)
        refuse_slots(ckpt, names, "split")
        split = {name: list(self._split(ckpt[name])) for name in names}
        return replaced(ckpt, split)

    def _split(self, tensor: Tensor) -> Iterator[Tensor]:
        sizes, axis, heads = self.parts.sizes_of(tensor), axis_of(tensor, self.parts.axis), self.parts.heads
        scope, rest = _around(self.pattern, tensor.name)
        for place, (part, size) in enumerate(zip(self.parts.names, sizes, strict=True)):
            start = sum(sizes[:place])

            def read(start: int = start, size: int = size) -> Array:
                import numpy as np

                array = tensor.read()
                within = array.reshape(*array.shape[:axis], heads, -1, *array.shape[axis + 1 :])
                mine = within.take(range(start, start + size), axis + 1)
                return np.ascontiguousarray(mine.reshape(resized_shape(array.shape, axis, heads * size)))

            shape = tuple(resized_shape(tensor.shape, axis, heads * size))
            yield Tensor(TensorSpec(f"{scope}{part}{rest}", shape, tensor.dtype), read)


@dataclass(frozen=True)
class FuseParts(Edit):
    """Fuse tensors along an axis into one, the inverse of `split-parts`.

    RE matches the scopes that contain the parts: with `.*=q,k,v=>c_attn, axis=-1`, `h.0.q.weight`, `h.0.k.weight` and
    `h.0.v.weight` become `h.0.c_attn.weight`. With `heads=12`, the parts are arranged within each head.

    >>> import numpy as np
    >>> parts = Checkpoint.of({f"h.0.{part}.weight": np.zeros((2, 2)) for part in "qkv"})
    >>> {name: tensor.shape for name, tensor in FuseParts.parse(".*=q,k,v=>c_attn, axis=-1").apply(parts).items()}
    {'h.0.c_attn.weight': (2, 6)}
    """

    name: ClassVar[str] = "fuse-parts"
    notation: ClassVar[str] = "RE=q,k,v=>NEW,axis=0"
    pattern: str
    parts: Parts
    new: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=q,k,v=>NEW, axis=0, heads=12`."""
        example = "'.*attn=q,k,v=>qkv, axis=0'"
        before, arrow, after = text.partition("=>")
        new, _, options = (each.strip() for each in after.partition(","))
        pattern, parts = _sides(before, example)
        if not (arrow and new):
            raise PlanError(f"expected {example}")
        read = Parts.parse(f"{parts},{options}" if options else parts, example)
        if len(read.names) < 2 or read.sizes:
            raise PlanError(f"expected two parts or more, which have their own sizes: {example}")
        return cls(pattern, read, new)

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors fused.

        Raises:
            UnknownName: no scope that the pattern matches contains the parts.
            PlanError: a part is missing, the parts do not fit one another or have slots, or the new name is taken.
        """
        groups = self._groups(ckpt)
        refuse_slots(ckpt, [name for names in groups.values() for name in names], "fused")
        fused = {names[0]: [self._fused(new, [ckpt[name] for name in names])] for new, names in groups.items()}
        gone = {name: list[Tensor]() for names in groups.values() for name in names[1:]}
        return replaced(ckpt, fused | gone)

    def _groups(self, ckpt: Checkpoint) -> dict[str, list[str]]:
        """Return the names to be fused, by the new name."""
        expression = compiled(self.pattern)
        groups: dict[str, dict[str, str]] = {}
        for name, kind in ckpt.kinds().items():
            for scope in ["", *scopes_above(name)[:-1]] if kind == "weight" else ():
                below = name[len(scope) :]
                part = next((each for each in self.parts.names if _begins(below, each)), None)
                if part and expression.fullmatch(quick(expression, scope, self.pattern)):
                    sign = below[: 1 if scope else 0]
                    rest = below[len(sign) + len(part) :]
                    groups.setdefault(f"{scope}{sign}{self.new}{rest}", {})[part] = name
        if not groups:
            raise UnknownName(f"no scope that {self.pattern!r} matches has {listed(self.parts.names)}")
        for new, found in groups.items():
            missing = [part for part in self.parts.names if part not in found]
            if missing:
                there = listed(list(found.values()))
                raise PlanError(
                    f"{new} needs {listed(missing)}, but there is only {there}; a narrower pattern can exclude these"
                )
        return {new: [found[part] for part in self.parts.names] for new, found in groups.items()}

    def _fused(self, new: str, tensors: Sequence[Tensor]) -> Tensor:
        first, heads = tensors[0], self.parts.heads
        axis = axis_of(first, self.parts.axis)
        alike = {(tuple(resized_shape(tensor.shape, axis, 0)), tensor.dtype) for tensor in tensors}
        if len(alike) > 1 or any(tensor.shape[axis] % heads for tensor in tensors):
            shown = ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in tensors)
            each = f" in {heads} heads" if heads > 1 else ""
            raise PlanError(f"{shown} cannot be fused along axis {self.parts.axis}{each}")

        def read() -> Array:
            import numpy as np

            arrays = [tensor.read() for tensor in tensors]
            within = [each.reshape(*each.shape[:axis], heads, -1, *each.shape[axis + 1 :]) for each in arrays]
            return np.ascontiguousarray(np.concatenate(within, axis + 1).reshape(shape))

        shape = tuple(resized_shape(first.shape, axis, sum(tensor.shape[axis] for tensor in tensors)))
        return Tensor(TensorSpec(new, shape, first.dtype), read)


def replaced(ckpt: Checkpoint, new: dict[str, list[Tensor]]) -> Checkpoint:
    """Return a checkpoint in which some tensors are replaced by others, with different names.

    Raises:
        PlanError: two tensors would have the same name.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in ckpt.items():
        for each in new.get(name, [tensor]):
            if each.name in tensors or (each.name != name and each.name in ckpt and each.name not in new):
                raise PlanError(f"{each.name} would be there twice: {name} cannot be renamed to it")
            tensors[each.name] = each
    return ckpt.holding(tensors)


def refuse_slots(ckpt: Checkpoint, names: Sequence[str], what: str) -> None:
    """Check that the given variables have no slots.

    Raises:
        PlanError: one has a slot.
    """
    slots = [slot for slot, owner in ckpt.owners().items() if owner in {*names} and slot not in names]
    if slots:
        raise PlanError(
            f"{slots[0]} is a slot of what is {what}, and cannot be changed with it; `drop-slots` before this edit "
            "removes slots"
        )


def _sides(text: str, example: str) -> tuple[str, str]:
    """Split `RE=q,k,v, axis=0` into the pattern and the rest."""
    pattern, *parts = (each.strip() for each in _EQUALS.split(text, maxsplit=1))
    if not (pattern and parts and parts[0]):
        raise PlanError(f"expected {example}")
    return pattern, parts[0]


def _begins(below: str, part: str) -> bool:
    """Return whether a name below a scope begins with a part, as a whole component."""
    own = below.lstrip("/.") if below[:1] in "/." else below
    return own == part or own.startswith((f"{part}/", f"{part}."))


def _around(pattern: str, name: str) -> tuple[str, str]:
    """Return the parts of a name before and after the last component that a pattern matches."""
    expression = compiled(pattern)
    scopes = scopes_above(name)
    taken = [place for place, scope in enumerate(scopes) if expression.fullmatch(quick(expression, scope, pattern))]
    # the longest scope except the whole name, as in `rename`, unless the pattern matches only the whole name
    place = max((each for each in taken if each < len(scopes) - 1), default=taken[-1])
    own = components(name)
    sign = own[place][:1] if place and own[place][:1] in "/." else ""
    return "".join(own[:place]) + sign, "".join(own[place + 1 :])
