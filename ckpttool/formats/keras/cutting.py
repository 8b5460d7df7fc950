"""Cutting and extending Keras networks: configs of Functional or Sequential models up to a layer call, then new layers.

A call is `(layer, number, output)`: the layer's name, the index of its call, and the index of the output tensor. A row
of calls leads into nested models, the outermost first.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.connections import Config, Reference, is_reference, references

Call = tuple[str, int, int]


def layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    """Return the config of a built-in Keras layer."""
    return {**serialized("keras.layers", class_name, name=name, **config), "name": name}


def serialized(module: str, class_name: str, **config: Any) -> dict[str, Any]:
    """Return the config of an object of a built-in Keras class."""
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def sequential(layers: Sequence[Config], name: str = "sequential") -> dict[str, Any]:
    """Return the config of a Sequential model of layers, the first of which is an `InputLayer`."""
    return serialized("keras", "Sequential", name=name, layers=[*layers])


def layer_names(model: Config) -> list[str]:
    """Return the names of a model's layers, without those inside nested models."""
    return [each["config"]["name"] for each in model["config"]["layers"]]


@dataclass(frozen=True)
class Cut:
    """A cut model: the remaining config, the new indices of calls, and the cut of the nested model, if any."""

    model: dict[str, Any]
    numbers: Mapping[Reference, int]
    within: tuple[str, "Cut"] | None = None

    def row(self, row: Sequence[Call]) -> tuple[Call, ...] | None:
        """Return a row of calls with the new indices, or None if it is not in the remaining model."""
        (name, number, output), *inner = row
        if (name, number) not in self.numbers:
            return None
        rest: tuple[Call, ...] | None = tuple(inner)
        if inner and self.within and self.within[0] == name:
            rest = self.within[1].row(inner)
        return None if rest is None else ((name, self.numbers[name, number], output), *rest)


def cut_after(model: Config, row: Sequence[Call]) -> Cut:
    """Return the part of a model up to a call, whose output is its only output.

    If the call is in a nested model, that model is cut, too.

    Raises:
        FormatError: the nested model is called several times, or has inputs that are not needed.
    """
    (name, number, output), *inner = row
    own = model["config"]
    place = layer_names(model).index(name)
    last = own["layers"][place]
    if inner and (given := _output_given(last, inner)) is not None:
        inner, output = [], given
    if model["class_name"] == "Sequential":
        layers = [*own["layers"][: place + 1]]
        numbers = {(each["config"]["name"], 0): 0 for each in layers}
        within = _cut_within(last, inner, 1) if inner else None
        if within:
            layers[-1] = within.model
        return Cut({**model, "config": {**own, "layers": layers}}, numbers, (name, within) if within else None)
    kept = _needed(own["layers"], (name, number))
    numbers = {(each, call): count for each, calls in kept.items() for count, call in enumerate(sorted(calls))}
    layers = [_kept(each, numbers) for each in own["layers"] if each["name"] in kept]
    within = _cut_within(last, inner, len(kept[name])) if inner else None
    if within:
        at = next(count for count, each in enumerate(layers) if each["name"] == name)
        layers[at] = {**layers[at], "config": within.model["config"]}
    inputs = _inputs_kept(own["input_layers"], kept)
    ends = [name, numbers[name, number] + _first_call(last), 0 if inner else output]
    cut = {**own, "layers": layers, "input_layers": inputs, "output_layers": ends}
    return Cut({**_without_shapes(model), "config": cut}, numbers, (name, within) if within else None)


def with_layers(model: Config, layers: Iterable[Config]) -> dict[str, Any]:
    """Return a model with one output, extended by a chain of layers."""
    own, new = model["config"], [dict(each) for each in layers]
    if model["class_name"] == "Sequential":
        return {**model, "config": {**own, "layers": [*own["layers"], *new]}}
    name, number, output = last_call(model)
    for each in new:
        each["inbound_nodes"] = [[[name, number, output, {}]]]
        name, number, output = each["name"], 0, 0
    ends = own["output_layers"] if not new else [name, 0, 0]
    return {**model, "config": {**own, "layers": [*own["layers"], *new], "output_layers": ends}}


def outputs_of(model: Config) -> int:
    """Return the number of a model's outputs."""
    own = model["config"]
    return 1 if model["class_name"] == "Sequential" else len([*_ends(own["output_layers"])])


def last_call(model: Config) -> Call:
    """Return the call that returns the only output of a model."""
    own = model["config"]
    if model["class_name"] == "Sequential":
        return own["layers"][-1]["config"]["name"], 0, 0
    name, number, output = next(_ends(own["output_layers"]))
    return name, number - _first_call(next(each for each in own["layers"] if each["name"] == name)), output


