"""A network run layer by layer: its inputs, scopes, masks, moments of batches and penalties."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ckpttool.runtime.configure import keras, tensorflow
from ckpttool.runtime.keras.private.walking import functional_of


def packed_inputs(model: Any, tensors: Sequence[Any]) -> Any:
    """Return tensors in the structure of a model's inputs: a single one, a list, or a dict.

    Needs `Functional._inputs_struct`.
    """
    return keras().tree.pack_sequence_as(functional_of(model)._inputs_struct, list(tensors))


def run_layer_by_layer(model: Any, inputs: Any, mask: Any, call: Callable[[Any, Any], Callable[..., Any]]) -> Any:
    """Run a Functional or Sequential model on inputs, with each layer replaced by `call(node, layer)`.

    Needs `_functional` of Sequential models, `_standardize_inputs`, `_nodes_by_depth` and `_run_through_graph` of
    Functional ones, and the last to process the nodes from the deepest on.
    """
    functional = functional_of(model)
    given = functional._standardize_inputs(inputs)
    masks = keras().tree.flatten(mask) if mask is not None else []
    for tensor, own in zip(given, masks, strict=False):
        if own is not None:
            set_mask(tensor, own)
    by_depth = sorted(functional._nodes_by_depth.items(), reverse=True)
    nodes = iter([node for _, at_depth in by_depth for node in at_depth if node.operation and not node.is_input])
    outputs = functional._run_through_graph(given, operation_fn=lambda layer: call(next(nodes), layer))
    return outputs[0] if isinstance(outputs, list | tuple) and len(outputs) == 1 else outputs


def named_scope(layer: Any) -> AbstractContextManager[Any]:
    """Return the scope of a layer's ops, which a call of the layer inside it does not open again.

    Needs `Layer._open_name_scope`, which an operation that is not a layer does not have.
    """
    opened = getattr(layer, "_open_name_scope", None)
    return nullcontext() if opened is None else opened()


def mask_of(tensor: Any) -> Any:
    """Return the mask of a tensor's valid time steps, or None."""
    return getattr(tensor, "_keras_mask", None)


def set_mask(tensor: Any, mask: Any) -> None:
    """Set the mask of a tensor."""
    tensor._keras_mask = mask


def finalize(layer: Any) -> None:
    """Make an adapted normalisation use its mean and variance in the current scope.

    Needs `Normalization.finalize_state`, which otherwise runs when weights are loaded, and `Normalization.input_mean`.
    """
    if isinstance(layer, keras().layers.Normalization) and layer.input_mean is None:
        layer.finalize_state()


def moments_of(normalisation: Any, inputs: Any, mask: Any) -> tuple[Any, Any]:
    """Return the mean and the variance by which a batch normalisation normalises a batch in training.

    Needs `BatchNormalization._moments`.
    """
    mean, variance = normalisation._moments(inputs, mask)
    return mean, variance


def weight_losses_of(model: Any) -> list[Any]:
    """Return the penalties on a model's weights, for their values in the current scope.

    Needs `Layer._get_regularization_losses`.
    """
    return list(model._get_regularization_losses())


@contextmanager
def comparing_values() -> Iterator[None]:
    """Make `tensor == value` in Keras's code compare numbers within the block, as in eager mode.

    In a TensorFlow 1 graph, it compares identities otherwise. Needs `Tensor.__eq__` and `Tensor.__ne__`.
    """
    tf = tensorflow()
    kind = tf.Tensor
    before = {name: getattr(kind, name) for name in ("__eq__", "__ne__")}

    def compared(name: str, by_value: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def compare(self: Any, other: Any) -> Any:
            module = str(sys._getframe(1).f_globals.get("__name__"))
            if other is not None and module.startswith("keras."):
                return by_value(self, other)
            return before[name](self, other)

        return compare

    kind.__eq__, kind.__ne__ = compared("__eq__", tf.equal), compared("__ne__", tf.not_equal)
    try:
        yield
    finally:
        kind.__eq__, kind.__ne__ = before["__eq__"], before["__ne__"]
