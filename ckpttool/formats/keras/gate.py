"""The gate: a Keras config is checked against the lists of Keras's own classes, before Keras sees any of it.

A config names classes, functions and modules, which Keras looks up and calls. A config that passed the gate names only
entries of `classes.py`, each class with the module that Keras defines it in: a module named by the file is never
imported, a registered name is never looked up. No text in it refers to a file or a server.
"""

import builtins
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NoReturn

from ckpttool.core.errors import FormatError
from ckpttool.core.shown_text import few_levels
from ckpttool.core.suggestions import suggestion
from ckpttool.formats.keras.classes import (
    CLASSES,
    FUNCTION_MODULES,
    LITERALS,
    MODELS,
    NAMES,
    OLD,
    OPERATIONS,
    REFUSED,
    WITHOUT_CODE,
)

DEEPEST = 200
"""Maximum nesting depth of objects and lists; a network in a network adds four."""
MOST_LAYERS = 10_000
"""Maximum number of layers, nested ones included; the largest of `keras.applications` has about a thousand."""
MOST_VALUES = 1_000_000
"""Maximum number of values in a config, lists of words excluded; the largest architectures have about 60,000."""
LARGEST = 1 << 31
"""Bound of integers in a config, seeds and values excepted, and of the product of a shape."""
LAYER_KEYS = ("layer", "layers", "forward_layer", "backward_layer", "cell", "cells")
"""Keys of a config that contain layers."""
KINDS = {
    "activation": "keras.activations",
    "initializer": "keras.initializers",
    "regularizer": "keras.regularizers",
    "constraint": "keras.constraints",
}
"""The endings of keys in a layer's config, with the modules whose names their values may be."""
FREE_NUMBERS = ("seed", "shared_object_id", "value", "salt", "vocabulary", "args", "kwargs")
"""Keys whose numbers are not sizes."""
WORDS = ("vocabulary",)
"""Keys whose lists are data: words of any form."""
FILES = ("vocabulary", "idf_weights", "filename", "file", "filepath", "path", "url", "origin", "checkpoint")
"""Keys whose value, if it is text, would be the name of a file."""
HELP = (
    "its weights are read all the same (the commands vars and import); the whole model is read from a SavedModel, "
    "which model.export(folder) writes in the program that has the code"
)


class UnsafeConfig(FormatError):
    """A config requests a forbidden action: running code, reading a file, using unbounded memory."""


@dataclass(frozen=True)
class Place:
    """The place of a value in a config: the file, the enclosing layers, its key and its depth."""

    path: Path
    layers: tuple[str, ...] = ()
    key: str = ""
    depth: int = 0

    def below(self, key: str) -> "Place":
        """Return the place of a value within."""
        return Place(self.path, self.layers, key, self.depth + 1)

    def within(self, name: Any) -> "Place":
        """Return the place of a value in the layer of this name."""
        return replace(self, layers=(*self.layers, name)) if isinstance(name, str) else self

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"

    @property
    def what(self) -> str:
        """The layer's name in messages."""
        return f"the layer {few_levels('/'.join(self.layers))}" if self.layers else "the config"


def gated(config: Any, place: Place) -> Any:
    """Return a config in which every class is one of Keras's own, with the module that Keras defines it in.

    Raises:
        UnsafeConfig: it contains code, the name of a file or a server, or sizes beyond the limits.
        FormatError: it refers to something that is not Keras's own.
    """
    if place.depth == 0:
        _require_size(config, place)
    if place.depth > DEEPEST:
        raise UnsafeConfig(f"{place} is nested more than {DEEPEST} levels deep")
    if isinstance(config, Mapping):
        return _object(config, place) if "class_name" in config else _members(config, place)
    if isinstance(config, list):
        if place.key.endswith("shape") and prod(size for size in config if isinstance(size, int)) >= LARGEST:
            raise UnsafeConfig(f"{place} has {place.key} = {config}, at most {LARGEST} elements are allowed")
        if place.key in WORDS and all(isinstance(word, (str, int, float)) for word in config):
            return config
        return [gated(value, place.below(place.key)) for value in config]
    if isinstance(config, str):
        return _text(config, place)
    if isinstance(config, int) and abs(config) >= LARGEST and place.key not in FREE_NUMBERS:
        raise UnsafeConfig(f"{place} has {place.key} = {config}, at most {LARGEST} is allowed")
    return config


