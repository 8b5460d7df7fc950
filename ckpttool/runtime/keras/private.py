"""What ckpttool needs of Keras's private parts, `keras.src` and methods whose names begin with `_`, in one place.

`tests/runtime/keras/test_private.py` tests what each function needs. When a version of Keras changes one, that test
fails, and the place to mend it is here.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from ckpttool.runtime.configure import keras, tensorflow

MOST_SAID = 500
"""Letters of Keras's reasons that are shown: some repeat a whole config."""


@contextmanager
def variables_without_values() -> Iterator[None]:
    """Let models that are built within have variables without values, so that none is drawn and no memory is taken.

    Needs `StatelessScope(initialize_variables=False)`, and the list of what Keras is to initialise later.
    """
    state = _global_state()
    before = list(state.get_global_attribute("uninitialized_variables") or [])
    try:
        with keras().StatelessScope(initialize_variables=False):
            yield
    finally:
        state.set_global_attribute("uninitialized_variables", before)


@contextmanager
def names_as_in_a_new_process() -> Iterator[None]:
    """Let layers that Keras names by how many there are be counted from the first, whatever was built before.

    Needs the counts that `auto_name` keeps.
    """
    state = _global_state()
    before = state.get_global_attribute("object_name_uids")
    state.set_global_attribute("object_name_uids", defaultdict(int))
    try:
        yield
    finally:
        state.set_global_attribute("object_name_uids", before)


def _global_state() -> Any:
    keras()  # says what to install where it is missing
    from keras.src.backend.common import global_state

    return global_state


def initializer_of(variable: Any) -> Callable[..., Any]:
    """Return what draws the value of a variable that has none yet, of a shape and a dtype.

    Needs `Variable._initializer`.
    """
    initializer: Callable[..., Any] = variable._initializer
    return initializer


class Places(NamedTuple):
    """What a `.keras` file has of a model: variables by their paths, with the names of their layers; groups' names."""

    variables: dict[str, tuple[tuple[str, ...], Any]]
    names: dict[str, str]


def places_of_variables(model: Any) -> Places:
    """Return where in a `.keras` file the variables of a model are.

    Needs `saving_lib._save_state`, which walks a model as Keras does where it saves and loads. It asks for each layer
    which attributes all layers have, looks for the answer under a name by which it does not keep it (3.15), and makes
    a layer to find out; what is kept there for it takes two thirds of the time away.
    """
    state = _global_state()
    from keras.src.saving import saving_lib

    for kind in ("Layer", "Operation", "Functional", "Sequential"):
        state.set_global_attribute(f"saving_attr_skiplist_{kind}", saving_lib.get_attr_skipset(kind))
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    scopes: dict[str, str] = {}

    class Store(saving_lib.H5IOStore):  # type: ignore[misc]
        """A store that keeps what it is given in mind, and writes nothing."""

        def __init__(self) -> None:
            """Open no file."""

        def __bool__(self) -> bool:
            return True

        def make(self, path: str, metadata: Mapping[str, str] | None = None) -> Any:
            """Return what takes a layer's variables by their numbers."""
            if metadata:
                scopes[path] = metadata["name"]
            parts = path.split("/")
            above = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
            return _Group(path, tuple(scopes[each] for each in above if each in scopes), found)

    saving_lib._save_state(model, Store(), None, inner_path="", visited_saveables=set())
    return Places(found, scopes)


class _Group(dict[str, Any]):
    """The variables that a layer puts into a store."""

    def __init__(self, path: str, scopes: tuple[str, ...], found: dict[str, tuple[tuple[str, ...], Any]]) -> None:
        super().__init__()
        self.path, self.scopes, self.found = path, scopes, found

    def __setitem__(self, key: str, value: Any) -> None:
        self.found["/".join([*filter(None, [self.path]), "vars", key])] = (self.scopes, value)


def packed_inputs(model: Any, tensors: Sequence[Any]) -> Any:
    """Return tensors in the structure in which a model takes its inputs: one, a list, or by names.

    Needs `Functional._inputs_struct`.
    """
    return keras().tree.pack_sequence_as(functional_of(model)._inputs_struct, list(tensors))


