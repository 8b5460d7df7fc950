"""Architectures of `keras.applications`, built without values of weights and without downloads."""

import warnings
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CkptError, PlanError
from ckpttool.formats.keras.applications import Application
from ckpttool.formats.keras.network import network_of
from ckpttool.formats.keras.scheme import SCHEME
from ckpttool.remote.paths import without_secrets
from ckpttool.runtime.configure import keras
from ckpttool.runtime.keras.build import KerasModel, with_named_variables
from ckpttool.runtime.keras.private.building import MOST_SAID, names_as_in_a_new_process, variables_without_values


def application_built(application: Application, source: Path) -> KerasModel:
    """Build an architecture; `source` is the file of its weights.

    Raises:
        PlanError: Keras rejects the arguments; the message is its reason.
        MissingDependency: TensorFlow or Keras is not installed.
    """
    with variables_without_values(), names_as_in_a_new_process(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MobileNets warn about the weights that they would download
        live = _called(application)
    config = keras().saving.serialize_keras_object(live)
    config.pop("compile_config", None)
    return with_named_variables(network_of(config, None, source), live)


def download_weights(application: Application) -> None:
    """Let Keras download the weights of an architecture to its cache, and check them.

    Raises:
        CkptError: the download fails, or there are no weights for these arguments; the message is Keras's reason.
        MissingDependency: TensorFlow or Keras is not installed.
    """
    function = getattr(keras().applications, application.name)
    top = application.include_top is not False
    try:
        function(weights=application.weights, include_top=top, **application.arguments)
    except Exception as error:  # Keras raises `Exception` if a download fails
        reason = without_secrets(" ".join(str(error).split()))[:MOST_SAID]
        raise CkptError(f"{SCHEME}{application}: Keras cannot get the weights: {reason}") from error


def _called(application: Application) -> Any:
    function = getattr(keras().applications, application.name)
    try:
        return function(weights=None, include_top=bool(application.include_top), **application.arguments)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PlanError(f"{SCHEME}{application}: Keras cannot build it: {reason}") from error
