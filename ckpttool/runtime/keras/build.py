"""Keras's networks built of their configurations, and their variables under the names that their files give them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.network import Network, network_of
from ckpttool.formats.keras.pairing import NAMELESS
from ckpttool.runtime.configure import keras
from ckpttool.runtime.keras.private.building import reason_of, variables_without_values
from ckpttool.runtime.keras.private.layout import Places, places_of_variables
from ckpttool.runtime.keras.private.walking import freeze_throughout

SEED = "seed_generator_state"
"""What Keras calls a variable that is no weight: what a random generator counts."""


@dataclass(frozen=True, eq=False)
class KerasModel:
    """A network that Keras has built, without values, and its variables by the names of its file's weights.

    `places` has for each of them the path that it has in a `.keras` file. `copies` are names under which a file has a
    variable once more, as a spectral normalisation has its layer's kernel. `layout` is of all its variables, those too
    that are no weights.
    """

    network: Network
    live: Any
    variables: Mapping[str, Any]
    places: Mapping[str, str]
    layout: Places
    copies: Collection[str] = ()

    @property
    def constrained(self) -> list[str]:
        """The weights that Keras would bring back into bounds after each step of training."""
        return [name for name, variable in self.variables.items() if getattr(variable, "constraint", None) is not None]


_latest: list[KerasModel] = []
"""The network that was built last: who opens a model and trains it writes the same network, without building it again.
"""


def built(network: Network) -> KerasModel:
    """Build a network whose configuration was held against the lists of Keras's own classes.

    Raises:
        FormatError: Keras refuses the configuration; its reason is the message.
        MissingDependency: TensorFlow or Keras is not installed.
    """
    with variables_without_values():
        live = _of_config(network)
    freeze_throughout(live)
    return with_named_variables(network, live)


def built_once(architecture: Mapping[str, Any], compiled: Mapping[str, Any] | None, path: Path) -> KerasModel:
    """Return the network that was built last in this process, if this is the same one, else build it.

    Its config is not in a file of Keras: `path` is what holds it. Who asks for it leaves it as it is.

    Raises:
        FormatError: the config is not of Keras's own classes, or Keras refuses it.
    """
    for model in _latest:
        if model.network.architecture == architecture:
            return replace(model, network=model.network.compiled_with(compiled, path))
    return built(network_of(architecture, compiled, path))


def with_named_variables(network: Network, live: Any) -> KerasModel:
    """Return a network that is built, with its variables by the names that a file of its weights has for them."""
    layout = places_of_variables(live)
    named = {
        "/".join([*scopes, _own_name(variable, place)]): (place, variable)
        for place, (scopes, variable) in layout.variables.items()
        if variable.name != SEED
    }
    last = {id(variable): name for name, (_, variable) in named.items()}  # Keras reads it there, after the others
    own = {name: each for name, each in named.items() if last[id(each[1])] == name}
    model = KerasModel(
        network,
        live,
        {name: variable for name, (_, variable) in own.items()},
        {name: place for name, (place, _) in own.items()},
        layout,
        [name for name in named if name not in own],
    )
    _latest[:] = [model]
    return model


def _own_name(variable: Any, place: str) -> str:
    """Return what a variable is called in its layer: its number there, if the layer gave it no name."""
    return place.rpartition("/")[2] if NAMELESS.fullmatch(variable.name) else str(variable.name)


def _of_config(network: Network) -> Any:
    try:
        return keras().saving.deserialize_keras_object(_for_any_rows(network.architecture), safe_mode=True)
    except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{network.path}: Keras cannot build it: {reason_of(error)}") from error


def _for_any_rows(config: Any) -> Any:
    """Return a copy of a config whose inputs take any number of rows: each is computed alike in any batch."""
    if isinstance(config, list):
        return [_for_any_rows(each) for each in config]
    if not isinstance(config, Mapping):
        return config
    copied = {key: _for_any_rows(value) for key, value in config.items()}
    if (shape := copied.get("batch_shape")) and isinstance(shape, list | tuple):
        copied["batch_shape"] = [None, *shape[1:]]
    return copied
