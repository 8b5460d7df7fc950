"""The tensors in a checkpoint of PyTorch, under names: what is a model's state dict, what else is there."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ckpttool.core.errors import FormatError
from ckpttool.formats.pytorch.numpy_arrays import NumpyArray
from ckpttool.formats.pytorch.records import Opaque, Pairs, Unread, View

Leaf = View | NumpyArray
"""What is a tensor in a tree."""

MODELS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights")
"""Keys under which programs keep a model's state dict; the first of them that is there keeps its names."""
TRAINING = re.compile(r"(\w+_)?(optim(izers?)?|schedulers?|scaler|rng)(_\w+)?")
"""Keys under which they keep what training needs: the states of optimizers and random generators."""
DEPTH_LIMIT = 100
VISITS_LIMIT = 1_000_000
"""Values that are looked at; for a few bytes a file can have one list a million times in another."""
NAME_SHARE = 100
"""Characters of a name that count as a value more."""
TEXT_LIMIT = 1000
TENSOR = "tensor"
"""The name of a file's tensor that has no other."""


class FoundTensors(NamedTuple):
    """Tensors by name, texts beside them, and the paths of what was left out."""

    tensors: dict[str, Leaf]
    metadata: dict[str, str]
    left_out: tuple[str, ...]


def find(value: Any) -> FoundTensors:
    """Name the tensors of a checkpoint: a state dict's own names, paths joined by slashes for others.

    Raises:
        ValueError: it is nested without end, or two tensors have one name.
        FormatError: one is of a kind that is not read.
    """
    walk = _Walk()
    if not isinstance(value, Pairs):
        return FoundTensors(dict(walk.tensors(value, "")), {}, tuple(walk.unknown))
    parts = dict(_texts(value))
    state_dicts = (key for key in MODELS if isinstance(parts.get(key), Pairs))
    model = next((key for key in state_dicts if any(isinstance(part, Leaf) for _, part in parts[key])), None)
    tensors: dict[str, Leaf] = {}
    metadata: dict[str, str] = {}
    left_out: list[str] = []
    for key, part in _texts(value):
        if (text := _text(part)) is not None:
            metadata[key] = text
        if text is not None or part is None:
            continue
        walk.unknown.clear()
        walk.takes_arrays = model in (None, key)  # beside a model they are figures of the training
        named = [] if _is_training(key, part) else list(walk.tensors(part, "" if key == model else key))
        left_out += walk.unknown if named else [key]
        for name, view in named:
            if name in tensors:
                raise ValueError(f"two tensors are named {name}")
            tensors[name] = view
    return FoundTensors(tensors, ties(tensors) | metadata, tuple(left_out))


def ties(tensors: dict[str, Leaf]) -> dict[str, str]:
    """Return the names of tensors that are an earlier one again, each with that one's."""
    first: dict[Any, str] = {}
    tied = {}
    for name, view in tensors.items():
        if isinstance(view, NumpyArray):
            continue
        place = (view.storage.key, view.dtype, view.offset, view.shape, view.strides)
        if first.setdefault(place, name) != name and 0 not in view.shape:
            tied[name] = first[place]
    return tied


class _Walk:
    """Looks through lists and dicts, counts what it looks at, and notes the paths of what it does not understand."""

    def __init__(self) -> None:
        self.visits = 0
        self.unknown: list[str] = []
        self.takes_arrays = True

    def tensors(self, value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Leaf]]:
        """Yield the tensors in a value, with their names."""
        self.visits += 1 + len(name) // NAME_SHARE
        if depth > DEPTH_LIMIT or self.visits > VISITS_LIMIT:
            raise ValueError("its lists and dicts are nested without end")
        if isinstance(value, View) or (isinstance(value, NumpyArray) and value.dtype and self.takes_arrays):
            yield name or TENSOR, value
        elif isinstance(value, (Opaque, NumpyArray)):
            self.unknown.append(name or TENSOR)
        elif isinstance(value, Unread):
            raise FormatError(f"{name or TENSOR} {value.why}, and no such tensor is read")
        elif isinstance(value, Pairs):
            for key, part in _texts(value):
                yield from self.tensors(part, f"{name}/{key}" if name else key, depth + 1)
        elif isinstance(value, (list, tuple)):
            for number, part in enumerate(value):
                yield from self.tensors(part, f"{name}/{number}" if name else str(number), depth + 1)


def _texts(pairs: Pairs) -> Iterator[tuple[str, Any]]:
    """Yield keys as texts: numbers are as they are read, what else a key may be is no part of a name."""
    for key, value in pairs:
        yield str(key) if isinstance(key, (str, int, float)) else "?", value


def _text(value: Any) -> str | None:
    """Return a number or a short text as one."""
    if isinstance(value, (bool, float, str)) or (isinstance(value, int) and value.bit_length() <= 64):
        return str(value) if len(str(value)) <= TEXT_LIMIT else None
    return None


def _is_training(key: str, value: Any) -> bool:
    return TRAINING.fullmatch(key) is not None and (isinstance(value, (Pairs, list, tuple)) or "rng" in key)
