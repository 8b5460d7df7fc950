"""Building TensorFlow 1 graphs: a new network, a head on an old one, a training op on either.

Each function returns a Graph that `tf.compat.v1.train.import_meta_graph` imports like one of TensorFlow's own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.core.errors import CkptError, GraphError, PlanError
from ckpttool.graph.contents.collections import variable_defs
from ckpttool.graph.contents.keras_network import keras_network, with_keras_network
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.collections import is_there
from ckpttool.graph.rewrite.prune import REGULARIZATION_LOSSES
from ckpttool.graph.rewrite.splicing import Site
from ckpttool.graph.roles.logits import Logits
from ckpttool.graph.roles.resolve import ROLE_KEYS
from ckpttool.runtime.building import building_at
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.distillation import Distillation
from ckpttool.runtime.dropout import dropout
from ckpttool.runtime.keras.growing import headed, judged, only_inputs, trained_by
from ckpttool.runtime.objectives import Objective, put_objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import UNKNOWN_STEPS, RunSteps
from ckpttool.runtime.spec import LayerSpec, stack, training_switch
from ckpttool.runtime.training_op import put_training_op
from ckpttool.runtime.whole_graphs import building, exported, name_role

_NO_TEACHER = "Keras lacks the teacher's part of the loss: fit continues without"
_NO_DROPOUT = "the dropout that the training put behind layers is not in the network of Keras"


def new_graph(
    input_shape: Sequence[int], layers: Sequence[LayerSpec], recipe: Recipe, objective: Objective, seed: int
) -> Graph:
    """Build a network: `X`, `y`, the layers below `dnn/`, `loss/loss`, `eval/accuracy` and a training op."""
    recipe.require_rates()
    with building(seed) as built:
        tf1 = tensorflow().compat.v1
        inputs = tf1.placeholder("float32", [None, *input_shape], name="X")
        name_role("inputs", inputs)
        loss, outputs = _put_head(layers, inputs, "dnn", "y", objective, None)
        trained = tf1.trainable_variables()
        put_training_op(recipe, loss, trained, [variable.op.name for variable in tf1.global_variables()])
        network, result = headed(only_inputs("X", input_shape), layers, outputs, objective), exported(built)
        return with_keras_network(
            result, trained_by(network, recipe, _ranks(result), [variable.op.name for variable in trained])
        )


@dataclass(frozen=True)
class HeadPlacement:
    """The place of a head: the tensor below it, the scope of its ops, the labels' name, the graph's training switch."""

    features: str
    scope: str
    labels: str
    training: str | None


def with_head(
    graph: Graph, place: HeadPlacement, layers: Sequence[LayerSpec], objective: Objective, seed: int
) -> Graph:
    """Add layers, labels, loss and accuracy above a tensor of a graph that has none; the training op is added later.

    Raises:
        GraphError: a layer of the head has the name of a layer below it.
    """
    with building(seed, graph) as built:
        _refuse_taken(built, [layer.name for layer in layers], graph.source)
        features = built.get_tensor_by_name(place.features)
        _, outputs = _put_head(layers, features, place.scope, place.labels, objective, place.training)
        below = keras_network(graph)
        network = headed(below.cut_after(place.features), layers, outputs, objective) if below else None
        return with_keras_network(exported(built, graph), network)


def misfit(
    layers: Sequence[LayerSpec], below: str, dtype: str, shape: Sequence[int | None] | None, objective: Objective
) -> str | None:
    """Return why layers and their loss cannot be added on a tensor of this shape; None if they can.

    `below` is the op that outputs the tensor, for the message.
    """
    try:
        with building(seed=0):
            features = tensorflow().compat.v1.placeholder(dtype, shape, name=below)
            _put_head(layers, features, "", "labels_of_head", objective, None)
    except CkptError as error:
        return str(error)
    return None


def with_objective(graph: Graph, logits: Logits, labels: str, objective: Objective, seed: int) -> Graph:
    """Add a loss and its accuracy to the logits of a graph; they replace the graph's own in its roles.

    `labels` is a tensor of the graph, or the name of a new placeholder.

    Raises:
        PlanError: the objective cannot compare logits or labels of this shape or dtype.
    """
    has_labels, known = TensorRef.parse(labels).op in graph.nodes, keras_network(graph)
    read = [logits.tensor, *([logits.shaped_as] if logits.shaped_as else []), *([labels] if has_labels else [])]
    read += [name for key in (*ROLE_KEYS.values(), REGULARIZATION_LOSSES) for name in graph.collection(key)]
    with building_at(Site.of(graph, read=[name for name in read if is_there(name, graph.nodes)]), seed) as built:
        compared = _in_form(built.live, logits)
        if has_labels:
            side = built.live.get_tensor_by_name(labels)
            _require_rank(graph, objective, compared, side)
            name_role("labels", side)
            _put_objective(objective, compared, side)
        else:
            _put_loss(objective, compared, labels)
        network = judged(known, objective, from_logits=logits.activation is None) if known else None
        return with_keras_network(built.spliced(), network)


def _require_rank(graph: Graph, objective: Objective, logits: Any, labels: Any) -> None:
    """Check that labels have the rank that an objective compares logits with."""
    dtype, shape = objective.loss.labels(logits)
    if labels.shape.rank not in (None, len(shape)):
        expected = f"{dtype} {shape}, as {objective.kind} has them"
        raise PlanError(f"{graph.source}: the labels {labels.name} are {labels.shape}, expected {expected}")


def _in_form(built: Any, logits: Logits) -> Any:
    """Return logits in the shape of the output that is computed from them, with half precision cast to float32."""
    tf = tensorflow()
    tensor = built.get_tensor_by_name(logits.tensor)
    if logits.shaped_as is not None:
        output = built.get_tensor_by_name(logits.shaped_as)
        tensor = tf.reshape(tensor, tf.shape(output), name="logits")
        tensor.set_shape(output.shape)
    return tf.cast(tensor, "float32", name="logits") if tensor.dtype in (tf.float16, tf.bfloat16) else tensor


def with_training(
    graph: Graph,
    loss: str,
    trainable: Sequence[str],
    recipe: Recipe,
    seed: int,
    *,
    span: RunSteps = UNKNOWN_STEPS,
    head: Collection[str] = (),
    taught: Distillation | None = None,
) -> Graph:
    """Add a training op to a graph that has none: it updates the variables with these ops by the gradients of `loss`.

    `head` contains the ops of newly initialised variables; `taught` adds a distillation loss.
    """
    read = [loss, *([taught.logits] if taught else [])]
    needed = {op for name in read for op in graph.ancestors(TensorRef.parse(name).op)}
    trained = [name for name in trainable if name in needed]
    through = graph.descendants(trained) & needed
    kept = [name for name in graph.collection(ROLE_KEYS["loss"]) if is_there(name, graph.nodes)]
    site = Site.of(graph, through, [*read, *kept], {*trained, *_listed(graph, "global_step")})
    with building_at(site, seed) as built:
        held = {variable.op.name: variable for variable in tensorflow().compat.v1.global_variables()}
        tensor = built.live.get_tensor_by_name(loss)
        learnt = taught.blended(tensor, built.live.get_tensor_by_name(taught.logits)) if taught else None
        put_training_op(recipe, tensor, [held[name] for name in trained], _listed(graph), span, head, learnt)
        network, result = keras_network(graph), built.spliced()
        network = network and trained_by(network, recipe, _ranks(result), trained)
        return with_keras_network(result, network and network.lacking("teacher", [_NO_TEACHER] if taught else []))


def _listed(graph: Graph, key: str = "variables") -> list[str]:
    """Return the ops of the variables in a collection, in its order."""
    return [TensorRef.parse(entry.variable_name).op for entry in variable_defs(graph, key)]


def _ranks(graph: Graph) -> dict[str, int]:
    """Return the ranks of all variables by their ops; 0 if the rank is unknown."""
    attributes = {op: graph.nodes[op].attr for op in _listed(graph)}
    return {op: len(own["shape"].shape.dim) if "shape" in own else 0 for op, own in attributes.items()}


def with_gradients(
    graph: Graph, loss: str, tensors: Sequence[str], weights: Sequence[str]
) -> tuple[Graph, dict[str, str]]:
    """Add the gradients of `loss` with respect to tensors, and to the variables with the ops in `weights`.

    Returns the graph and the gradient tensors by the names of these tensors and ops, without those that the loss does
    not depend on.
    """
    below = [*(TensorRef.parse(name).op for name in tensors), *weights]
    through = graph.descendants(below) & graph.ancestors(TensorRef.parse(loss).op)
    with building_at(Site.of(graph, through, [loss, *tensors], weights), 0) as built:
        tf1 = tensorflow().compat.v1
        held = {variable.op.name: variable for variable in tf1.global_variables()}
        sources = {name: built.live.get_tensor_by_name(name) for name in tensors} | {
            name: held[name] for name in weights
        }
        gradients = tf1.gradients(built.live.get_tensor_by_name(loss), list(sources.values()))
        made = {
            name: tf1.identity(gradient, name="ckpttool_gradient").name
            for name, gradient in zip(sources, gradients, strict=True)
            if gradient is not None
        }
        return built.spliced(), made


def with_dropout(
    graph: Graph, places: Mapping[str, tuple[str, float]], training: str | None, seed: int
) -> tuple[Graph, dict[str, str], str]:
    """Add dropout to tensors; `places` maps a scope to a tensor and its rate.

    Returns the graph, the tensor after dropout by that before it, and the name of the training switch.
    """
    with building(seed, graph) as built:
        tf1, switch = tensorflow().compat.v1, training_switch(training)
        made = {}
        for scope, (tensor, rate) in places.items():
            with tf1.name_scope(f"{scope}/"):
                made[tensor] = dropout(built.get_tensor_by_name(tensor), rate, switch).name
        network = keras_network(graph)
        noted = with_keras_network(exported(built, graph), network and network.lacking("dropout", [_NO_DROPOUT]))
        return noted, made, switch().name


def _refuse_taken(built: Any, names: Sequence[str], source: str) -> None:
    taken = {variable.op.name.rpartition("/")[0] for variable in tensorflow().compat.v1.global_variables()}
    for name in names:
        if name in taken:
            raise GraphError(f"{source}: the head names a layer {name}, which is below the cut; name it otherwise")


def _put_head(
    layers: Sequence[LayerSpec], inputs: Any, scope: str, labels: str, objective: Objective, training: str | None
) -> tuple[Any, dict[str, Any]]:
    """Add layers, labels, loss and accuracy above a tensor; return the loss, and the layers' outputs by name."""
    outputs = stack(layers, inputs, scope, training)
    logits = outputs[layers[-1].name]
    if logits.shape.rank != 2:
        raise PlanError(f"the last layer, {layers[-1].name}, gives {logits.shape}, expected [rows, outputs]")
    return _put_loss(objective, logits, labels), outputs


def _put_loss(objective: Objective, logits: Any, labels: str) -> Any:
    """Add a placeholder for labels, a loss and an accuracy to logits; return the loss."""
    placeholder = tensorflow().compat.v1.placeholder(*objective.loss.labels(logits), name=labels)
    name_role("labels", placeholder)
    return _put_objective(objective, logits, placeholder)


def _put_objective(objective: Objective, logits: Any, labels: Any) -> Any:
    dtype, _ = objective.loss.labels(logits)
    loss, accuracy = put_objective(objective, logits, tensorflow().cast(labels, dtype))
    for role, tensor in (("logits", logits), ("loss", loss), ("accuracy", accuracy)):
        name_role(role, tensor)
    return loss
