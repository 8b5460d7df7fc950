"""The object graph of a TensorFlow 2 checkpoint, which maps each object's values to keys and names.

`tf.train.Checkpoint` and SavedModels write a bundle whose keys are attribute paths from the saved object to a value
(`model/layer/kernel/.ATTRIBUTES/VARIABLE_VALUE`), and a TrackableObjectGraph
(tensorflow/core/protobuf/trackable_object_graph.proto). TensorFlow restores values by path. Here they are listed under
the names of the variables, as in other checkpoints.

An optimizer's slots are named as in TensorFlow 1: the variable's name, then the slot's. TensorFlow and Keras have
combined the two in three ways: `SGD/dense/kernel/momentum`, `Adam/m/dense/kernel` (Keras 2 since TensorFlow 2.11) and
`adam/dense_kernel_momentum` (Keras 3).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.message import DecodeError

from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH, OBJECT_VALUE
from ckpttool.formats.wire.elements import as_bytes
from ckpttool.formats.wire.protos.bundle_pb2 import TrackableObjectGraph

VALUE = "VARIABLE_VALUE"
"""The attribute that contains a variable's value; tables and iterators have other attributes."""
EXPORTED_TWICE = "_all_variables/"
"""Keras 3 stores the variables of an exported model a second time here, where TensorFlow 1 reads them."""
BESIDE_VALUES = (OBJECT_GRAPH, EXPORTED_TWICE)
"""Prefixes of names in an object checkpoint that a graph does not need."""
_UNNAMED = re.compile(r"Variable(_\d+)?")
"""TensorFlow's name of a variable that was created without one."""
_Attribute = TrackableObjectGraph.TrackableObject.SerializedTensor


class ObjectGraph:
    """The values of an object graph by name."""

    def __init__(self, raw: bytes, source: str) -> None:
        """Parse the message.

        Raises:
            CorruptCheckpoint: it is not an object graph.
        """
        self.raw = raw
        self._source = source
        try:
            self._graph = TrackableObjectGraph.FromString(raw)
        except DecodeError as error:
            raise CorruptCheckpoint(f"{source}: {OBJECT_GRAPH} is not an object graph: {error}") from error

    def names(self) -> dict[str, str]:
        """Return the key of each value by name.

        The name is the first unique one of: for a slot, its variable's name with the slot's; the full name; the path;
        the key.
        """
        candidates = {key: list(_candidates(key, names)) for key, names in self._full_names().items()}
        counts = Counter(name for names in candidates.values() for name in dict.fromkeys(names))
        return {next((n for n in names if counts[n] == 1), key): key for key, names in candidates.items()}

    def state_keys(self) -> set[str]:
        """Return the keys of values that belong to optimizers, under any attribute name: slots, rates, counters."""
        state = slot_nodes(self._graph) | optimizer_values(self._graph)
        return {attribute.checkpoint_key for node, attribute in self._attributes() if node in state}

    def numbers(self) -> dict[str, int]:
        """Return the number of the object (node) to which each value belongs, by name."""
        objects = {attribute.checkpoint_key: number for number, attribute in self._attributes()}
        return {name: objects[key] for name, key in self.names().items()}

    def copies(self) -> dict[str, str]:
        """Return the names of the duplicates that Keras 3 stores, each with the name of the original value."""
        known, full = self.names(), self._full_names()
        return {name: full[key][0] for name, key in known.items() if _is_copy(key) and full[key][0] in known}

    def keeping(self, names: Mapping[str, str]) -> "ObjectGraph":
        """Return the graph restricted to the given values (name -> key), renamed where names differ.

        Objects whose values are removed remain, so that the paths of others do not change.

        Raises:
            FormatError: a name would be mistaken for that of another value.
        """
        if names == self.names():
            return self
        edited = ObjectGraph(self.raw, self._source)
        edited._drop_others(set(names.values()))
        wanted = {key: name for name, key in names.items()}
        while wrong := {key: wanted[key] for name, key in edited.names().items() if name != wanted[key]}:
            if not edited._set_names(wrong):
                name, key = next((name, key) for key, name in wrong.items())
                raise FormatError(
                    f"{self._source}: {key} cannot be named {name}: it would be read as another variable's name"
                )
        return ObjectGraph(edited._graph.SerializeToString(deterministic=True), self._source)

    def tensor(self) -> Tensor:
        """Return the graph as the string tensor that is stored in a checkpoint."""
        import numpy as np

        return Tensor.of(OBJECT_GRAPH, np.array(self.raw, object))

    def _attributes(self) -> Iterator[tuple[int, _Attribute]]:
        for number, node in enumerate(self._graph.nodes):
            for attribute in node.attributes:
                yield number, attribute

    def _full_names(self) -> dict[str, list[str]]:
        """Return the names of each key's value; for a slot, the conventional name comes first."""
        slots = slot_nodes(self._graph)
        named = [(node, a.checkpoint_key, a.full_name.removesuffix(":0")) for node, a in self._attributes()]
        variables = embedded(name for node, _, name in named if name and node not in slots)
        full_names: dict[str, list[str]] = {}
        for node, key, name in named:
            better = slot_name(name, variables) if node in slots else None
            full_names.setdefault(key, [better, name] if better else [name])
        return full_names

    def _drop_others(self, keys: set[str]) -> None:
        for node in self._graph.nodes:
            for place in reversed(range(len(node.attributes))):
                if node.attributes[place].checkpoint_key not in keys:
                    del node.attributes[place]

    def _set_names(self, names: Mapping[str, str]) -> bool:
        """Set full names by key, and return whether any has changed."""
        changed = False
        for _, attribute in self._attributes():
            name = names.get(attribute.checkpoint_key, attribute.full_name)
            changed = changed or name != attribute.full_name
            attribute.full_name = name
        return changed


