"""The tensors in a checkpoint of PyTorch and their names: those of a model's state dict, and others."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ckpttool.formats.pytorch.modules import TENSORS, Classes, Constants, is_module, members
from ckpttool.formats.pytorch.numpy_arrays import NumpyArray
from ckpttool.formats.pytorch.records import Object, Pairs, Unread, View

Leaf = View | NumpyArray
"""The types of tensors in a tree."""

MODELS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "ema")
"""Keys under which programs store a model or its state dict; the first existing one keeps its names unprefixed."""
TRAINING = re.compile(r"(?=\w+\Z)(\w+_)?(optim(izers?)?|schedulers?|scaler|rng)(_\w+)?")
"""Keys under which programs store the state of training, of optimizers and random generators."""
OPTIMIZERS = "torch.optim."
DEPTH_LIMIT = 100
VISITS_LIMIT = 1_000_000
"""Maximum number of examined values: in a few bytes a file can repeat a list a million times in another."""
NAME_SHARE = 100
"""Number of characters of a name that count as another value."""
TEXT_LIMIT = 1000
TENSOR = "tensor"
"""The name of a tensor that is a file's whole value."""


class FoundTensors(NamedTuple):
    """Tensors by name, texts of the metadata, and the paths of skipped values."""

    tensors: dict[str, Leaf]
    metadata: dict[str, str]
    left_out: tuple[str, ...]


def find(value: Any, classes: Classes) -> FoundTensors:
    """Find and name the tensors of a checkpoint: a state dict's own names, for others paths joined by slashes.

    A module's names are those of its state dict. `classes` has the parameters and buffers of a program's modules.

    Raises:
        ValueError: it is nested endlessly, or two tensors have the same name.
    """
    walk = _Walk(classes)
    if not _is_dict(value):
        alone = dict(walk.tensors(value, ""))
        return FoundTensors(alone, ties(alone), tuple(walk.unknown))
    parts = dict(_texts(value))
    model = next((key for key in MODELS if key in parts and _is_model(parts[key])), None)
    tensors: dict[str, Leaf] = {}
    metadata: dict[str, str] = {}
    left_out: list[str] = []
    for key, part in _texts(value):
        if (text := _text(part)) is not None:
            metadata[key] = text
        if text is not None or part is None:
            continue
        walk.unknown.clear()
        walk.unread = False
        walk.takes_arrays = model in (None, key)  # beside a model they are figures of the training
        aside = _is_training(key, part) or (isinstance(part, Constants) and tensors)
        named = [] if aside else list(walk.tensors(part, "" if key == model else key))
        left_out += walk.unknown if named or walk.unread else [key]
        for name, view in named:
            if name in tensors:
                raise ValueError(f"two tensors are named {name}")
            tensors[name] = view
    return FoundTensors(tensors, ties(tensors) | metadata, tuple(left_out))


