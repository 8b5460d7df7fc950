"""The network of a model.json that is written: copied from another model.json, or converted from a Keras file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.core.plain_files import is_file
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.format import Writing
from ckpttool.formats.keras.files import is_archive, is_whole_model
from ckpttool.formats.tfjs.manifest import DTYPES, MANIFEST, groups_of, is_model, model_of, read_document

HINT = "its network stays as it is; weights alone are written to another format"


class Described(NamedTuple):
    """The entries of a model.json besides its weights, and the weights with its names, in its order."""

    document: Mapping[str, Any]
    weights: Mapping[str, Tensor]


def described(tensors: Mapping[str, Tensor], path: Path, how: Writing) -> Described:
    """Return the network of `like`, or of the file that the weights were read from; an empty document if it has none.

    Raises:
        PlanError: the weights differ from the network's in names, shapes or dtypes, or `like` has no network.
    """
    if like := how.like or how.source:
        if is_model(like):
            return _copied(tensors, model_of(like), how)
        if is_file(like) and is_whole_model(like):
            return _of_keras(tensors, like, how)
        if how.like:
            raise PlanError(
                f"{like} has no network for {path}: `like` is a model.json of TensorFlow.js, or a whole model of Keras"
            )
    return Described({}, tensors)


def _copied(tensors: Mapping[str, Tensor], like: Path, how: Writing) -> Described:
    document = read_document(like)
    places = {weight.spec.name: weight.spec for group in groups_of(like, document) for weight in group.weights}
    _require_same(tensors, places, like, how)
    rest = {key: value for key, value in document.items() if key != MANIFEST}
    return Described(rest, {name: tensors[name] for name in places})


def _of_keras(tensors: Mapping[str, Tensor], like: Path, how: Writing) -> Described:
    from ckpttool.formats.keras.archive import KerasArchive
    from ckpttool.formats.keras.legacy import KerasLegacy
    from ckpttool.formats.tfjs.network import keras_document, weight_names  # of Keras, which others do without

    document, network = keras_document(like)
    places = (KerasArchive() if is_archive(like) else KerasLegacy()).open(like)
    _require_same(tensors, {name: _held(tensor.spec) for name, tensor in places.items()}, like, how)
    return Described(document, {new: tensors[name] for name, new in weight_names(network, places).items()})


def _held(spec: TensorSpec) -> TensorSpec:
    """Return a weight's spec with a dtype of TensorFlow.js: float32 for floats of other sizes."""
    return spec if spec.dtype.name in DTYPES else TensorSpec(spec.name, spec.shape, BY_NAME["float32"])


def _require_same(tensors: Mapping[str, Tensor], places: Mapping[str, TensorSpec], like: Path, how: Writing) -> None:
    """Check that tensors have the names, shapes and dtypes of a network's weights.

    Raises:
        PlanError: they differ; the network is not edited.
    """
    if homeless := [name for name in tensors if name not in places]:
        renamed = how.origins.get(homeless[0], homeless[0])
        was = f", which was {renamed}" if renamed in places else suggestion(homeless[0], places)
        raise PlanError(f"{like} has no weight {listed(homeless, 2)}{was}; {HINT}")
    if empty := [name for name in places if name not in tensors]:
        raise PlanError(f"nothing for {listed(empty, 2)} of {like}; {HINT}")
    for name, place in places.items():
        given, wanted = f"{tensors[name].dtype} {list(tensors[name].shape)}", f"{place.dtype} {list(place.shape)}"
        if given != wanted:
            raise PlanError(f"{name} is {given}, expected {wanted} as in {like}; {HINT}")
