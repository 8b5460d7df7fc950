"""Where in a `.keras` file the variables of a model are, told by the walk with which Keras saves."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ckpttool.runtime.keras.private.building import global_state


class Places(NamedTuple):
    """What a `.keras` file has of a model: variables by their paths, with the names of their layers; groups' names."""

    variables: dict[str, tuple[tuple[str, ...], Any]]
    names: dict[str, str]


def places_of_variables(model: Any) -> Places:
    """Return where in a `.keras` file the variables of a model are.

    Needs `saving_lib._save_state`, which walks a model as Keras does where it saves and loads. It asks for each layer
    which attributes all layers have, looks for the answer under a name by which it does not keep it (3.15), and makes
    a layer to find out; what is kept there for it takes two thirds of the time away.
    """
    state = global_state()
    from keras.src.saving import saving_lib

    for kind in ("Layer", "Operation", "Functional", "Sequential"):
        state.set_global_attribute(f"saving_attr_skiplist_{kind}", saving_lib.get_attr_skipset(kind))
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    scopes: dict[str, str] = {}

    class Store(saving_lib.H5IOStore):  # type: ignore[misc]
        """A store that keeps what it is given in mind, and writes nothing."""

        def __init__(self) -> None:
            """Open no file."""

        def __bool__(self) -> bool:
            return True

        def make(self, path: str, metadata: Mapping[str, str] | None = None) -> Any:
            """Return what takes a layer's variables by their numbers."""
            if metadata:
                scopes[path] = metadata["name"]
            parts = path.split("/")
            above = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
            return _Group(path, tuple(scopes[each] for each in above if each in scopes), found)

    saving_lib._save_state(model, Store(), None, inner_path="", visited_saveables=set())
    return Places(found, scopes)


class _Group(dict[str, Any]):
    """The variables that a layer puts into a store."""

    def __init__(self, path: str, scopes: tuple[str, ...], found: dict[str, tuple[tuple[str, ...], Any]]) -> None:
        super().__init__()
        self.path, self.scopes, self.found = path, scopes, found

    def __setitem__(self, key: str, value: Any) -> None:
        self.found["/".join([*filter(None, [self.path]), "vars", key])] = (self.scopes, value)
