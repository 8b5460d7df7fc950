"""Attentions in a source: the projections of query, key and value, and the output's, wherever they lie."""

import re
from collections.abc import Iterator, Mapping, Sequence

from ckpttool.foreign.layouts.layout import Shape
from ckpttool.foreign.likeness import layer_of, part_of, scope_of

ROLES = (re.compile(r"q|query"), re.compile(r"k|key"), re.compile(r"v|value"))
_JOINED = re.compile(
    r"(?:(?P<scope>.+)[/.])?(?:in_proj_weight|(?:c_attn|w?qkv|qkv_proj|query_key_value)[/.][^/.]+)", re.I
)
"""The one kernel of all three, of torch's MultiheadAttention, GPT-2 and others."""
_AROUND = re.compile(r"^(?:to|w)?_|^w(?=[qkv]$)|_?(?:proj|projection|lin|linear|layer|dense)$")


def attentions(shapes: Mapping[str, Shape]) -> Iterator[list[str]]:
    """Yield the tensors of each attention, kernels before their biases: with the output's projection, then without.

    >>> names = [f"attention.{layer}.weight" for layer in ("output.dense", "self.key", "self.query", "self.value")]
    >>> for found in attentions(dict.fromkeys(names, (8, 8))):
    ...     print(*found)
    attention.self.query.weight attention.self.key.weight attention.self.value.weight attention.output.dense.weight
    attention.self.query.weight attention.self.key.weight attention.self.value.weight
    """
    layers = _layers(shapes)
    inside: dict[str, list[str]] = {}
    for layer in layers:
        for scope in _scopes(layer):
            inside.setdefault(scope, []).append(layer)
    for scope, found in _projections(layers):
        projections = [name for layer in found for name in layers[layer]]
        output = _output(scope, inside, found)
        yield from ([*projections, *layers[output]], projections) if output else (projections,)


def _projections(layers: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield the layers that project to query, key and value, three or one of all, with the scope that they are in."""
    scopes: dict[str, list[str]] = {}
    for layer in layers:
        scopes.setdefault(scope_of(layer), []).append(layer)
    for scope, inside in scopes.items():
        found = [layer for role in ROLES for layer in inside if role.fullmatch(_role(layer))]
        if len(found) == len(ROLES):
            yield scope, found
    for layer, names in layers.items():
        if joined := _JOINED.fullmatch(names[0]):
            yield joined["scope"] or "", [layer]


def _layers(shapes: Mapping[str, Shape]) -> dict[str, list[str]]:
    """Return names by layers, of those that have a matrix: an attention's have, a normalisation's have none."""
    layers: dict[str, list[str]] = {}
    for name in sorted(shapes, key=lambda name: part_of(name) == "bias"):
        layers.setdefault(layer_of(name), []).append(name)
    return {layer: names for layer, names in layers.items() if any(len(shapes[name]) > 1 for name in names)}


def _role(layer: str) -> str:
    """Return the last component of a layer's name without the words that frameworks put around it.

    >>> _role("attn/q_proj"), _role("attention.self.query"), _role("to_k"), _role("wv")
    ('q', 'query', 'k', 'v')
    """
    return _AROUND.sub("", re.split(r"[/.:]", layer)[-1].lower())


def _output(scope: str, inside: Mapping[str, Sequence[str]], found: Sequence[str]) -> str | None:
    """Return the one other layer in the nearest scope that has others, which is the output's projection."""
    while True:
        others = [layer for layer in inside.get(scope, ()) if layer not in found]
        if others or not scope:
            return others[0] if len(others) == 1 else None
        scope = scope_of(scope)


def _scopes(layer: str) -> Iterator[str]:
    """Yield the scopes that a layer is in, up to the root."""
    while layer:
        yield (layer := scope_of(layer))