def ties(tensors: dict[str, Leaf]) -> dict[str, str]:
    """Return the names of tensors that repeat an earlier one, mapped to that one's name."""
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
    """Searches lists, dicts and objects, counts the examined values, and lists those that it does not understand."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.visits = 0
        self.unknown: list[str] = []
        self.unread = False
        """Whether a tensor is among the listed values."""
        self.takes_arrays = True
        """Whether the examined value is a model, in which arrays are weights, and numbers are listed."""
        self.seen: set[int] = set()

    def tensors(self, value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Leaf]]:
        """Yield the tensors in a value, with their names."""
        self.visits += 1 + len(name) // NAME_SHARE
        if depth > DEPTH_LIMIT or self.visits > VISITS_LIMIT:
            raise ValueError("its lists and dicts are nested endlessly")
        if isinstance(value, View) or (isinstance(value, NumpyArray) and value.dtype and self.takes_arrays):
            yield name or TENSOR, value
        elif isinstance(value, NumpyArray):
            self.unknown.append(name or TENSOR)
        elif isinstance(value, Unread):
            self.unread = True
            self.unknown.append(f"{name or TENSOR} ({value.why})")
        elif is_module(value):
            yield from self._module(value, name, "/" if name else "", depth)
        elif isinstance(value, Object):
            yield from self._object(value, name, depth)
        elif isinstance(value, Pairs):
            for key, part in _texts(value):
                yield from self.tensors(part, f"{name}/{key}" if name else key, depth + 1)
        elif self.takes_arrays and _is_plain(value):
            self.unknown.append(f"{name or TENSOR} (is not a tensor, but {_shown(value)})")
        elif isinstance(value, (list, tuple)):
            for number, part in enumerate(value):
                yield from self.tensors(part, f"{name}/{number}" if name else str(number), depth + 1)

    def _module(self, module: Object, name: str, between: str, depth: int) -> Iterator[tuple[str, Leaf]]:
        """Yield the entries of a module's state dict, with dots between modules; `between` follows its own name."""
        for member in members(module, self.classes):
            path = f"{name}{between}{member.name}"
            if member.value is not None and not member.saved:
                self.unread = True
                self.unknown.append(f"{path} (is neither a parameter nor a buffer of its module)")
            elif is_module(member.value):
                self.visits += 1
                if depth > DEPTH_LIMIT:
                    raise ValueError("its modules are nested endlessly")
                yield from self._module(member.value, path, ".", depth + 1)
            else:
                yield from self.tensors(member.value, path, depth + 1)

    def _object(self, value: Object, name: str, depth: int) -> Iterator[tuple[str, Leaf]]:
        """Yield the tensors in an object, which is searched once; one without any is listed as a whole."""
        if id(value) in self.seen:
            return
        self.seen.add(id(value))
        before, unread, self.unread = len(self.unknown), self.unread, False
        inside = [*self.tensors(value.pairs or value.attributes, name, depth + 1)]
        inside += self.tensors(value.parts, name, depth + 1)
        yield from inside
        if not inside and not self.unread:
            self.unknown[before:] = [name or TENSOR]
        self.unread |= unread


def _texts(pairs: Any) -> Iterator[tuple[str, Any]]:
    """Yield keys as texts: numbers and tuples as Python writes them, all others by their position."""
    for number, (key, value) in enumerate(pairs if isinstance(pairs, Pairs) else pairs.pairs or pairs.attributes):
        yield _key(key) or f"?{number}", value


def _key(key: Any) -> str | None:
    if isinstance(key, tuple) and all(isinstance(each, (str, int, float)) for each in key):
        return f"({', '.join(map(str, key))})"
    return str(key) if isinstance(key, (str, int, float)) or key is None else None


def _text(value: Any) -> str | None:
    """Return a number or a short text as text."""
    if isinstance(value, (bool, float, str)) or (isinstance(value, int) and value.bit_length() <= 64):
        return str(value) if len(str(value)) <= TEXT_LIMIT else None
    return None


def _is_plain(value: Any) -> bool:
    """Return whether a value is a number, a text, or a list of these."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(each, (int, float, complex, str, bytes)) for each in value)
    return isinstance(value, (int, float, complex, str, bytes))


def _shown(value: Any) -> str:
    """Return a number or a text for a sentence."""
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return "a long integer" if isinstance(value, int) and value.bit_length() > 64 else repr(value)[:30]


def _is_dict(value: Any) -> bool:
    """Return whether a value has keys: a dict, or an object of any class but a module's."""
    return isinstance(value, Pairs) or (isinstance(value, Object) and not is_module(value))


def _is_model(value: Any) -> bool:
    """Return whether a value is a module or a state dict, which is a dict that contains tensors directly."""
    return is_module(value) or (_is_dict(value) and any(isinstance(part, TENSORS) for _, part in _texts(value)))


def _is_training(key: str, value: Any) -> bool:
    if isinstance(value, Object) and value.name.startswith(OPTIMIZERS):
        return True
    return TRAINING.fullmatch(key) is not None and (isinstance(value, (Pairs, Object, list, tuple)) or "rng" in key)