def run_layer_by_layer(model: Any, inputs: Any, mask: Any, call: Callable[[Any, Any], Callable[..., Any]]) -> Any:
    """Run a Functional or Sequential model on inputs, with what `call` makes of each node and its layer in their place.

    Needs `_functional` of Sequential models, `_standardize_inputs`, `_nodes_by_depth` and `_run_through_graph` of
    Functional ones, and that the last goes through the nodes from the deepest on.
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


def is_network(layer: Any) -> bool:
    """Say whether a layer is a model that is made of layers, as `run_layer_by_layer` runs them."""
    keras()
    from keras.src.models.functional import Functional

    return isinstance(functional_of(layer), Functional)


def functional_of(model: Any) -> Any:
    """Return the Functional model that a Sequential one is run as; another model as it is.

    Needs `Sequential._functional`.
    """
    return getattr(model, "_functional", None) or model


def named_scope(layer: Any) -> AbstractContextManager[Any]:
    """Return the scope of a layer's ops, which calling the layer within does not open again.

    Needs `Layer._open_name_scope`; an operation that is no layer has none.
    """
    opened = getattr(layer, "_open_name_scope", None)
    return nullcontext() if opened is None else opened()


def layers_within(layer: Any) -> list[Any]:
    """Return a layer and all that it is made of, to any depth; none of an operation that is no layer.

    Needs `Layer._flatten_layers`.
    """
    flatten = getattr(layer, "_flatten_layers", None)
    return [] if flatten is None else list(flatten(include_self=True, recursive=True))


def takes_training(layer: Any) -> bool:
    """Say whether what a layer computes may depend on whether it is trained.

    Needs `Layer._call_has_training_arg`.
    """
    return bool(getattr(layer, "_call_has_training_arg", False))


def moments_of(normalisation: Any, inputs: Any, mask: Any) -> tuple[Any, Any]:
    """Return the mean and the variance by which a batch normalisation normalises a batch in training.

    Needs `BatchNormalization._moments`.
    """
    mean, variance = normalisation._moments(inputs, mask)
    return mean, variance


def weight_losses_of(model: Any) -> list[Any]:
    """Return the penalties on a model's weights, of their values in the scope that is open.

    Needs `Layer._get_regularization_losses`.
    """
    return list(model._get_regularization_losses())


def parts_of(layer: Any) -> list[Any]:
    """Return a layer's own objects that hold numbers: itself, and its regularisers and constraints.

    Needs that these are attributes of the layer and of its variables.
    """
    kinds = (keras().regularizers.Regularizer, keras().constraints.Constraint)
    held = [*vars(layer).values(), *(getattr(each, "regularizer", None) for each in layer.weights)]
    return [layer, *(value for value in held if isinstance(value, kinds))]


def finalize(layer: Any) -> None:
    """Let a normalisation that was adapted to data compute with its mean and variance of the scope that is open.

    Needs `Normalization.finalize_state`, which otherwise runs when weights are loaded, and `Normalization.input_mean`.
    """
    if isinstance(layer, keras().layers.Normalization) and layer.input_mean is None:
        layer.finalize_state()


@contextmanager
def drawing_seeds(generator: Any) -> Iterator[None]:
    """Let what has no seed of its own draw it from a generator.

    Needs the global attribute `global_seed_generator`, which `keras.random` asks.
    """
    from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR

    state = _global_state()
    before = state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    state.set_global_attribute(GLOBAL_SEED_GENERATOR, generator)
    try:
        yield
    finally:
        state.set_global_attribute(GLOBAL_SEED_GENERATOR, before)


@contextmanager
def comparing_values() -> Iterator[None]:
    """Let `tensor == value` in Keras's code compare numbers, as it does wherever Keras itself runs.

    In a graph of TensorFlow 1 it asks whether both are one tensor. Needs `Tensor.__eq__` and `Tensor.__ne__`.
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


def mask_of(tensor: Any) -> Any:
    """Return the mask that a tensor carries, which says which of its time steps count; None without one."""
    return getattr(tensor, "_keras_mask", None)


def set_mask(tensor: Any, mask: Any) -> None:
    """Let a tensor carry a mask."""
    tensor._keras_mask = mask


def set_trainable_alone(layer: Any, trainable: bool) -> None:
    """Say of a model whether it is trained, and nothing of the layers in it, to which its property would pass it on.

    Needs `Layer._trainable`.
    """
    layer._trainable = trainable


@contextmanager
def trainable_restored(model: Any) -> Iterator[None]:
    """Let a model, its layers and their variables be trained again, or not, as they are now, once this is left.

    Needs `Layer._trainable`.
    """
    layers = [(each, each._trainable) for each in layers_within(model)]
    variables = [(each, each.trainable) for each in model.variables]
    try:
        yield
    finally:
        for layer, trainable in layers:
            set_trainable_alone(layer, trainable)
        for variable, trainable in variables:
            variable.trainable = trainable


def build_optimizer(optimizer: Any, variables: Sequence[Any]) -> None:
    """Make the variables of an optimizer for those of a model, neither with values where they can be without.

    Needs `Optimizer._var_key`, by which an optimizer knows a variable, otherwise by its value; and that Nadam alone
    makes a variable of a value.
    """
    optimizer._var_key = id
    with nullcontext() if isinstance(optimizer, keras().optimizers.Nadam) else variables_without_values():
        optimizer.build(list(variables))


def slots_of(optimizer: Any, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield the variables that a built optimizer trains, each with its slot of a name.

    Needs the attributes of Keras's optimizers, `_momentums` and others, and `Optimizer._trainable_variables`.
    """
    yield from zip(optimizer._trainable_variables, getattr(optimizer, name, None) or (), strict=False)


def calls_of_network(model: Any) -> dict[int, tuple[str, int]]:
    """Return which call of which layer each node of a model is, by the node's identity: calls are counted per layer.

    Needs `_nodes_by_depth` of Functional models, and `Operation._inbound_nodes`.
    """
    nodes = [node for depth in functional_of(model)._nodes_by_depth.values() for node in depth]
    own = {id(node) for node in nodes}
    return {
        id(node): (operation.name, number)
        for operation in {id(node.operation): node.operation for node in nodes}.values()
        for number, node in enumerate(each for each in operation._inbound_nodes if id(each) in own)
    }


def reason_of(error: Exception) -> str:
    """Return in one line what an error of Keras says, without the layers that it passed on its way.

    Needs that Keras has the cause in bold where a call fails, and behind `Exception encountered` where building does.
    """
    text = str(error).rpartition("Exception encountered: ")[2]
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", text, re.DOTALL)
    return " ".join((bold[1] if bold else text).split())[:MOST_SAID]
