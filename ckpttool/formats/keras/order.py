"""The order of a Keras model's layers, which its file of weights does not have: by their names in the configuration."""

import json
from collections.abc import Iterator, Mapping

from ckpttool.formats.keras.names import Weight

LARGEST = 1 << 26
"""Bytes of a configuration that is read; one of a thousand layers has about a hundredth."""


def in_order(weights: Mapping[str, Weight], config: bytes) -> dict[str, Weight]:
    """Return weights in the order in which a configuration names their layers; as they are where it names none.

    Nothing is made of what the configuration says, and what is no JSON says nothing.
    """
    places: dict[str, int] = {}
    for name in _names(config):
        places.setdefault(name, len(places))

    def key(name: str) -> list[int]:
        return [places.get(scope.name, len(places)) for scope in weights[name].scopes]

    return {name: weights[name] for name in sorted(weights, key=key)}


def _names(config: bytes) -> Iterator[str]:
    """Yield the names of the layers, each before those of the layers within."""
    try:
        todo = [json.loads(config)]
    except (ValueError, RecursionError):
        return
    while todo:
        found = todo.pop()
        if isinstance(found, dict):
            own = found.get("config")
            if isinstance(own, dict) and isinstance(own.get("name"), str):
                yield own["name"]
            todo += reversed(found.values())
        elif isinstance(found, list):
            todo += reversed(found)
