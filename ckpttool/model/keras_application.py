"""Models that Keras builds: those of its files, and architectures of `keras.applications` with the values of a file."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.core.variable_kinds import TensorKind
from ckpttool.data.architectures import preprocessing_of
from ckpttool.data.class_files import class_names_of
from ckpttool.formats import registry
from ckpttool.formats.hdf5.tree import Hdf5Tensors
from ckpttool.formats.keras.application_weights import completed_by, paired
from ckpttool.formats.keras.applications import Application, application, cache_folder
from ckpttool.formats.keras.scheme import SCHEME, is_application
from ckpttool.graph.contents.class_names import with_class_names
from ckpttool.graph.contents.keras_network import with_keras_network
from ckpttool.graph.contents.preprocessing import with_preprocessing_text
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.model.keras_model import OpenedKeras, open_keras
from ckpttool.runtime.keras.application import application_built
from ckpttool.runtime.keras.build import KerasModel
from ckpttool.runtime.keras.describe import described
from ckpttool.runtime.keras.trace import traced
from ckpttool.runtime.state import fresh_tensors

SEED = 42
"""The random seed of initial weights: an architecture has the same ones each time it is opened."""
CLASSES = ("imagenet_class_index.json", 1000)
"""The file in Keras's cache with the class names of ImageNet, and their number."""


def open_with_keras(path: Path) -> OpenedKeras:
    """Open a Keras file as `open_keras` does, or an architecture as `open_application`."""
    return open_application(path) if is_application(path) else open_keras(path)


def open_application(path: Path | str) -> OpenedKeras:
    """Build and trace an architecture, and find its weights in the specified file, or in Keras's cache.

    With `weights=None` they are drawn by its initialisers, and no file is needed.

    Raises:
        UnknownName: the architecture does not exist.
        PlanError: an argument is invalid.
        MissingFile: the file of weights is missing; the message says where it was expected.
        FormatError: the file's weights are not those of the architecture.
        MissingDependency: TensorFlow or Keras is not installed.
    """
    named = application(path)
    source = named.weights_path()
    if source is None:
        return _with_random_weights(named, Path(path))
    stored = checkpoint.open(source)
    weights = stored.only({name for name, kind in stored.kinds().items() if kind == "weight"})
    told = completed_by(named, {spec.name: spec for spec in weights.specs()})
    model = application_built(told, source)
    names = _stored_names(model, told, weights, source, leave=named.include_top is False)
    trace = traced(model)
    graph = with_preprocessing_text(trace.graph, str(preprocessing_of(named.name)))
    graph = with_keras_network(_with_imagenet_classes(graph, told, source), described(trace))
    held = {name: stored[own].renamed(name) for name, own in names.items()}
    used = set(names.values())
    return OpenedKeras(graph, stored.holding(held, names), [name for name in stored if name not in used])


def _with_random_weights(named: Application, path: Path) -> OpenedKeras:
    """Build an architecture with random weights, by default with a top; they are drawn when read."""
    top = named.include_top is not False
    trace = traced(application_built(replace(named, include_top=top), path))
    graph = with_preprocessing_text(trace.graph, str(preprocessing_of(named.name)))
    graph = with_keras_network(graph, described(trace))
    drawn = cache(lambda: fresh_tensors(graph, stored_tensors(graph), SEED))

    def read(name: str) -> Array:
        return drawn()[name].read()

    weights = {
        name: Tensor(TensorSpec(name, stored.shape or (), stored.dtype), partial(read, name))
        for name, stored in stored_tensors(graph).items()
    }
    kinds: dict[str, TensorKind] = dict.fromkeys(weights, "weight")
    return OpenedKeras(graph, checkpoint.Checkpoint(weights, stated=kinds), ())


def _stored_names(
    model: KerasModel, application: Application, weights: checkpoint.Checkpoint, source: Path, leave: bool
) -> Mapping[str, str]:
    """Return the name in the file of each weight, whose shape must be that of the architecture.

    With `leave` the file may contain further weights, those of a top.

    Raises:
        FormatError: the weights differ in names or shapes.
    """
    tensors = registry.find(source).open(source)
    if not isinstance(tensors, Hdf5Tensors):
        raise FormatError(f"{source}: the weights of {SCHEME}{application.name} are in a file of Keras (.h5, .keras)")
    places = {name: tensors.locations[weights.origins.get(name, name)] for name in weights}
    names = paired(f"{source}, for {SCHEME}{application.name}", model.places, places, leave)
    for name, own in names.items():
        found, expected = weights[own].shape, tuple(model.variables[name].shape)
        if found != expected:
            raise FormatError(
                f"{source}: {own} is {list(found)}, and {name} of {SCHEME}{application} is {list(expected)}"
            )
    return names


def _with_imagenet_classes(graph: Graph, application: Application, source: Path) -> Graph:
    """Return the graph with the class names of ImageNet, if Keras has downloaded them."""
    names, count = cache_folder() / CLASSES[0], CLASSES[1]
    own = application.include_top and application.classes == count and source.name in application.cached_names()
    return with_class_names(graph, class_names_of(names)) if own and names.is_file() else graph