def with_changed(model: Config, change: Callable[[str, Config], Config], above: str = "") -> dict[str, Any]:
    """Return a model with all layers replaced by `change(path, config)`; paths include the names of nested models."""
    layers = []
    for each in model["config"]["layers"]:
        path = f"{above}{each['config']['name']}"
        layers.append(with_changed(each, change, f"{path}/") if is_model(each) else change(path, each))
    return {**model, "config": {**model["config"], "layers": layers}}


def is_model(config: Config) -> bool:
    """Return whether a config is that of a Functional or Sequential model."""
    return config.get("class_name") in ("Functional", "Sequential")


def _cut_within(nested: Config, inner: Sequence[Call], calls: int) -> Cut:
    """Return a nested model, cut after a call in it.

    Raises:
        FormatError: it is called several times, or would have fewer inputs.
    """
    name = nested["config"]["name"]
    if calls > 1:
        raise FormatError(f"{name} is a model that is called {calls} times, and {_names(inner)} is in it")
    cut = cut_after(nested, inner)
    if nested["class_name"] == "Functional":
        before, after = (len([*_ends(each["config"]["input_layers"])]) for each in (nested, cut.model))
        if before != after:
            raise FormatError(
                f"{name} is a model with {before} inputs, and {_names(inner)} in it needs {after} of them"
            )
    return cut


def _names(row: Sequence[Call]) -> str:
    return "/".join(name for name, _, _ in row)


def _output_given(nested: Config, inner: Sequence[Call]) -> int | None:
    """Return the index of a nested model's output that a call in it returns, or None if it returns none of them."""
    if len(inner) > 1 and not is_model(nested):
        return None
    own = nested["config"]
    (name, number, output), *deeper = inner
    at = next(each for each in own["layers"] if each["config"]["name"] == name)
    if deeper:
        within = _output_given(at, deeper)
        if within is None:
            return None
        output = within
    if nested["class_name"] == "Sequential":
        return 0 if own["layers"][-1] is at else None
    ends = [tuple(each[:3]) for each in _ends(own["output_layers"])]
    sought = (name, number + _first_call(at), output)
    return ends.index(sought) if sought in ends else None


def _first_call(config: Config) -> int:
    """Return the index of a layer's first call in lists of inputs and outputs: 1 for a Functional model, else 0."""
    return int(config["class_name"] == "Functional")


def _needed(layers: Sequence[Config], last: Reference) -> dict[str, set[int]]:
    """Return the calls on which a call depends, including itself, as indices by layer."""
    below = {
        (each["name"], number): [*references(node)]
        for each in layers
        for number, node in enumerate(each["inbound_nodes"] or [[]])
    }
    found: dict[str, set[int]] = defaultdict(set)
    todo = [last]
    while todo:
        name, number = call = todo.pop()
        if number not in found[name]:
            found[name].add(number)
            todo += below[call]
    return found


def _kept(config: Config, numbers: Mapping[Reference, int]) -> dict[str, Any]:
    """Return a layer's config with the kept calls, whose inputs have the new indices."""
    nodes = enumerate(config["inbound_nodes"])
    return {
        **config,
        "inbound_nodes": [_renumbered(node, numbers) for number, node in nodes if (config["name"], number) in numbers],
    }


def _inputs_kept(inputs: Any, kept: Collection[str]) -> Any:
    """Return the inputs of a model that are still needed, in their structure."""
    if is_reference(inputs):
        return inputs
    if isinstance(inputs, Mapping):
        return {key: _inputs_kept(each, kept) for key, each in inputs.items() if _any_of(each, kept)}
    return [_inputs_kept(each, kept) for each in inputs if _any_of(each, kept)]


def _any_of(inputs: Any, kept: Collection[str]) -> bool:
    return any(each[0] in kept for each in _ends(inputs))


def _without_shapes(model: Config) -> dict[str, Any]:
    """Return a model's config without the shapes that it was built with, which do not fit fewer inputs."""
    return {key: value for key, value in model.items() if key != "build_config"}


def _renumbered(value: Any, numbers: Mapping[Reference, int]) -> Any:
    """Return a config value with the new indices of the calls that it refers to."""
    if is_reference(value):
        rest = [_renumbered(each, numbers) for each in value[3:]]
        return [value[0], numbers[value[0], value[1]], value[2], *rest]
    if isinstance(value, Mapping):
        return {key: _renumbered(each, numbers) for key, each in value.items()}
    return [_renumbered(each, numbers) for each in value] if isinstance(value, list) else value


def _ends(ends: Any) -> Iterator[Any]:
    """Yield the references in the structure of a model's inputs or outputs."""
    if is_reference(ends):
        yield ends
    elif isinstance(ends, list | Mapping):
        for each in ends.values() if isinstance(ends, Mapping) else ends:
            yield from _ends(each)
