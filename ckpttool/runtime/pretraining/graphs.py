"""Graphs for pretraining: an input, layers that are added above it, and a method that trains them.

The ops of a method are discarded: the layers are then used in the graph without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.batch_losses import with_batch_loss
from ckpttool.graph.contents.keras_network import keras_network, with_keras_network
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.draft import Draft
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.keras.growing import only_inputs, with_layers_on
from ckpttool.runtime.pretraining.method import Method, Place, TrainedLayer
from ckpttool.runtime.spec import LayerSpec, stack, training_switch
from ckpttool.runtime.whole_graphs import building, exported, name_role

SCOPE = "dnn"
METHOD = "pretraining"
"""The scope of a method's ops."""
MADE_AGAIN = f"{METHOD}/made_again:0"
"""The reconstruction of a layer's input by a method."""
DECODER = "decoder"
"""The scope, within that of the method, of the decoder of a single layer; for several, it is the layer's name."""
INPUTS, LABELS = "X", "y"


@dataclass(frozen=True)
class Images:
    """The tensor to which images are fed, their shape (height, width, channels), and their augmentation, if any."""

    tensor: str
    shape: tuple[int, int, int]
    augment: Callable[[Any, Any], Any] | None = None


@dataclass(frozen=True)
class Floor:
    """A layer that a layer-wise method trains, with the names of its tensors: see `TrainedLayer`."""

    layer: str
    given: str
    outputs: str
    below: tuple[str, ...] = ()
    decoder: str = DECODER

    def built(self, graph: Any, variables: Mapping[str, Any]) -> TrainedLayer:
        """Return the layer in a TensorFlow graph; `variables` contains the variables of the graph by name."""
        given, outputs, *below = map(graph.get_tensor_by_name, (self.given, self.outputs, *self.below))
        kernel, bias = (variables.get(f"{self.layer}/{part}") for part in ("kernel", "bias"))
        return TrainedLayer(given, outputs, kernel, bias, tuple(below), self.decoder)


def rows_alone(shape: Sequence[int] | None = None) -> Graph:
    """Return a graph that contains only a placeholder `X` for rows of a shape; None is any shape."""
    with building(seed=0) as built:
        sizes = None if shape is None else [None, *shape]
        name_role("inputs", tensorflow().compat.v1.placeholder("float32", sizes, name=INPUTS))
        graph = exported(built)
        return graph if shape is None else with_keras_network(graph, only_inputs(INPUTS, shape))


def with_layers(graph: Graph, below: str, layers: Sequence[LayerSpec], seed: int) -> tuple[Graph, dict[str, str]]:
    """Add layers above a tensor of a graph; return the graph, and the output tensors of the layers by name.

    Raises:
        PlanError: a layer does not fit the one below.
    """
    switch, known = find_roles(graph, needed=()).training, keras_network(graph)
    with building(seed, graph) as built:
        outputs = stack(layers, built.get_tensor_by_name(below), SCOPE, switch)
        network = with_layers_on(known, layers, outputs) if known else None
        tensors = {name: tensor.name for name, tensor in outputs.items()}
        return with_keras_network(exported(built, graph), network), tensors


def with_method(
    graph: Graph,
    method: Method,
    given: Sequence[str],
    outputs: str,
    floors: Sequence[Floor],
    seed: int,
    images: Images | None = None,
) -> Graph:
    """Add a method to layers of a graph: the input that replaces `given`, and the loss of their `outputs`.

    A method for images does not change other inputs.

    Args:
        graph: The layers, without a loss.
        method: The method.
        given: The input tensors of the layers to train.
        outputs: Their output tensor.
        floors: The layers that a layer-wise method trains, a single one or all from the bottom up; else none.
        seed: The random seed of the added variables.
        images: The input that contains images, for a method for these.

    Raises:
        PlanError: the method does not support layers of this kind.
    """
    switch = find_roles(graph, needed=()).training
    with building(seed, graph) as built:
        tf1 = tensorflow().compat.v1
        held = {variable.op.name: variable for variable in tf1.global_variables()}
        layers = tuple(floor.built(built, held) for floor in floors)
        fed = [built.get_tensor_by_name(name) for name in given]
        above, training = built.get_tensor_by_name(outputs), training_switch(switch)
        shape, augment = (images.shape, images.augment) if images else (None, None)
        places = [Place(each, above, training, layers, shape, _labels, augment) for each in fed]
        if bare := [floor.layer for floor, layer in zip(floors, layers, strict=True) if layer.kernel is None]:
            raise PlanError(f"{method.name} trains layers with a kernel (dense, conv2d), {bare[0]} has none")
        with tf1.variable_scope(METHOD):
            seen = [
                method.seen(place) if images is None or name == images.tensor else _repeated(place.given, method.copies)
                for name, place in zip(given, places, strict=True)
            ]
            judged = method.judged(places[0], seen[0])
            name_role("loss", tensorflow().identity(judged.loss, name="loss"))
            if judged.figure is not None:
                name_role("accuracy", tensorflow().identity(judged.figure, name="figure"))
            if judged.made_again is not None:
                tensorflow().identity(judged.made_again, name="made_again")
        put = with_keras_network(exported(built, graph), None)
    if method.compares:
        put = with_batch_loss(put, method.compares)
    others = {old: new.name for old, new, each in zip(given, seen, fed, strict=True) if new is not each}
    if not others:
        return put
    draft, parse = Draft(put), TensorRef.parse
    draft.redirect({parse(old): parse(new) for old, new in others.items()}, graph.nodes.keys() & put.nodes.keys())
    return draft.sealed()


def _repeated(rows: Any, copies: int) -> Any:
    """Return rows repeated as often as a method copies those of another input."""
    return tensorflow().concat([rows] * copies, 0) if copies > 1 else rows


def _labels() -> object:
    """Create a placeholder for labels that identify rows of the same group."""
    tf1 = tensorflow().compat.v1
    with tf1.name_scope(None):
        placeholder = tf1.placeholder("int64", [None], name=LABELS)
    name_role("labels", placeholder)
    return placeholder