def path_of(key: str) -> str:
    """Return the path to a value, which is its name if it has no other.

    >>> path_of("model/kernel/.ATTRIBUTES/VARIABLE_VALUE"), path_of("table/.ATTRIBUTES/table-keys")
    ('model/kernel', 'table/table-keys')
    """
    path, _, attribute = key.partition(OBJECT_VALUE)
    return path if attribute in (VALUE, "") else f"{path}/{attribute}".removeprefix("/")


def _candidates(key: str, names: list[str]) -> Iterator[str]:
    """Yield the possible names of a value, in order of preference."""
    if not _is_copy(key):
        yield from (name for name in names if name and not _UNNAMED.fullmatch(name))
    yield from (path_of(key), key)


def _is_copy(key: str) -> bool:
    return key.startswith(EXPORTED_TWICE)


def graph_of(tensors: Mapping[str, Tensor], source: str) -> ObjectGraph:
    """Return the object graph among tensors.

    Raises:
        CorruptCheckpoint: the tensor of that name is not an object graph, or is damaged.
    """
    tensor = tensors[OBJECT_GRAPH]
    if tensor.dtype is not STRING or tensor.shape != ():
        raise CorruptCheckpoint(f"{source}: {OBJECT_GRAPH} is {tensor.dtype} {list(tensor.shape)}, expected a string")
    return ObjectGraph(as_bytes([tensor.read().item()], OBJECT_GRAPH)[0], source)


def keyed(tensors: Mapping[str, Tensor], origins: Mapping[str, str], source: str) -> dict[str, Tensor]:
    """Return an object checkpoint's tensors by key, with the object graph restricted to them.

    `origins` maps renamed tensors to their names in the object graph. A name may also be a key.

    Raises:
        FormatError: a tensor is not in the object graph, or cannot be renamed.
    """
    graph = graph_of(tensors, source)
    places = _Places(graph.names(), source)
    keys = {name: places.key(name, origins.get(name, name)) for name in tensors if name != OBJECT_GRAPH}
    ours = {OBJECT_GRAPH: graph.keeping(places.names(keys)).tensor()}
    return {keys.get(name, name): ours.get(name) or tensors[name].renamed(keys[name]) for name in tensors}