def _require_size(config: Any, place: Place) -> None:
    """Check the number of layers and values in a config, before any of it is examined further.

    Raises:
        UnsafeConfig: it has more layers, or more values.
    """
    layers = values = 0
    todo = [("", config)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, list) and key not in WORDS:
            layers += len(value) if key == "layers" else 0
            values += len(value)
            members = [(key, each) for each in value if isinstance(each, list | dict)] if values <= MOST_VALUES else []
        elif isinstance(value, dict):
            values += len(value)
            members = [(name, each) for name, each in value.items() if isinstance(each, list | dict)]
        else:
            continue
        if layers > MOST_LAYERS:
            raise UnsafeConfig(f"{place} has more than {MOST_LAYERS} layers, which is the limit")
        if values > MOST_VALUES:
            raise UnsafeConfig(f"{place} has more than {MOST_VALUES} values, which is the limit")
        todo += members


def compile_gated(config: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Return a model's compile config, checked against the lists as a network is; raises as `gated` does."""
    _require_size(config, place)
    config = _members(config, place)
    for key in ("loss", "metrics", "weighted_metrics"):
        for name in _texts(config.get(key)):
            if not any(
                name in NAMES[module] or name in CLASSES[module] for module in ("keras.losses", "keras.metrics")
            ):
                _refuse(name, f"compiled with a custom {key}", place)
    return config


def _texts(value: Any) -> Iterator[str]:
    """Yield the names of losses and metrics: one, a list, or one for each output."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | Mapping) and "class_name" not in value:
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _members(config: Mapping[str, Any], place: Place) -> dict[str, Any]:
    free = place.key == "kwargs"  # in a call: the operands of an operation are not sizes of a layer
    return {key: gated(value, place.below("kwargs" if free else key)) for key, value in config.items()}


def _object(config: Mapping[str, Any], place: Place) -> Any:
    """Return an object's config with the module that defines its class in Keras."""
    name, inner = config["class_name"], config.get("config")
    if not isinstance(name, str):
        raise FormatError(f"{place} has a class that is not a name: {str(name)[:80]!r}")
    if name in LITERALS:
        return _literal(config, place)
    if name == "Sequential" and isinstance(inner, list):  # of Keras 2
        inner = {"name": "sequential", "layers": inner}
        config = {**config, "config": inner}
    if name == "function":
        return _function(config, place)
    if isinstance(inner, Mapping) and _is_layer(place):
        place = place.within(inner.get("name"))
    if place.key == "dtype" and name in ("Policy", "PolicyV1"):  # of Keras 2
        name = "DTypePolicy"
    if place.key.startswith("optimizer") and (own := _optimizer_of(config)):
        config, name = {**config, "registered_name": None}, own
    module = _module(config, name, place)
    if not isinstance(inner, Mapping | list | None):
        raise FormatError(f"{place} has a config that is not an object: {str(inner)[:80]!r}")
    name = "Functional" if name == "Model" else name
    rest = {key: value for key, value in config.items() if key not in ("module", "class_name", "registered_name")}
    return {"module": module, "class_name": name, "registered_name": None, **_members(rest, place)}


def _optimizer_of(config: Mapping[str, Any]) -> str | None:
    """Return the name of one of Keras's own optimizers, which Keras 2.11 and later register as `Custom>Adam`."""
    name = str(config.get("registered_name") or config["class_name"])
    own = name.removeprefix("Custom>")
    return own if own in CLASSES["keras.optimizers"] else None


def _is_layer(place: Place) -> bool:
    return place.key in LAYER_KEYS or not place.key


def _module(config: Mapping[str, Any], name: str, place: Place) -> str:
    """Return the module that defines a class in Keras; the one in the config only chooses among equal names."""
    if name in REFUSED:
        raise UnsafeConfig(f"{place} is a {name}: {REFUSED[name]}; {HELP}")
    said, registered = config.get("module"), config.get("registered_name")
    if registered not in (None, name) or ">" in name:
        _refuse(str(registered or name), "a custom class", place)
    if said is not None and not _is_keras(said):
        _refuse(f"{said}.{name}", "not one of Keras's own classes", place)
    if name in MODELS and (_is_layer(place) or place.key.endswith("activation")):
        return MODELS[name] if _is_layered(config) else _refuse(name, "a subclassed model", place)
    if name in WITHOUT_CODE:
        raise UnsafeConfig(f"{place} is the operation {name}: the function that it applies is not in a config; {HELP}")
    if found := _known(name, said, config.get("config"), place):
        return found
    if place.depth == 0:
        _refuse(name, "a subclassed model", place)
    if name in OLD:
        raise FormatError(f"{place} is a {name}, a layer that Keras 3 has removed; {HELP}")
    return _refuse(name, "not one of Keras's own classes", place)


def _known(name: str, said: str | None, inner: Any, place: Place) -> str | None:
    """Return the module of a listed class: the one in the config, else the most likely one at its place.

    An `.h5` has no modules; there an operation, unlike a layer of the same name, has no weights.
    """
    modules = [module for module, names in CLASSES.items() if name in names]
    if said in modules:
        return said
    operations = [module for module in modules if module.startswith(OPERATIONS)]
    if said and said.startswith(OPERATIONS):
        return None
    if operations and not said and place.key == "layers" and isinstance(inner, Mapping) and "trainable" not in inner:
        return operations[0]
    modules = [module for module in modules if module not in operations]
    return next((module for module in modules if _fits(module, place.key)), next(iter(modules), None))


def _fits(module: str, key: str) -> bool:
    if module == "keras.layers":
        return key in LAYER_KEYS or not key
    return module.rpartition(".")[2].removesuffix("s").removesuffix("e") in key


def _is_keras(module: Any) -> bool:
    """Return whether a module belongs to Keras, under the name of any version."""
    return re.match(r"(keras|tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(\.|$)", str(module)) is not None


def _is_layered(config: Mapping[str, Any]) -> bool:
    inner = config.get("config")
    return isinstance(inner, Mapping) and isinstance(inner.get("layers"), list)


def _refuse(name: str, what: str, place: Place) -> NoReturn:
    near = suggestion(name, CLASSES["keras.layers"]) if what.startswith("not") else ""
    raise FormatError(f"{place} is {what}, {name}{near}: its code is not in the file; {HELP}")


def _literal(config: Mapping[str, Any], place: Place) -> Any:
    """Return a value for which JSON has no type; a tuple of Keras 2 as the list that Keras 3 writes for it."""
    if config["class_name"] == "__tuple__":
        return gated(config.get("items"), place.below(place.key))
    key = "tensor" if config["class_name"] == "__keras_tensor__" else "value"
    return {"class_name": config["class_name"], "config": gated(config.get("config"), place.below(key))}


def _function(config: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Return the config of a function, which must be an activation, loss or metric of Keras."""
    name, module = config.get("config"), config.get("module")
    known = isinstance(name, str) and any(name in NAMES[each] for each in FUNCTION_MODULES)
    if not known or not (module == "builtins" or module is None or _is_keras(module)):
        said = f"{module}.{name}" if module else str(name)
        of_program = module == "builtins" and isinstance(name, str) and not hasattr(builtins, name)
        kind = FormatError if of_program else UnsafeConfig  # Keras writes a program's own functions so
        raise kind(f"{place} calls {said}, which is none of Keras's activations, losses or metrics; {HELP}")
    return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}


def _text(text: str, place: Place) -> str:
    """Check that a text is neither a custom function nor the path of a file or a server."""
    if place.key in FILES:
        raise UnsafeConfig(
            f"{place} would read its {place.key} from {text!r}; only what the file itself contains is read"
        )
    if "://" in text or (text.startswith(("/", "\\\\", "~/")) and place.key != "name"):
        raise UnsafeConfig(
            f"{place} has {place.key} = {text[:80]!r}, the path of a file or a server, which is never read"
        )
    for ending, module in KINDS.items():
        if place.key.endswith(ending) and text not in NAMES[module] and text not in CLASSES.get(module, ()):
            raise FormatError(
                f"{place} has the {ending} {text}, not one of Keras's: its code is not in the file; {HELP}"
            )
    return text
