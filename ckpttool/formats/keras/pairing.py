"""Pairs a file's weights with those of a network that Keras 3 builds, by name rather than by position.

In Keras 3, a weight's name contains all enclosing layers: `both/forward_lstm/lstm_cell/kernel`. Older files omit some
of them (`both/forward_lstm/kernel`), and have other names for some weights.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from ckpttool.core.errors import FormatError
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.formats.keras.network import Network

OTHERWISE = {"kernel": "depthwise_kernel"}
"""Names of weights in Keras 3, with different names in Keras 2."""
NAMELESS = re.compile(r"[Vv]ariable(_\d+)?")
"""Keras's default names of weights."""


def stored_names(
    built: Iterable[str], stored: Iterable[str], network: Network, places: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the file's name of each weight of a network.

    `places` has the place of each weight in a Keras 3 file: files without the names of a layer's weights (such as those
    of nested layers with their own names) have the number there instead.

    A weight of the file matches one of the network if both are in the same layer and have the same name there, and the
    scopes of the first are among those of the second, in this order. Ambiguous matches are not used.

    Raises:
        FormatError: a weight of the network is not in the file, or one of the file is not in the network.
    """
    left, sought = dict.fromkeys(stored), {name: _in_file(name, network.renamed) for name in built}
    numbered = {name: _numbered(told, (places or {}).get(name, "")) for name, told in sought.items()}
    found = {name: each for name, told in sought.items() for each in (numbered[name], told) if each in left}
    for told in found.values():
        left.pop(told, None)
    here, there = _by_layer(sought[name] for name in sought if name not in found), _by_layer(left)
    for name, told in sought.items():
        layer = told.split("/")[0]
        fitting = [each for each in there[layer] if _fits(each, told)] if name not in found else []
        if len(fitting) == 1 and [each for each in here[layer] if _fits(fitting[0], each)] == [told]:
            found[name] = fitting[0]
            left.pop(fitting[0], None)
    if missing := [told for name, told in sought.items() if name not in found]:
        near = suggestion(missing[0], left)
        raise FormatError(
            f"{network.path}: its network has weights that are missing in the file: {listed(missing, 3)}{near}"
        )
    if left:
        raise FormatError(f"{network.path} has weights that belong to no layer of its network: {listed(list(left), 3)}")
    return {name: found[name] for name in sought}


def _numbered(name: str, place: str) -> str:
    """Return a weight's name with its last part replaced by its number in the layer."""
    return f"{name.rpartition('/')[0]}/{place.rpartition('/')[2]}"


def _in_file(name: str, renamed: Mapping[str, str]) -> str:
    return "/".join(renamed.get(part, part) for part in name.split("/")) if renamed else name


def _by_layer(names: Iterable[str]) -> Mapping[str, list[str]]:
    layers: Mapping[str, list[str]] = defaultdict(list)
    for name in names:
        layers[name.split("/")[0]].append(name)
    return layers


def _fits(stored: str, built: str) -> bool:
    *scopes, own = stored.split("/")
    *all_scopes, called = built.split("/")
    rest = iter(all_scopes)
    named = own in (called, OTHERWISE.get(called)) or NAMELESS.fullmatch(own) is not None
    return named and all(scope in rest for scope in scopes)
