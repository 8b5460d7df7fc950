"""Checks of the connections of layers: unique names, references to existing calls, and no cycle.

Keras finds mistakes only while it builds, by retrying as long as any layer makes progress, which takes time quadratic
in a network's size.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.suggestions import suggestion
from ckpttool.formats.keras.gate import HELP, Place

Config = Mapping[str, Any]
LAYERED = ("Functional", "Sequential")
"""The models that are made of layers, as the gate names them."""
_NESTING = (dict, list, Mapping)
"""Containers in a config that may contain a model; `dict` comes first, as its check is the fastest."""
Reference = tuple[str, int]
"""A layer, and the number of its call."""


def models_within(config: Any, place: Place | None = None) -> Iterator[tuple[Config, Place]]:
    """Yield a model's own config and those of the models in it, each with its place."""
    todo = [(config, place or Place(Path()))]
    while todo:
        value, here = todo.pop()
        if isinstance(value, list):
            todo += [(each, here) for each in value if isinstance(each, _NESTING)]
        elif isinstance(value, Mapping):
            own = value.get("config")
            here = here.within(own.get("name")) if isinstance(own, Mapping) and "module" in value else here
            if value.get("class_name") in LAYERED and isinstance(own, Mapping):
                yield value, here
            todo += [(each, here) for each in value.values() if isinstance(each, _NESTING)]


def require_layers(config: Config, place: Place) -> None:
    """Check that all models in a config are complete: layers with unique names, and the other keys of a model.

    Raises:
        FormatError: the config is not that of a model made of layers.
        CorruptCheckpoint: something is missing or duplicated.
    """
    if (kind := config.get("class_name")) not in LAYERED:
        raise FormatError(f"{place} is of {kind or 'no class'}, expected a {' or a '.join(LAYERED)} model; {HELP}")
    for model, here in models_within(config, place):
        own, functional = model["config"], model["class_name"] == "Functional"
        layers = own["layers"]
        names = [_name(layer, functional, here) for layer in layers]
        for name, count in Counter(names).items():
            if count > 1:
                raise CorruptCheckpoint(f"{here}: {count} layers are named {name}")
        for key in ("input_layers", "output_layers") if functional else ():
            if not isinstance(own.get(key), list | Mapping):
                raise CorruptCheckpoint(f"{here} has no {key}")
        known = set(names)
        for layer in layers if functional else ():
            for name, _ in references(layer["inbound_nodes"]):
                if name not in known:
                    near = suggestion(name, names)
                    raise CorruptCheckpoint(f"{here}: {layer['name']} is called on {name}, which is not a layer{near}")


def _name(layer: Any, functional: bool, place: Place) -> str:
    """Return a layer's name, which a Functional model contains twice."""
    own = layer.get("config") if isinstance(layer, Mapping) else None
    name = own.get("name") if isinstance(own, Mapping) else None
    if not isinstance(name, str) or "class_name" not in layer:
        raise CorruptCheckpoint(f"{place} has a layer without a name: {str(layer)[:80]!r}")
    if not functional:
        return name
    if layer.get("name") != name:
        raise CorruptCheckpoint(f"{place} has a layer that is named {layer.get('name')!r} and {name!r}")
    if not isinstance(layer.get("inbound_nodes"), list):
        raise CorruptCheckpoint(f"{place}: {name} has no inbound_nodes")
    return name


def require_order(config: Config, place: Place) -> None:
    """Check that the calls of all layers can be made in some order, each on outputs of earlier ones.

    The nodes are counted as Keras 3 does. Raises:
        CorruptCheckpoint: there is no such order.
    """
    for model, here in models_within(config, place):
        if model["class_name"] == "Functional":
            _require_order(model["config"], here)


def _require_order(own: Config, place: Place) -> None:
    calls: dict[Reference, list[Reference]] = {}
    for layer in own["layers"]:
        for number, node in enumerate(layer["inbound_nodes"] or [[]]):
            calls[layer["name"], number] = list(references(node))
    for call, needed in calls.items():
        for reference in needed:
            if reference not in calls:
                raise CorruptCheckpoint(f"{place}: {call[0]} is called on a call of {reference[0]} that is not made")
    _require_outputs(own, calls, place)
    users: dict[Reference, list[Reference]] = defaultdict(list)
    for call, needed in calls.items():
        for reference in needed:
            users[reference].append(call)
    missing = {call: len(needed) for call, needed in calls.items()}
    ready = [call for call, count in missing.items() if not count]
    for call in ready:
        for user in users[call]:
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    if len(ready) < len(calls):
        name = next(call[0] for call, count in missing.items() if count)
        raise CorruptCheckpoint(f"{place}: its layers are connected in a cycle, which contains or leads to {name}")


def _require_outputs(own: Config, calls: Mapping[Reference, Any], place: Place) -> None:
    """Check that the inputs and outputs exist; calls of a Functional model among the outputs are counted from 1."""
    nested = {layer["name"] for layer in own["layers"] if layer["class_name"] == "Functional"}
    for key in ("input_layers", "output_layers"):
        for name, number in references(own[key]):
            if (name, number - (name in nested)) not in calls:
                raise CorruptCheckpoint(f"{place}: its {key} refer to {name}, a call of a layer that is not made")


def references(value: Any) -> Iterator[Reference]:
    """Yield the calls that a value refers to: tensors of Keras 3, or [layer, call, tensor, ...]."""
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
            held = value.get("config")
            todo.append(held.get("keras_history") if isinstance(held, Mapping) else None)
        elif is_reference(value):
            yield value[0], value[1]
            todo += value[3:]
        elif isinstance(value, list):
            todo += value
        elif isinstance(value, Mapping):
            todo += value.values()


def is_reference(value: Any) -> bool:
    """Return whether a value is [layer, call, tensor], or that and options, as Keras 2 writes a tensor."""
    kinds = (str, int, int)
    return isinstance(value, list) and len(value) in (3, 4) and all(map(isinstance, value, kinds))


def layers_before(config: Config) -> dict[str, tuple[str, ...]]:
    """Return for each layer of a model's config those that it is called on, or the preceding one in a Sequential.

    The config has passed `require_layers`.

    >>> layers_before({"class_name": "Sequential", "config": {"layers": [{"config": {"name": n}} for n in "ab"]}})
    {'a': (), 'b': ('a',)}
    """
    layers = config["config"]["layers"]
    names = [layer["config"]["name"] for layer in layers]
    if config["class_name"] == "Sequential":
        return {name: tuple(names[max(0, place - 1) : place]) for place, name in enumerate(names)}
    called = (dict.fromkeys(name for name, _ in references(layer["inbound_nodes"])) for layer in layers)
    return dict(zip(names, map(tuple, called), strict=True))
