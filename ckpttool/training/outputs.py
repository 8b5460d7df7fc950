"""The kind of prediction of a graph's outputs for a row: a class, several labels, or numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.class_files import Classes, check_count, class_names_of
from ckpttool.data.fitting import INTEGERS
from ckpttool.graph.contents.class_names import with_class_names
from ckpttool.graph.contents.op_outputs import known_shape, shape_of_output
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.contents.static_shapes import static_shape
from ckpttool.graph.contents.variable_ops import variable_behind
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PROBABILITIES
from ckpttool.graph.roles.comparisons import comparison_kind, source
from ckpttool.graph.roles.compiled import compiled_objective
from ckpttool.graph.roles.resolve import Roles, find_roles
from ckpttool.training.wanted import placeholder_spec

_COMPUTES = frozenset({"BiasAdd", "BiasAddV1", "Add", "AddV2", "MatMul", "BatchMatMulV2", "Conv2D"})
"""Op types that compute logits from a variable whose last dimension is their number."""
_PASSES = PROBABILITIES | {"Identity", "StopGradient", "Squeeze", "Cast", "LogSoftmax"}
"""Op types whose output has the shape of their input."""

Predicts = Literal["class", "labels", "numbers"]


def softmax(logits: Array) -> Array:
    """Return the softmax over the last dimension.

    >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: Array) -> Array:
    """Return the sigmoid of each element.

    >>> sigmoid(np.array([0.0, -1000.0])).tolist()
    [0.5, 0.0]
    """
    powers = np.exp(-np.abs(logits))
    probabilities: Array = np.where(logits >= 0, 1, powers) / (1 + powers)
    return probabilities


def _same(outputs: Array) -> Array:
    return outputs


@dataclass(frozen=True)
class Meaning:
    """What outputs predict, the function from outputs to probabilities, if any, and the threshold of a label."""

    predicts: Predicts
    probabilities: Callable[[Array], Array] | None = None
    above: float = 0.0

    def columns(self, outputs: Array) -> dict[str, Array]:
        """Return the predictions for some rows by column: class or labels, probabilities, and the outputs themselves.

        >>> columns = MEANINGS["sigmoid"].columns(np.array([[0.0, 2.0]]))
        >>> {name: array.round(2).tolist() for name, array in columns.items()}
        {'labels': [[0, 1]], 'probabilities': [[0.5, 0.88]], 'logits': [[0.0, 2.0]]}
        """
        columns = {}
        if self.predicts == "class" and outputs.ndim > 1 and outputs.shape[-1] > 1:
            columns["classes"] = outputs.argmax(axis=-1)
        if self.predicts == "labels":
            columns["labels"] = (outputs > self.above).astype(np.uint8)
        if self.probabilities is not None:
            columns["probabilities"] = self.probabilities(outputs)
        if self.probabilities is not _same:
            columns["logits" if self.probabilities else "outputs"] = outputs
        return columns

    def right(self, outputs: Array, labels: Array) -> Array:
        """Return for each of [n] rows how correct its prediction is: 1 or 0, or the fraction of correct labels.

        >>> MEANINGS["softmax"].right(np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 1])).tolist()
        [1.0, 0.0]
        >>> MEANINGS["sigmoid"].right(np.array([[2.0, -1.0]]), np.array([[1, 1]])).tolist()
        [0.5]

        Raises:
            PlanError: outputs and labels are numbers, for which there is no accuracy, or differ in number.
        """
        if self.predicts == "class" and outputs.shape[-1] > 1:
            meant = labels.argmax(axis=-1) if labels.shape == outputs.shape else labels.reshape(outputs.shape[:-1])
            hits = outputs.argmax(axis=-1) == meant
        elif self.predicts == "labels" and outputs.size == labels.size:
            hits = (outputs > self.above) == (labels.reshape(outputs.shape) > 0.5)
        else:
            shapes = f"outputs of {list(outputs.shape[1:])} and labels of {list(labels.shape[1:])} for a row"
            raise PlanError(f"{shapes} are not comparable: expected classes, or binary labels")
        right: Array = hits.reshape(len(outputs), -1).mean(axis=1)
        return right


MEANINGS = {
    "softmax": Meaning("class", softmax),
    "sigmoid": Meaning("labels", sigmoid),
    "hits": Meaning("class"),
    "chances": Meaning("labels", _same, above=0.5),
    "hinge": Meaning("labels"),
    "difference": Meaning("numbers"),
}
"""Meanings by how the loss compares outputs with labels."""
_ACTIVATIONS = {"Softmax": Meaning("class", _same), "Sigmoid": Meaning("labels", _same, above=0.5)}
"""Meanings by the op type of the outputs, if there is no loss."""
_OBJECTIVES = {kind: MEANINGS[kind.partition("_")[0]] for kind in ("softmax", "softmax_dense", "sigmoid")}
"""Meanings of logits by the objective that a Keras network was compiled with; the others are of numbers."""


def meaning(graph: Graph, roles: Roles, tensor: str) -> Meaning | None:
    """Return the meaning of an output tensor; None if the graph does not determine it.

    It follows from the loss, else from the activation, else from the loss that a Keras network was compiled with; else
    logits are classes if there is one integer label per row.
    """
    kind = comparison_kind(graph, roles.loss, tensor) if roles.loss else None
    if kind is not None:
        return MEANINGS[kind]
    activation = graph.op(source(graph, TensorRef.parse(tensor)).op).op
    if activation in _ACTIVATIONS:
        return _ACTIVATIONS[activation]
    compiled = compiled_objective(graph) if tensor in output_tensors(graph) else None
    if compiled is not None:
        return _OBJECTIVES.get(compiled.objective, MEANINGS["difference"])
    return MEANINGS["hits"] if tensor == roles.logits and _are_classes(graph, roles) else None


def with_named_outputs(graph: Graph, classes: Classes) -> Graph:
    """Return a graph with class names for its outputs; their number is checked if it can be determined.

    Raises:
        DataError: the number of names differs from that of outputs, or the file of names cannot be read.
    """
    if not (names := class_names_of(classes)):
        return graph
    logits = find_roles(graph, needed=()).logits
    outputs = _width(graph, logits) if logits else None
    if outputs is not None:
        check_count(names, outputs, str(logits))
    return with_class_names(graph, names)


def _width(graph: Graph, tensor: str) -> int | None:
    """Return the number of logits per row, from the variable that computes them; None if unknown."""
    seen: set[TensorRef] = set()
    ref = TensorRef.parse(tensor)
    while ref not in seen:
        seen.add(ref)
        shape = known_shape(shape_of_output(graph, ref))
        if shape and shape[-1] is not None:
            return shape[-1]
        node, inputs = graph.op(ref.op), graph.inputs(ref.op)
        if node.op in _COMPUTES and len(inputs) > 1 and variable_behind(graph, inputs[1]) is not None:
            turned = any(key in node.attr and node.attr[key].b for key in ("transpose_b", "adj_y"))
            weight = static_shape(graph, inputs[1])
            return None if not weight else weight[-2 if turned else -1]
        if node.op not in _PASSES or not inputs:
            return None
        ref = inputs[0]
    return None


def _are_classes(graph: Graph, roles: Roles) -> bool:
    if roles.labels is None:
        return roles.loss is None
    labels = placeholder_spec(graph, roles.labels)
    return labels.dtype.name in INTEGERS and labels.dtype.name != "bool" and len(labels.shape or (None,)) == 1
