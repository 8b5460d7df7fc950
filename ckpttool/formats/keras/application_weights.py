"""Pairs a file's weights with those of a `keras.applications` architecture, and determines its arguments from a file.

Weights in Keras 3 files are found by their places, as in Keras. In older files, layers are found by their names. If an
architecture leaves a name to Keras (`conv2d_7`), its number depends on the order in which layers were created, so the
layers of a kind are paired in this order. Older names may contain slashes, and weights may have the names of Keras 1.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby

from ckpttool.core.errors import FormatError
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.keras.applications import Application, MobileNetApplication, MobileNetV3Application

AUTOMATIC = re.compile(
    r"(batch_normalization|conv2d|separable_conv2d|depthwise_conv2d|dense|normalization)(?:_(\d{1,18}))?"
)
"""Keras's default names of layers."""
OWN_NAMES = {
    "depthwise_kernel": "kernel",  # of a layer without another kernel
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
"""The names of weights in Keras 3, by their former names."""


def completed_by(application: Application, stored: Mapping[str, TensorSpec]) -> Application:
    """Return an architecture with unspecified arguments determined from the weights of a file."""
    specs = {_plain(name): spec for name, spec in stored.items()}
    top = [spec.shape[-1] for name, spec in specs.items() if name.startswith(f"{application.top}/") and spec.shape]
    if application.include_top is None:
        application = replace(application, include_top=bool(top))
    if application.include_top and application.classes is None and top:
        application = replace(application, classes=top[0])
    if isinstance(application, MobileNetApplication) and application.alpha is None:
        width = specs.get(f"{application.widest[0]}/kernel")
        application = replace(application, alpha=width.shape[-1] / application.widest[1] if width else None)
    if isinstance(application, MobileNetV3Application) and application.minimalistic is None:
        application = replace(application, minimalistic=not any("squeeze_excite" in name for name in specs))
    return application


def paired(source: str, places: Mapping[str, str], stored: Mapping[str, str], leave: bool = False) -> dict[str, str]:
    """Return the file's name of each weight of a network.

    Args:
        source: The file, for messages.
        places: The place of each of the network's weights in a Keras 3 file.
        stored: The place of each of the file's weights in it.
        leave: Whether weights of the file that are not in the network are ignored.

    Raises:
        FormatError: a weight of the network is not in the file, or one of the file is not in the network.
    """
    by_place = {place: name for name, place in stored.items()}
    if by_place.keys() == set(places.values()) or (leave and by_place.keys() > set(places.values())):
        return {name: by_place[place] for name, place in places.items()}
    wanted, there = _canonical(places), {key: name for name, key in _canonical(stored).items()}
    if len(there) < len(stored):
        raise FormatError(f"{source}: two weights of one layer have one name")
    if missing := [name for name, key in wanted.items() if key not in there]:
        near = suggestion(missing[0], stored)
        raise FormatError(
            f"{source}: the architecture has weights that are missing in the file: {listed(missing, 3)}{near}"
        )
    keys = set(wanted.values())
    if not leave and (left := [name for key, name in there.items() if key not in keys]):
        raise FormatError(f"{source} has weights that belong to no layer of the architecture: {listed(left, 3)}")
    return {name: there[key] for name, key in wanted.items()}


def _canonical(names: Iterable[str]) -> dict[str, str]:
    """Return canonical names, by which both sides can be compared."""
    plain = {name: _plain(name) for name in names}
    ranks = _ranks({key.partition("/")[0] for key in plain.values()})
    return {name: f"{ranks[key.partition('/')[0]]}/{key.partition('/')[2]}" for name, key in plain.items()}


def _plain(name: str) -> str:
    """Return a name with only its last slash, and with Keras 3's name for the weight.

    >>> _plain("expanded_conv/project/kernel"), _plain("block1_conv1/W_1")
    ('expanded_conv_project/kernel', 'block1_conv1/kernel')
    """
    *scopes, own = name.split("/")
    own = re.sub(r"_\d+$", "", own)
    return f"{'_'.join(scopes)}/{OWN_NAMES.get(own, own)}"


def _ranks(layers: Iterable[str]) -> dict[str, str]:
    """Return the names of layers; those with a default name are replaced by their kind and rank.

    >>> _ranks(["conv2d_94", "conv2d_8", "conv1"])
    {'conv1': 'conv1', 'conv2d_8': 'conv2d 0', 'conv2d_94': 'conv2d 1'}
    """
    parts = {layer: AUTOMATIC.fullmatch(layer) for layer in layers}
    ranks = {layer: layer for layer, match in parts.items() if not match}
    numbered = sorted((match[1], int(match[2] or 0), layer) for layer, match in parts.items() if match)
    for kind, members in groupby(numbered, key=lambda member: member[0]):
        ranks |= {layer: f"{kind} {rank}" for rank, (_, _, layer) in enumerate(members)}
    return ranks
