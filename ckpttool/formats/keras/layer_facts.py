"""Reads layers from a Keras network's config, without Keras: their kinds and output shapes.

A kind is the name that Keras derives from a class for a layer's default name: `conv2d`. Keras 3 stores the input shape
for which each layer was built, and for a Functional model the shapes of tensors between layers. Other shapes are
computed from a layer's input (`output_shapes`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.core.shapes import PartialShape
from ckpttool.formats.keras.config import class_key
from ckpttool.formats.keras.connections import LAYERED, Config, references
from ckpttool.formats.keras.output_shapes import given_shape, noted_shape

_CELL = "_cell"


@dataclass(frozen=True)
class KerasLayer:
    """A layer: its name with those of the enclosing models, its kind, and the output shape of its first call."""

    path: str
    kind: str
    output_shape: PartialShape | None


@dataclass(frozen=True)
class KerasTensor:
    """An input or output of a network: the name of its layer, its shape and dtype (None if unknown)."""

    name: str
    shape: PartialShape | None
    dtype: str | None


@dataclass(frozen=True)
class NetworkFacts:
    """The layers of a network in the order of its config, and its inputs and outputs."""

    layers: Sequence[KerasLayer]
    inputs: Sequence[KerasTensor]
    outputs: Sequence[KerasTensor]

    @classmethod
    def of(cls, architecture: Config) -> "NetworkFacts":
        """Read the config of a Functional or a Sequential model, in Keras 3's form."""
        walk = _Walk(architecture, noted_shape((architecture.get("build_config") or {}).get("input_shape")))
        inputs = [KerasTensor(name, walk.shapes.get(name), _dtype(walk.own.get(name))) for name in walk.inputs]
        outputs = [KerasTensor(name, walk.shapes.get(name), _dtype(walk.own.get(name))) for name in walk.outputs]
        return cls(list(walk.found("")), inputs, outputs)

    def layer_of(self, scope: str) -> KerasLayer | None:
        """Return the layer of a scope of weights, which may be that of a cell or wrapped layer inside it; or None."""
        paths = {layer.path: layer for layer in self.layers}
        parts = scope.split("/")
        above = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
        last = (path for path in paths if path.rpartition("/")[2] == parts[-1])
        return next((paths[path] for path in (*(each for each in above if each in paths), *last)), None)


class _Walk:
    """The layers of one model: their configs by name, and their output shapes."""

    def __init__(self, model: Config, given: PartialShape | None) -> None:
        config = model["config"]
        self.layers: Sequence[Config] = config["layers"]
        self.own = {layer["config"]["name"]: layer["config"] for layer in self.layers}
        self.models: dict[str, _Walk] = {}
        functional = model["class_name"] == "Functional"
        self.shapes: dict[str, PartialShape | None] = dict(_noted(self.layers)) if functional else {}
        names = list(self.own)
        self.inputs = [name for name, _ in references(config["input_layers"])] if functional else names[:1]
        self.outputs = [name for name, _ in references(config["output_layers"])] if functional else names[-1:]
        before = given
        for layer in self.layers:
            before = self._give(layer, self._taken(layer, before, functional))

    def _taken(self, layer: Config, before: PartialShape | None, functional: bool) -> list[PartialShape | None]:
        """Return the input shapes of a layer's first call."""
        if not functional:
            return [noted_shape((layer.get("build_config") or {}).get("input_shape")) or before]
        calls = [self.shapes.get(name) for name, _ in references(layer["inbound_nodes"][:1])]
        return calls or [noted_shape((layer.get("build_config") or {}).get("input_shape"))]

    def _give(self, layer: Config, taken: Sequence[PartialShape | None]) -> PartialShape | None:
        own = layer["config"]
        name = own["name"]
        shape = self.shapes.get(name)
        if layer["class_name"] in LAYERED:
            self.models[name] = _Walk(layer, taken[0])
            shape = shape or self.models[name].shapes.get(self.models[name].outputs[0])
        self.shapes[name] = shape = shape or given_shape(class_key(layer), own, taken)
        return shape

    def found(self, above: str) -> Iterator[KerasLayer]:
        for layer in self.layers:
            name = layer["config"]["name"]
            if name in self.models:
                yield from self.models[name].found(f"{above}{name}/")
            else:
                yield KerasLayer(f"{above}{name}", _kind(layer), self.shapes.get(name))


def _kind(layer: Config) -> str:
    """Return the kind of a layer; for a wrapper or recurrent layer, that of the layer or cell inside it."""
    held = layer
    while isinstance(inner := held["config"].get("layer", held["config"].get("cell")), Mapping) and "config" in inner:
        held = inner
    return class_key(held).removesuffix(_CELL)


def _noted(layers: Sequence[Config]) -> Iterator[tuple[str, PartialShape]]:
    """Yield the names of layers with the output shapes of their first calls that the following layers store."""
    todo: list[Any] = [layer["inbound_nodes"] for layer in layers]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
            own = value.get("config") or {}
            match own.get("keras_history"):
                case [str() as name, 0, 0] if shape := noted_shape(own.get("shape")):
                    yield name, shape
        elif isinstance(value, Mapping):
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def _dtype(own: Config | None) -> str | None:
    """Return the dtype of a layer's output: its own or that of its dtype policy; None if unknown."""
    if own is None:
        return None
    dtype = own.get("dtype") or "float32"
    if isinstance(dtype, Mapping):
        dtype = (dtype.get("config") or {}).get("name")
    return str(dtype).removeprefix("mixed_") if dtype else None
