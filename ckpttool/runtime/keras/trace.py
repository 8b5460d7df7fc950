"""A network of Keras traced into a graph of TensorFlow 1, as its programs would have built it.

Each layer's ops are in its scope. One that computes something else while training is put between two branches of a
conditional on the placeholder `training`, and what moves its averages is in the collection UPDATE_OPS.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.errors import GraphError
from ckpttool.core.tensors import BY_NAME
from ckpttool.formats.keras.applications import is_application
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import FreeNames, Graph, TensorRef
from ckpttool.graph.rewrite.copied_ops import put_copies
from ckpttool.graph.rewrite.new_variables import NewVariable, with_new_variables
from ckpttool.lineage.provenance import Provenance, SourceFile
from ckpttool.runtime.building import functional_loops, version_1
from ckpttool.runtime.configure import keras, running, tensorflow
from ckpttool.runtime.keras.alike import Alike
from ckpttool.runtime.keras.build import KerasModel
from ckpttool.runtime.keras.constants import as_constant, constants_held
from ckpttool.runtime.keras.initial import InitialOps, drawn_seeds
from ckpttool.runtime.keras.normalisation import axis_is_last, fused, is_fusible, kind_of
from ckpttool.runtime.keras.private.building import drawing_seeds, reason_of
from ckpttool.runtime.keras.private.running import (
    comparing_values,
    finalize,
    mask_of,
    moments_of,
    named_scope,
    packed_inputs,
    run_layer_by_layer,
    set_mask,
    weight_losses_of,
)
from ckpttool.runtime.keras.private.walking import functional_of, is_network, layers_within
from ckpttool.runtime.keras.training import depends_on_training

TRAINING = "training"
"""The placeholder that says whether the network is trained."""


@dataclass(frozen=True, eq=False)
class Traced:
    """The graph of a network, and which of Keras's own calls of layers gave a tensor, by its name.

    A call is a row of nodes: that of the layer itself comes last, those of the models that it is nested in before it.
    Of outputs that are masked Keras's losses leave time steps out.
    """

    model: KerasModel
    graph: Graph
    calls: Mapping[str, tuple[Any, ...]]
    is_masked: bool = False


def traced(model: KerasModel) -> Traced:
    """Trace a network: placeholders for its inputs and `training`, variables with initialisers, a saver, a signature.

    Raises:
        GraphError: a layer cannot be traced.
    """
    tf1, source = tensorflow().compat.v1, str(model.network.path)
    built = tf1.Graph()
    with (
        running(source),
        version_1(),
        built.as_default(),
        constants_held(model.live),
        comparing_values(),
        drawing_seeds(drawn_seeds()),
    ):
        trace = _Trace(model)
        outputs = keras().tree.flatten(trace.run())
        masked = any(mask_of(each) is not None for each in outputs)
        exported = tf1.train.export_meta_graph(graph=built, graph_def=built.as_graph_def(add_shapes=True))
    path = model.network.path
    provenance = Provenance(((SourceFile.of_named_graph if is_application(path) else SourceFile.of_graph)(path),))
    meta = MetaGraphDef.FromString(exported.SerializeToString())
    put_copies(meta, trace.alike.copies)
    graph = Graph(meta, source, provenance=provenance)
    inputs = {tensor.name: fed for tensor, fed in zip(model.live.inputs, trace.inputs, strict=True)}
    names = FreeNames(())
    called = [names.free(name) for name in functional_of(model.live).output_names]  # a layer's are all named after it
    signed = _signed(graph, inputs, dict(zip(called, outputs, strict=True)))
    return Traced(model, with_new_variables(signed, trace.new_variables()), trace.calls, masked)


def _signed(graph: Graph, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Graph:
    """Return a graph with the signature by which a network is called, under the names that Keras has for its ends."""
    header = graph.header_copy()
    signature = header.signature_def[DEFAULT]
    signature.method_name = "tensorflow/serving/predict"
    for side, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for name, tensor in tensors.items():
            side[name].name = tensor.name
            side[name].dtype = tensor.dtype.base_dtype.as_datatype_enum
            side[name].tensor_shape.ParseFromString(tensor.shape.as_proto().SerializeToString())
    return graph.having(header=header)


class _Trace:
    """One tracing: the tensors that stand for the variables, and the calls of layers as they are made."""

    def __init__(self, model: KerasModel) -> None:
        tf1 = tensorflow().compat.v1
        self.model = model
        self.inputs = [_placeholder(tensor) for tensor in model.live.inputs]
        self.training = tf1.placeholder_with_default(False, (), name=TRAINING)
        self.names = {id(variable): name for name, variable in model.variables.items()}
        self.values = {**_weights(model), **_drawn(model)}
        self.calls: dict[str, tuple[Any, ...]] = {}
        self.moved: dict[str, Any] = {}
        self.replaced: set[str] = set()
        self.alike = Alike(self.training)

    def run(self) -> Any:
        """Run the network on its placeholders, and return what it gives."""
        live = self.model.live
        with self._scope(live.variables) as scope:
            outputs = self._run(live, packed_inputs(live, self.inputs), None, ())
            _keep_losses([*scope.losses, *weight_losses_of(live)])
            return outputs

    def new_variables(self) -> list[NewVariable]:
        """Return the variables that the network's placeholders for their values stand for."""
        initial = InitialOps()
        return [
            NewVariable(
                name,
                name,
                tuple(variable.shape),
                BY_NAME[variable.dtype],
                variable.trainable and name not in self.replaced,
                initial.of(name, variable),
                TensorRef.parse(self.moved[name].name) if name in self.moved else None,
            )
            for name, variable in self.model.variables.items()
        ]

    def _run(self, network: Any, inputs: Any, mask: Any, above: tuple[Any, ...]) -> Any:
        def call(node: Any, layer: Any) -> Callable[..., Any]:
            def called(*args: Any, **kwargs: Any) -> Any:
                args, kwargs = keras().tree.map_structure(as_constant, (args, kwargs))
                if is_network(layer):
                    given = args[0] if args else kwargs["inputs"]
                    with named_scope(layer):
                        return self._run(layer, given, kwargs.get("mask"), (*above, node))
                with named_scope(layer):
                    for each in layers_within(layer):
                        finalize(each)
                    with _naming(layer, self.model.network.path):
                        outputs = self._way(layer)(layer, args, kwargs)
                for tensor in keras().tree.flatten(outputs):
                    self.calls[tensor.name] = (*above, node)
                return outputs

            return called

        return run_layer_by_layer(network, inputs, mask, call)

    def _way(self, layer: Any) -> Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]:
        if not depends_on_training(layer):
            return _plain
        if type(layer) is keras().layers.BatchNormalization and not layer.renorm:
            return self._normalised
        return self._conditional

    def _scope(self, variables: Sequence[Any]) -> Any:
        return keras().StatelessScope(state_mapping=self._pairs(variables), collect_losses=True)

    def _pairs(self, variables: Sequence[Any]) -> list[tuple[Any, Any]]:
        return [(each, self.moved.get(self.names.get(id(each), ""), self.values[id(each)])) for each in variables]

    def _normalised(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what a batch normalisation gives in inference, by the batch's own moments where `training` is true."""
        tf, tf1 = tensorflow(), tensorflow().compat.v1
        moving = (layer.moving_mean, layer.moving_variance)
        before = [self.values[id(each)] for each in moving]

        def by(moments: Sequence[Any]) -> Any:
            merged = [*self._pairs(layer.variables), *zip(moving, moments, strict=True)]
            with keras().StatelessScope(state_mapping=merged, collect_losses=True) as scope:
                outputs = layer(*args, **{**kwargs, "training": False})
            _keep_losses(scope.losses)
            return outputs

        def averages() -> list[Any]:
            return [tf.identity(old) for old in before]

        def batch(found: Sequence[Any]) -> list[Any]:
            return [tf.cast(value, old.dtype) for value, old in zip(found, before, strict=True)]

        def fused_by_batch() -> list[Any]:
            gamma, beta = (None if each is None else self.values[id(each)] for each in (layer.gamma, layer.beta))
            outputs, *found = fused(layer, args[0], gamma, beta, before[0])
            return [outputs, *batch(found)]

        def moments_of_batch() -> list[Any]:
            wide = keras().backend.result_type(args[0].dtype, "float32")
            return batch(moments_of(layer, tf.cast(args[0], wide), kwargs.get("mask")))

        def moved(moments: Sequence[Any]) -> list[Any]:
            return [old + (new - old) * (1 - layer.momentum) for old, new in zip(latest, moments, strict=True)]

        def fused_or_not() -> list[Any]:
            both = (fused_by_batch, lambda: [by(before), *averages()])
            with axis_is_last(layer):
                outputs, *moments = tf1.cond(self.training, *both, name="normalised")
            return [outputs, *moved(moments)]

        names = [self.names[id(each)] for each in moving]
        latest = [self.moved.get(name, old) for name, old in zip(names, before, strict=True)]  # if it is called again
        if is_fusible(layer, args[0], kwargs.get("mask")):
            weights = [self.values[id(each)] for each in layer.variables]
            reads = list({id(each): each for each in [args[0], *weights, *latest]}.values())
            outputs, *after = self.alike.of((*kind_of(layer, args[0]), len(reads)), reads, fused_or_not)
        else:
            moments = tf1.cond(self.training, moments_of_batch, averages, name="moments")
            outputs, after = by(moments), moved(moments)
        self.moved |= dict(zip(names, after, strict=True))
        return outputs

    def _conditional(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what a layer gives in training where `training` is true, else in inference; move what it averages.

        Weights that a layer replaces by itself, as a spectral normalisation does its kernel, are taken as frozen.
        """
        tf1, tree = tensorflow().compat.v1, keras().tree
        moving = [each for each in layer.variables if not each.trainable and id(each) in self.names]
        given = {key: value for key, value in kwargs.items() if key != "training"}
        given_values = self._pairs(layer.variables)
        structure: list[Any] = []

        def branch(training: bool) -> Callable[[], list[Any]]:
            def compute() -> list[Any]:
                with self._scope(layer.variables) as scope, functional_loops():
                    outputs = layer(*args, training=training, **given)
                structure[:] = [outputs]
                for variable, value in given_values:
                    if variable.trainable and scope.get_current_value(variable) is not value:
                        self.replaced.add(self.names[id(variable)])
                after = [scope.get_current_value(each) for each in moving]
                return [*after, *scope.losses, *tree.flatten(outputs)]

            return compute

        found = tf1.cond(self.training, branch(True), branch(False), strict=True)
        for variable, value in zip(moving, found, strict=False):
            self.moved[self.names[id(variable)]] = value
        count = len(tree.flatten(structure[0]))
        _keep_losses(found[len(moving) : len(found) - count])
        outputs = tree.pack_sequence_as(structure[0], found[len(found) - count :])
        _carry_mask(layer, args, outputs)
        return outputs


def _weights(model: KerasModel) -> dict[int, Any]:
    """Return the placeholders that stand for a network's weights, which are imported: to make each takes longer."""
    tf1 = tensorflow().compat.v1
    wanted = tf1.GraphDef()
    wanted.versions.producer = tf1.GRAPH_DEF_VERSION  # in old graphs a shape without dimensions is none
    for name, variable in model.variables.items():
        node = wanted.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = tf1.as_dtype(variable.dtype).as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tf1.TensorShape(variable.shape).as_proto())
    made = tf1.import_graph_def(wanted, return_elements=[f"{name}:0" for name in model.variables], name="")
    return {id(variable): tensor for variable, tensor in zip(model.variables.values(), made, strict=True)}


def _drawn(model: KerasModel) -> dict[int, Any]:
    """Return what stands for the states of random generators: they do not count here, but draw at each step."""
    uniform, weights = tensorflow().compat.v1.random.uniform, {id(each) for each in model.variables.values()}
    return {
        id(each): uniform(each.shape, 0, np.iinfo(np.int32).max, each.dtype, name=each.path)
        for each in model.live.variables
        if id(each) not in weights
    }


@contextmanager
def _naming(layer: Any, source: Path) -> Iterator[None]:
    """Name the layer that cannot be traced, such as one that looks values up in tables of its own.

    Raises:
        GraphError: it cannot.
    """
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        kind = type(layer).__name__
        raise GraphError(
            f"{source}: the layer {layer.name} ({kind}) cannot be traced into a graph ({reason_of(error)}); "
            "`model.export(...)` in Python makes a SavedModel, which is taken"
        ) from error


def _plain(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    with functional_loops():
        return layer(*args, **kwargs)


def _keep_losses(losses: Sequence[Any]) -> None:
    """Keep what a network adds to its loss where TensorFlow 1 keeps penalties."""
    tf1 = tensorflow().compat.v1
    for loss in losses:
        tf1.losses.add_loss(loss, tf1.GraphKeys.REGULARIZATION_LOSSES)


def _placeholder(tensor: Any) -> Any:
    return tensorflow().compat.v1.placeholder(tensor.dtype, tensor.shape, name=tensor.name)


def _carry_mask(layer: Any, args: Sequence[Any], outputs: Any) -> None:
    """Give what a conditional returns the mask that the layer would have given it."""
    masks = [mask_of(tensor) for tensor in keras().tree.flatten(args)]
    if layer.supports_masking and any(mask is not None for mask in masks):
        own = keras().tree.flatten(layer.compute_mask(args[0], masks[0]))
        for tensor, mask in zip(keras().tree.flatten(outputs), own, strict=False):
            if mask is not None:
                set_mask(tensor, mask)
