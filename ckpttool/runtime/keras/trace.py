"""Tracing of a Keras network into a TensorFlow 1 graph, like one built by a TensorFlow 1 program.

The ops of each layer are in its scope. A layer that behaves differently in training becomes two branches of a
conditional on the placeholder `training`, and the updates of its averages are in the collection UPDATE_OPS.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CkptError, GraphError
from ckpttool.formats.keras.scheme import is_application
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import Graph
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.rewrite.copied_ops import put_copies
from ckpttool.graph.rewrite.new_variables import with_new_variables
from ckpttool.lineage.provenance import Provenance
from ckpttool.lineage.source_file import SourceFile
from ckpttool.runtime.building import functional_loops, keep_losses, version_1
from ckpttool.runtime.configure import keras, running, tensorflow
from ckpttool.runtime.keras.alike import Alike
from ckpttool.runtime.keras.build import KerasModel
from ckpttool.runtime.keras.constants import as_constant, constants_held
from ckpttool.runtime.keras.initial import drawn_seeds
from ckpttool.runtime.keras.normalisation import Normalisation
from ckpttool.runtime.keras.private.building import drawing_seeds, reason_of
from ckpttool.runtime.keras.private.running import (
    comparing_values,
    finalize,
    mask_of,
    named_scope,
    packed_inputs,
    run_layer_by_layer,
    set_mask,
    weight_losses_of,
)
from ckpttool.runtime.keras.private.walking import functional_of, is_network, layers_within
from ckpttool.runtime.keras.training import depends_on_training
from ckpttool.runtime.keras.values import Values

TRAINING = "training"
"""The placeholder that is true in training."""


@dataclass(frozen=True, eq=False)
class Traced:
    """The graph of a network, and the Keras layer call that output each tensor, by the tensor's name.

    A call is a chain of nodes: first those of the models that contain the layer, last that of the layer itself.
    Keras's losses ignore masked time steps of outputs.
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
    called = [names.free(name) for name in functional_of(model.live).output_names]  # all share the layer's name
    signed = _signed(graph, inputs, dict(zip(called, outputs, strict=True)))
    return Traced(model, with_new_variables(signed, trace.values.new_variables()), trace.calls, masked)


def _signed(graph: Graph, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Graph:
    """Return a graph with a signature for calling the network, with Keras's names of its inputs and outputs."""
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
    """A single trace: the tensors that replace variables, and the calls of layers so far."""

    def __init__(self, model: KerasModel) -> None:
        tf1 = tensorflow().compat.v1
        self.model = model
        try:
            inputs = model.live.inputs
        except (AttributeError, ValueError) as error:  # a Sequential model to which nothing gives a shape
            raise GraphError(f"{model.network.path}: the network cannot be traced: {reason_of(error)}") from error
        self.inputs = [_placeholder(tensor) for tensor in inputs]
        self.training = tf1.placeholder_with_default(False, (), name=TRAINING)
        self.values = Values(model)
        self.calls: dict[str, tuple[Any, ...]] = {}
        self.alike = Alike(self.training)

    def run(self) -> Any:
        """Run the network on its placeholders, and return its outputs."""
        live = self.model.live
        with self._scope(live.variables) as scope:
            outputs = self._run(live, packed_inputs(live, self.inputs), None, ())
            keep_losses([*scope.losses, *weight_losses_of(live)])
            return outputs

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
        return keras().StatelessScope(state_mapping=self.values.pairs(variables), collect_losses=True)

    def _normalised(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return Normalisation(layer, args, kwargs, self.values).outputs(self.training, self.alike)

    def _conditional(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return a layer's output in training if `training` is true, else in inference; add updates of its averages.

        Weights that a layer itself replaces, such as the kernel in a spectral normalisation, are treated as frozen.
        """
        tf1, tree = tensorflow().compat.v1, keras().tree
        moving = [each for each in layer.variables if not each.trainable and self.values.is_weight(each)]
        given = {key: value for key, value in kwargs.items() if key != "training"}
        given_values = self.values.pairs(layer.variables)
        structure: list[Any] = []

        def branch(training: bool) -> Callable[[], list[Any]]:
            def compute() -> list[Any]:
                with self._scope(layer.variables) as scope, functional_loops():
                    outputs = layer(*args, training=training, **given)
                structure[:] = [outputs]
                for variable, value in given_values:
                    if variable.trainable and scope.get_current_value(variable) is not value:
                        self.values.replace(variable)
                after = [scope.get_current_value(each) for each in moving]
                return [*after, *scope.losses, *tree.flatten(outputs)]

            return compute

        found = tf1.cond(self.training, branch(True), branch(False), strict=True)
        for variable, value in zip(moving, found, strict=False):
            self.values.move(variable, value)
        count = len(tree.flatten(structure[0]))
        keep_losses(found[len(moving) : len(found) - count])
        outputs = tree.pack_sequence_as(structure[0], found[len(found) - count :])
        _carry_mask(layer, args, outputs)
        return outputs


@contextmanager
def _naming(layer: Any, source: Path) -> Iterator[None]:
    """Convert errors while a layer is traced, such as one with lookup tables, to one that names the layer.

    Raises:
        GraphError: the layer cannot be traced.
    """
    try:
        yield
    except CkptError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        kind = type(layer).__name__
        raise GraphError(
            f"{source}: the layer {layer.name} ({kind}) cannot be traced into a graph ({reason_of(error)}); "
            "`model.export(...)` in Python makes a SavedModel, which is taken"
        ) from error


def _plain(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    with functional_loops():
        return layer(*args, **kwargs)


def _placeholder(tensor: Any) -> Any:
    return tensorflow().compat.v1.placeholder(tensor.dtype, tensor.shape, name=tensor.name)


def _carry_mask(layer: Any, args: Sequence[Any], outputs: Any) -> None:
    """Copy the mask of a layer's output to the output of the conditional."""
    masks = [mask_of(tensor) for tensor in keras().tree.flatten(args)]
    if layer.supports_masking and any(mask is not None for mask in masks):
        own = keras().tree.flatten(layer.compute_mask(args[0], masks[0]))
        for tensor, mask in zip(keras().tree.flatten(outputs), own, strict=False):
            if mask is not None:
                set_mask(tensor, mask)
