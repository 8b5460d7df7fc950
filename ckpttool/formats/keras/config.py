"""Layers in a model's config: their order, and their names in Keras 2, whose weights files do not contain them.

Deserialising a config could run code, so only names and classes are read here.

Keras 2 (saving_lib.py) stores a container's layers under a key made of their class and a number, in the order in which
the config lists them. The layer inside a wrapper or recurrent layer has a key of its own.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.formats.hdf5.tree import Tree
from ckpttool.formats.keras.names import HOLDER, Weight, counted, unnumbered
from ckpttool.formats.wire import strict_json

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""The groups in which Keras 2 stores a model's layers."""
ATTENTION = {
    "_query_dense": "query",
    "_key_dense": "key",
    "_value_dense": "value",
    "_output_dense": "attention_output",
}
"""The layers of multi-head attention, with their names in Keras 3."""
CELLS = ("lstm", "gru", "simple_rnn", "conv_lstm1d", "conv_lstm2d", "conv_lstm3d")
"""The layers whose cell is named after them, without the dimensions."""
_SCALED = (("gamma", "scale", True, True), ("beta", "center", True, True))
OPTIONAL: Mapping[str, tuple[tuple[str, str, Any, Any], ...]] = {
    "batch_normalization": (
        *_SCALED,
        *((name, "", True, True) for name in ("moving_mean", "moving_variance")),
        *((name, "renorm", True, False) for name in ("moving_stddev", "renorm_mean", "renorm_stddev")),
    ),
    "layer_normalization": _SCALED,
    "group_normalization": _SCALED,
    "attention": (("scale", "use_scale", True, False), ("concat_score_weight", "score_mode", "concat", "dot")),
}
"""Weights that layers have only with certain options: name, option, required value, and the option's default."""


OF_OUTPUTS = {"loss", "loss_weights", "metrics", "weighted_metrics"}
"""Arguments of `compile` that may be dicts by the names of output layers."""


@lru_cache(maxsize=1)
def parsed(config: bytes) -> Any:
    """Return a parsed config, which must not be changed, because it is cached; None if it is not JSON."""
    try:
        return strict_json.loads(config)
    except (ValueError, RecursionError):
        return None


def in_order(weights: Mapping[str, Weight], config: bytes) -> dict[str, Weight]:
    """Return weights in the order in which a config lists their layers; unchanged if it lists none."""
    places: dict[str, int] = {}
    for name in _names(parsed(config)):
        places.setdefault(name, len(places))

    def key(name: str) -> list[int]:
        return [places.get(scope.name, len(places)) for scope in weights[name].scopes]

    return {name: weights[name] for name in sorted(weights, key=key)}


def weight_orders(config: bytes) -> dict[str, tuple[str, ...]]:
    """Return the names of the weights, in order, of layers with optional weights, by the layers' names.

    Different layers of the same name are omitted.
    """
    found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for layer in _layers(parsed(config)):
        if kinds := OPTIONAL.get(class_key(layer)):
            own = layer["config"]
            found[own["name"]].add(tuple(name for name, key, value, default in kinds if own.get(key, default) == value))
    return {name: orders.pop() for name, orders in found.items() if len(orders) == 1}


def with_layer_names(config: bytes, names: Mapping[str, str], source: Path) -> bytes:
    """Return a config with renamed layers, also in references of other layers.

    Raises:
        PlanError: the config has no layer, or several, with an old name, or another layer has a new name.
    """
    if not names:
        return config
    document = deepcopy(parsed(config))
    counts = Counter(_names(document))
    for old, new in names.items():
        problem = f"{source}: the layer {old} cannot be {new}: its configuration"
        if counts[old] != 1:
            raise PlanError(f"{problem} names {counts[old] or 'none'} of that name")
        if counts[new] and new not in names:
            raise PlanError(f"{problem} has a layer of that name")
    for layer in [each for each in _layers(document) if each["config"]["name"] in names]:
        layer["config"]["name"] = names[layer["config"]["name"]]
        if layer.get("name") in names:
            layer["name"] = layer["config"]["name"]
    return json.dumps(_read_from(document, names)).encode()


