"""The places of a model's variables in a `.keras` file, determined by Keras's own traversal for saving."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ckpttool.runtime.keras.private.building import global_state


class Places(NamedTuple):
    """The content of a `.keras` file: variables by their paths, with the names of their layers; names of groups."""

    variables: dict[str, tuple[tuple[str, ...], Any]]
    names: dict[str, str]


def places_of_variables(model: Any) -> Places:
    """Return the places of a model's variables in a `.keras` file.

    Needs `saving_lib._save_state`, which traverses a model for saving and loading. For each layer, it determines the
    attributes that all layers have, by creating a layer, because its cache has a different key (3.15); filling that
    cache beforehand saves two thirds of the time.
    """
    state = global_state()
    from keras.src.saving import saving_lib

    for kind in ("Layer", "Operation", "Functional", "Sequential"):
        state.set_global_attribute(f"saving_attr_skiplist_{kind}", saving_lib.get_attr_skipset(kind))
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    scopes: dict[str, str] = {}

    class Store(saving_lib.H5IOStore):  # type: ignore[misc]
        """A store that records variables instead of writing them."""

        def __init__(self) -> None:
            """Do not open a file."""

        def __bool__(self) -> bool:
            return True

        def make(self, path: str, metadata: Mapping[str, str] | None = None) -> Any:
            """Return a mapping that records a layer's variables by their numbers."""
            if metadata:
                scopes[path] = metadata["name"]
            parts = path.split("/")
            above = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
            return _Group(path, tuple(scopes[each] for each in above if each in scopes), found)

    saving_lib._save_state(model, Store(), None, inner_path="", visited_saveables=set())
    return Places(found, scopes)


class _Group(dict[str, Any]):
    """Records the variables that a layer writes to a store."""

    def __init__(self, path: str, scopes: tuple[str, ...], found: dict[str, tuple[tuple[str, ...], Any]]) -> None:
        super().__init__()
        self.path, self.scopes, self.found = path, scopes, found

    def __setitem__(self, key: str, value: Any) -> None:
        self.found["/".join([*filter(None, [self.path]), "vars", key])] = (self.scopes, value)
