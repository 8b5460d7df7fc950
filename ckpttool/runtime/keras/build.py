"""Keras networks built from their configurations, with their variables under the names used in their files."""

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
"""Keras's name of a variable that is not a weight: the counter of a random generator."""


@dataclass(frozen=True, eq=False)
class KerasModel:
    """A network built by Keras, without values, and its variables by the names of the weights in its file.

    `places` contains the path of each variable in a `.keras` file. `copies` are additional names of a
    variable in a file, such as the kernel in a spectral normalisation. `layout` includes variables that are not
    weights.
    """

    network: Network
    live: Any
    variables: Mapping[str, Any]
    places: Mapping[str, str]
    layout: Places
    copies: Collection[str] = ()

    @property
    def constrained(self) -> list[str]:
        """The weights with a constraint, which Keras would apply after each training step."""
        return [name for name, variable in self.variables.items() if getattr(variable, "constraint", None) is not None]


_latest: list[KerasModel] = []
"""The most recently built network: a model that is opened, trained and written is built only once.
"""


def built(network: Network) -> KerasModel:
    """Build a network from a configuration that has been checked to use only Keras's own classes.

    Raises:
        FormatError: Keras rejects the configuration; the message is its reason.
        MissingDependency: TensorFlow or Keras is not installed.
        PlanError: this process has imported Keras with another backend.
    """
    library = keras()
    try:
        with variables_without_values():
            live = library.saving.deserialize_keras_object(_for_any_rows(network.architecture), safe_mode=True)
        freeze_throughout(live)
        return with_named_variables(network, live)  # which a layer that was built otherwise than it says fails too
    except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{network.path}: Keras cannot build it: {reason_of(error)}") from error


def built_once(architecture: Mapping[str, Any], compiled: Mapping[str, Any] | None, path: Path) -> KerasModel:
    """Return the most recently built network of this process if it is the same one, else build it.

    The config is not that of a Keras file: `path` is the file that contains it. Callers must not modify the network.

    Raises:
        FormatError: the config has classes other than Keras's own, or Keras rejects it.
    """
    for model in _latest:
        if model.network.architecture == architecture:
            return replace(model, network=model.network.compiled_with(compiled, path))
    return built(network_of(architecture, compiled, path))


def with_named_variables(network: Network, live: Any) -> KerasModel:
    """Return a built network with its variables by the names that a file of its weights uses."""
    layout = places_of_variables(live)
    named = {
        "/".join([*scopes, _own_name(variable, place)]): (place, variable)
        for place, (scopes, variable) in layout.variables.items()
        if variable.name != SEED
    }
    last = {id(variable): name for name, (_, variable) in named.items()}  # where Keras reads it, after the others
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
    """Return the name of a variable in its layer; its index if the layer has not named it."""
    return place.rpartition("/")[2] if NAMELESS.fullmatch(variable.name) else str(variable.name)


def _for_any_rows(config: Any) -> Any:
    """Return a copy of a config whose inputs accept any number of rows, since rows are computed independently."""
    if isinstance(config, list):
        return [_for_any_rows(each) for each in config]
    if not isinstance(config, Mapping):
        return config
    copied = {key: _for_any_rows(value) for key, value in config.items()}
    if (shape := copied.get("batch_shape")) and isinstance(shape, list | tuple):
        copied["batch_shape"] = [None, *shape[1:]]
    return copied