def _read_from(value: Any, names: Mapping[str, str]) -> Any:
    """Return a config value with renamed layers in references `[layer, node, tensor]` and in dicts by output."""
    if isinstance(value, dict):
        own = {key: _read_from(each, names) for key, each in value.items()}
        for key in OF_OUTPUTS & own.keys():
            if isinstance(own[key], dict) and "class_name" not in own[key]:
                own[key] = {names.get(name, name): each for name, each in own[key].items()}
        return own
    if not isinstance(value, list):
        return value
    match value:
        case [str() as name, int(), int(), *_] if name in names:
            return [names[name], *(_read_from(each, names) for each in value[1:])]
    return [_read_from(each, names) for each in value]


def _names(config: Any) -> Iterator[str]:
    """Yield the names of the layers, each before those of its nested layers."""
    return (layer["config"]["name"] for layer in _layers(config))


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the configs of layers (dicts with a name), each before those of its nested layers."""
    todo = [config]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if _name(value):
                yield value
            todo += reversed(value.values())
        elif isinstance(value, list):
            todo += reversed(value)


def layer_names(tree: Tree, config: bytes) -> dict[str, str]:
    """Return the layer names for a tree that does not contain them, by the groups of the layers' own weights."""
    if any("name" in tree.attributes[group] for group in tree.groups if _is_holder(group)):
        return {}
    return dict(_of_layer(set(tree.groups), parsed(config), "", 0))


def _of_layer(groups: set[str], config: Any, group: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the names of layers nested in one: a model's, a wrapper's, an attention's, a recurrent layer's cell."""
    own = config.get("config") if isinstance(config, dict) else None
    if not isinstance(own, dict) or depth > 64:
        return
    path, kind = f"{group}/" if group else "", class_key(config)
    if isinstance(own.get("layers"), list):
        for key, layer in _keyed(groups, own["layers"], path):
            yield from _named(groups, layer, key, _name(layer), depth)
    if isinstance(inner := own.get("layer"), dict):
        name = _name(inner)
        yield from _named(groups, inner, f"{path}layer", name, depth)
        for side in ("forward", "backward"):
            yield from _named(groups, inner, f"{path}{side}_layer", f"{side}_{name}", depth)
    if isinstance(cell := own.get("cell"), dict):
        yield from _named(groups, cell, f"{path}cell", _name(cell), depth)
    elif kind in CELLS:
        yield from _named(groups, None, f"{path}cell", f"{re.sub(r'[123]d$', '', kind)}_cell", depth)
    for key, name in ATTENTION.items() if kind == "multi_head_attention" else ():
        yield from _named(groups, None, f"{path}{key}", name, depth)


def _named(groups: set[str], config: Any, group: str, name: str | None, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the name of a layer whose weights are in the file, and those of its nested layers."""
    if f"{group}/{HOLDER}" in groups and name:
        yield f"{group}/{HOLDER}", name
        yield from _of_layer(groups, config, group, depth + 1)


def _keyed(groups: set[str], layers: list[Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield a container's layers with their groups, by class, if the file has as many of the class as the config."""
    listed = defaultdict(list)
    for layer in layers:
        listed[class_key(layer)].append(layer)
    for container in CONTAINERS:
        start, found = f"{path}{container}/", defaultdict(list)
        for group in groups:
            if group.startswith(start) and group.count("/") == start.count("/") + 1 and _is_holder(group):
                key = group.removesuffix(f"/{HOLDER}")
                found[unnumbered(key.removeprefix(start))].append(key)
        for kind, keys in found.items():
            if len(keys) == len(listed.get(kind, ())):
                yield from zip(sorted(keys, key=counted), listed[kind], strict=True)


def class_key(layer: Any) -> str:
    """Return the key that Keras derives from a layer's class.

    >>> class_key({"class_name": "GlobalAveragePooling2D"}), class_key({"class_name": "Custom>MyBlock"}), class_key({})
    ('global_average_pooling2d', 'my_block', '')
    """
    name = layer.get("class_name") if isinstance(layer, dict) else None
    word = re.sub(r"\W+", "", name.rpartition(">")[2]) if isinstance(name, str) else ""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", word)).lower()


def _name(layer: Any) -> str | None:
    own = layer.get("config") if isinstance(layer, dict) else None
    name = own.get("name") if isinstance(own, dict) else None
    return name if isinstance(name, str) and name else None


def _is_holder(group: str) -> bool:
    return group.rpartition("/")[2] == HOLDER
