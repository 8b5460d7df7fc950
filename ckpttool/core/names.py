"""Names as paths: the components, scopes and layer of a name; and names listed in a message.

Components are separated by `/`, and after the last `/` also by dots: `state_dict_ema/features.0.weight` is in the
scopes `state_dict_ema`, `state_dict_ema/features` and `state_dict_ema/features.0`, because a state dict of PyTorch is a
tree of its own. A dot before a `/` separates nothing: `v1.0/fc/kernel` is in `v1.0`, and not in `v1`. Names in damaged
or hostile files may be of any length and depth, so only a bounded number of scopes is counted.
"""

from collections.abc import Collection, Iterable

DEEPEST, FARTHEST = 100, 1000
"""The number of scopes above a name, and the number of its characters, after which no separator counts."""
LONGEST_NUMBER = 18


def scopes_above(name: str) -> list[str]:
    """Return the scopes that contain a name, from the root, and the name itself.

    >>> scopes_above("ema/features.0.weight"), scopes_above("v1.0/fc")
    (['ema', 'ema/features', 'ema/features.0', 'ema/features.0.weight'], ['v1.0', 'v1.0/fc'])
    """
    return [*(name[:end] for end in _ends(name)), name]


def components(name: str) -> list[str]:
    """Return the components of a name, all but the first with the separator before them.

    >>> components("ema/features.0.weight")
    ['ema', '/features', '.0', '.weight']
    """
    ends = _ends(name)
    return [name[start:end] for start, end in zip([0, *ends], [*ends, len(name)], strict=True)]


def _ends(name: str) -> list[int]:
    last = name.rfind("/") + 1
    ends = [at for at, sign in enumerate(name[:FARTHEST]) if sign == "/" or (sign == "." and at > last)]
    return ends[:DEEPEST]


def number_in(text: str) -> int | None:
    """Return the number that a part of a name consists of; None for anything else, and for over 18 digits.

    >>> number_in("12"), number_in("x"), number_in("\u00b2")
    (12, None, None)
    """
    return int(text) if len(text) <= LONGEST_NUMBER and text.isascii() and text.isdigit() else None


def by_value(part: str) -> tuple[int, str]:
    """Return a sort key for a part of a name: numbers, of any length, by their value, after words.

    >>> sorted(["10", "9", "a"], key=by_value)
    ['a', '9', '10']
    """
    if not (part.isascii() and part.isdigit()):
        return -1, part
    own = part.lstrip("0")
    return len(own), own


def layer_of(name: str) -> str:
    """Return the layer of a variable: its scope, or its own name if it is in none.

    >>> layer_of("dnn/hidden1/kernel"), layer_of("features.0.weight"), layer_of("W")
    ('dnn/hidden1', 'features.0', 'W')
    """
    above, _, last = name.rpartition("/")
    scope = last.rpartition(".")[0]
    return (f"{above}/{scope}" if above and scope else scope or above) or name


def scopes(names: Iterable[str]) -> dict[str, list[str]]:
    """Group names by their layer, in their order.

    >>> scopes(["features.0.weight", "features.0.bias", "scale"])
    {'features.0': ['features.0.weight', 'features.0.bias'], 'scale': ['scale']}
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(layer_of(name), []).append(name)
    return layers


def listed(names: Collection[str], most: int = 8) -> str:
    """Return names as a phrase; of many, the first ones and the number of others.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    return ", ".join(list(names)[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