class _Places:
    """A lookup from tensors' names to their keys in an object graph."""

    def __init__(self, known: Mapping[str, str], source: str) -> None:
        self._known = known
        self._names = {key: name for name, key in known.items()}
        self._source = source

    def key(self, name: str, origin: str) -> str:
        """Return the key of a tensor, given its name and its name in the object graph."""
        if origin in self._known:
            return self._known[origin]
        key = origin if OBJECT_VALUE in origin else self._part(origin)
        if key is None:
            raise FormatError(
                f"{self._source}: {name} has no place in the object graph{suggestion(origin, self._known)}; without "
                f"{OBJECT_GRAPH} the same tensors are a checkpoint by names"
            )
        if name != origin:
            raise FormatError(f"{self._source}: {origin} cannot be named {name}: only variables have names")
        return key

    def names(self, keys: Mapping[str, str]) -> dict[str, str]:
        """Return name -> key of the object graph's values to which the given tensors (name -> key) belong."""
        of_variables = {
            self._names[key] if key == name else name: key for name, key in keys.items() if key in self._names
        }
        parts = tuple(key for key in keys.values() if key not in self._names)
        of_parts = {name: key for name, key in self._known.items() if any(part.startswith(key) for part in parts)}
        return of_variables | of_parts

    def _part(self, name: str) -> str | None:
        """Return the key of a tensor that is one of several of a value, such as a table's keys."""
        owners = [own for own, key in self._known.items() if own == path_of(key) and name.startswith(own)]
        return self._known[max(owners, key=len)] + name[len(max(owners, key=len)) :] if owners else None


def slot_nodes(graph: TrackableObjectGraph) -> set[int]:
    """Return the nodes of optimizers' variables, without the model's own variables, which Keras 3 lists too."""
    slots = {slot.slot_variable_node_id for node in graph.nodes for slot in node.slot_variables}
    for children in _optimizers(graph):
        own = _members(graph, children.get("_variables"))
        slots |= own - _members(graph, children.get("_trainable_variables"))
    return slots


def optimizer_values(graph: TrackableObjectGraph) -> set[int]:
    """Return the nodes of the values that are attributes of optimizers: rates, counters, powers."""
    return {node for children in _optimizers(graph) for node in children.values() if 0 <= node < len(graph.nodes)}


def _optimizers(graph: TrackableObjectGraph) -> Iterator[dict[str, int]]:
    """Yield the children of each optimizer by name: of nodes with slots, or with variables and a counter."""
    for node in graph.nodes:
        children = {child.local_name: child.node_id for child in node.children}
        counts = "_variables" in children and not children.keys().isdisjoint(("_iterations", "iterations"))
        if node.slot_variables or counts:
            yield children


def slot_name(name: str, variables: Mapping[str, str]) -> str | None:
    """Return the name of a slot as its variable's name with the slot's, or None if it has it or matches no variable.

    `variables` maps the forms of variables' names within slots' names to these names (see `embedded`).

    >>> known = embedded(["fc/kernel"])
    >>> [slot_name(name, known) for name in ("SGD/fc/kernel/momentum", "Adam/m/fc/kernel", "adam/fc_kernel_velocity")]
    ['fc/kernel/momentum', 'fc/kernel/m', 'fc/kernel/velocity']
    >>> slot_name("fc/kernel/momentum", known) is slot_name("adam/learning_rate", known) is None
    True
    """
    parts = name.split("/")
    if "/".join(parts[:-1]) in variables:
        return None
    for start in range(1, len(parts) - 1):
        if (base := "/".join(parts[start:-1])) in variables:
            return f"{base}/{parts[-1]}"
        if start > 1 and (base := "/".join(parts[start:])) in variables:
            return f"{base}/{parts[start - 1]}"
    words = parts[-1].split("_")
    for stop in range(len(words) - 1, 0, -1):
        if (flat := "_".join(words[:stop])) in variables and len(parts) > 1:
            return f"{variables[flat]}/{'_'.join(words[stop:])}"
    return None


def embedded(names: Iterable[str]) -> dict[str, str]:
    """Return variables' names by themselves, and by the form with underscores that Keras 3 uses in slots' names."""
    return {form: name for name in names for form in (name.replace("/", "_"), name)}


def _members(graph: TrackableObjectGraph, node: int | None) -> set[int]:
    """Return the children of a list in the graph."""
    if node is None or not 0 <= node < len(graph.nodes):
        return set()
    return {child.node_id for child in graph.nodes[node].children}
