"""Graphs of pretraining: rows alone, layers put on one another, and a method put on layers to train them.

What a method puts on a graph is thrown away: the layers go on in the graph that they were put on without it.
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
"""The scope of what a method puts on a graph."""
MADE_AGAIN = f"{METHOD}/made_again:0"
"""The rows of a layer's input that a method makes of its output."""
DECODER = "decoder"
"""The scope below it of what decodes a layer that is trained alone; that of each of several has the layer's name."""
INPUTS, LABELS = "X", "y"


@dataclass(frozen=True)
class Images:
    """Which tensor takes images, of what shape (height, width, channels), and what changes them, if that is asked."""

    tensor: str
    shape: tuple[int, int, int]
    augment: Callable[[Any, Any], Any] | None = None


@dataclass(frozen=True)
class Floor:
    """A layer of those that a layer-wise method trains, by its name, and tensors by theirs: see `TrainedLayer`."""

    layer: str
    given: str
    outputs: str
    below: tuple[str, ...] = ()
    decoder: str = DECODER

    def built(self, graph: Any, variables: Mapping[str, Any]) -> TrainedLayer:
        """Return the layer in a graph that is built, with its variables, by their names."""
        given, outputs, *below = map(graph.get_tensor_by_name, (self.given, self.outputs, *self.below))
        kernel, bias = (variables.get(f"{self.layer}/{part}") for part in ("kernel", "bias"))
        return TrainedLayer(given, outputs, kernel, bias, tuple(below), self.decoder)


def rows_alone(shape: Sequence[int] | None = None) -> Graph:
    """Return a graph with a placeholder `X` for rows of a shape, of any without one, and nothing else."""
    with building(seed=0) as built:
        sizes = None if shape is None else [None, *shape]
        name_role("inputs", tensorflow().compat.v1.placeholder("float32", sizes, name=INPUTS))
        graph = exported(built)
        return graph if shape is None else with_keras_network(graph, only_inputs(INPUTS, shape))


def with_layers(graph: Graph, below: str, layers: Sequence[LayerSpec], seed: int) -> tuple[Graph, dict[str, str]]:
    """Put layers on a tensor of a graph; return it, and the names of what each gives.

    Raises:
        PlanError: a layer does not fit on what is below it.
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
    """Put a method on layers of a graph: what they see in the place of `given`, and the loss of their `outputs`.

    Of several inputs those that are no images stay as they are, for a method of images.

    Args:
        graph: The layers, without a loss.
        method: The method.
        given: The tensors that go into what is trained.
        outputs: The tensor that comes out.
        floors: The layers that a layer-wise method trains, one alone or all, from the bottom up; else none.
        seed: The random seed of what is put on.
        images: Which of them are images, for a method of these.

    Raises:
        PlanError: the layers are of no kind that the method is for.
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
    """Return rows as often as a method makes others of those that are beside them."""
    return tensorflow().concat([rows] * copies, 0) if copies > 1 else rows


def _labels() -> object:
    """Make a placeholder for labels that say what belongs together."""
    tf1 = tensorflow().compat.v1
    with tf1.name_scope(None):
        placeholder = tf1.placeholder("int64", [None], name=LABELS)
    name_role("labels", placeholder)
    return placeholder
