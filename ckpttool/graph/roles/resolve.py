"""Roles: a graph's inputs, labels, logits, loss, accuracy, training op and training switch.

Each is determined by the first of these: the caller's argument; a collection of its name, such as `ckpttool/loss`; what
the graph computes; names (`candidates.py`, `placeholders.py`). Of several candidates, one that a collection such as the
chapter's `my_important_ops` names is chosen; otherwise the ambiguity is an error that lists them.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property, partial

from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.core.names import listed
from ckpttool.formats.wire.protos.meta_graph_pb2 import CollectionDef
from ckpttool.graph.contents.named import tensor_named
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.roles import candidates, placeholders
from ckpttool.graph.roles.comparisons import LossComparison, comparisons
from ckpttool.graph.roles.towers import first_tower
from ckpttool.graph.roles.training_ops import training_ops, updaters, with_layers

ROLES = ("inputs", "labels", "logits", "loss", "accuracy", "training_op", "training")
ROLE_KEYS = {role: f"ckpttool/{role}" for role in ROLES}
"""The collections in which a graph may name its roles; `ckpttool collections` adds one."""

_STANDARD_KEYS = frozenset({"train_op", "losses", "regularization_losses", "summaries", "summary_op", "update_ops"})
_STANDARD_KEYS |= {"init_op", "local_init_op", "ready_op", "ready_for_local_init_op", "saved_model_main_op"}
_STANDARD_KEYS |= {"activations", "table_initializer"}
"""The collections that TensorFlow itself fills; others list ops that the graph's author considers important."""


@dataclass(frozen=True)
class Roles:
    """The names of a graph's tensors (`X:0`) and of its training op (`GradientDescent`); None if there is none."""

    inputs: tuple[str, ...] = ()
    labels: str | None = None
    logits: str | None = None
    loss: str | None = None
    accuracy: str | None = None
    training_op: str | None = None
    training: str | None = None


def find_roles(graph: Graph, needed: Collection[str] = ROLES, **overrides: str | Sequence[str] | None) -> Roles:
    """Return the roles in a graph; an override specifies one by an op's or a tensor's name (`loss="new_loss/loss"`).

    A role that is not in `needed` is None if it is ambiguous.

    Raises:
        UnknownName: the name in an override does not exist; the message has the nearest names.
        GraphError: a needed role is ambiguous; the message lists the candidates and the parameter that specifies it.
    """
    unknown = set(overrides) - set(ROLES)
    if unknown:
        raise TypeError(f"no role named {', '.join(sorted(unknown))}")
    return _Resolver(graph, needed, {role: value for role, value in overrides.items() if value}).roles()


def needed_role(graph: Graph, roles: Roles, role: str) -> str:
    """Return the name of a role's tensor or op.

    Raises:
        GraphError: the graph has none.
    """
    name: str | None = getattr(roles, role)
    if name is None:
        from ckpttool.graph.roles.compiled import compiled_note  # slow, only for the message

        new = ", or an `objective`, which adds a loss on the outputs" if role == "loss" else ""
        own = compiled_note(graph) if role == "loss" else ""
        raise GraphError(
            f"{graph.source}: no {role} is known{own}; specify `{role}`{new}, or add a new head with `reuse`"
        )
    return name


def needs_no_labels(graph: Graph, roles: Roles) -> bool:
    """Return whether a graph's loss depends on its inputs only, as in an autoencoder."""
    if roles.labels is not None or roles.loss is None:
        return False
    fed = placeholders.inputs(graph, placeholders.placeholders_of(graph, roles.loss), None)
    return (
        bool(fed)
        and set(fed) <= set(roles.inputs)
        and not placeholders.named_labels(TensorRef.parse(name).op for name in fed)
    )


@cached
def certain_roles(graph: Graph) -> Roles:
    """Return the roles that are not ambiguous, by `find_roles` with none needed."""
    return find_roles(graph, needed=())


@cached
def compared_logits(graph: Graph) -> list[str]:
    """Return the logits; if they are ambiguous, all that the losses compare with labels (of towers, the first)."""
    roles = certain_roles(graph)
    return [roles.logits] if roles.logits else first_tower(graph, _Resolver(graph, (), {}).compared)


@cached
def has_towers(graph: Graph) -> bool:
    """Return whether a graph's losses compare the corresponding tensors of several towers."""
    compared = _Resolver(graph, (), {}).compared
    return len(first_tower(graph, compared)) < len(compared)


class _Resolver:
    """Determines each role once; some depend on others."""

    def __init__(self, graph: Graph, needed: Collection[str], overrides: dict[str, str | Sequence[str]]) -> None:
        self.graph = graph
        self.needed = needed
        given = {role: _checked(graph, role, value) for role, value in overrides.items()}
        collected = {role: _collected(graph, role) for role in ROLES if role not in given}
        self.given = {role: names for role, names in (collected | given).items() if names}
        self.important = _important(graph)
        # Inputs, labels and switches need the placeholders of the same few tensors.
        self.fed = cache(partial(placeholders.placeholders_of, graph))

    def roles(self) -> Roles:
        return Roles(**{field.name: getattr(self, field.name) for field in fields(Roles)})

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The placeholders, without labels and scalar settings, on which the logits depend, or else the loss.

        In a graph with neither, the signature's inputs, or all placeholders.
        """
        if "inputs" in self.given:
            return tuple(self.given["inputs"])
        top = self.logits or self.loss or self.accuracy
        signed = candidates.signature_tensors(self.graph, "inputs")
        if top is None and (signed or self._losses):
            return signed
        return tuple(placeholders.inputs(self.graph, self.fed(top), self.labels))

    @cached_property
    def labels(self) -> str | None:
        return self._one("labels", self._labels)

    @cached_property
    def logits(self) -> str | None:
        return self._one("logits", self._logits)

    @cached_property
    def loss(self) -> str | None:
        return self._one("loss", lambda: self._losses)

    @cached_property
    def accuracy(self) -> str | None:
        return self._one("accuracy", lambda: candidates.accuracies(self.graph, self.logits))

    @cached_property
    def training_op(self) -> str | None:
        return self._one("training_op", lambda: self._training_ops)

    @cached_property
    def training(self) -> str | None:
        """The boolean placeholder on which the logits, or else the loss, depend."""
        return self._one("training", lambda: placeholders.switches(self.graph, self.fed(self.logits or self.loss)))

    def _one(self, role: str, find: Callable[[], Iterable[str]]) -> str | None:
        """Return the specified name, or the only candidate, or the only one in a collection."""
        if role in self.given:
            return self._given(role)
        names = list(dict.fromkeys(find()))
        if len(names) > 1:
            names = [name for name in names if TensorRef.parse(name).op in self.important] or names
        names = names if role == "training_op" else first_tower(self.graph, names)
        if len(names) > 1 and role in self.needed:
            found = with_layers(self.graph, names) if role == "training_op" else listed(names)
            problem = f"several ops could be the {role.replace('_', ' ')}: {found}; specify `{role}`"
            raise GraphError(f"{self.graph.source}: {problem}")
        return names[0] if len(names) == 1 else None

    @cached_property
    def _losses(self) -> list[str]:
        return candidates.losses(self.graph, self.training_op, updaters(self.graph))

    @cached_property
    def _training_ops(self) -> list[str]:
        """The training ops; where the loss is given, those whose gradients start there."""
        loss = self._given("loss")
        if loss is None:
            return training_ops(self.graph)
        of_loss = [name for name in updaters(self.graph) if loss in candidates.loss_of_gradients(self.graph, name)]
        return training_ops(self.graph, of_loss)

    def _logits(self) -> list[str]:
        """Return the tensors that the loss (else a given accuracy) compares with labels; without either, by name."""
        if self.loss or "accuracy" in self.given:
            return [str(pair.logits) for pair in self._comparisons]
        return candidates.named_logits(self.graph)

    def _labels(self) -> list[str]:
        """Return the placeholders with which the loss compares the logits; without logits, those named as labels."""
        if self.loss is None:
            return []
        if self.logits is None:
            return placeholders.named_labels(self.fed(self.loss))
        return candidates.compared_labels(self.graph, self.loss, self.logits, self._comparisons, self.fed(self.logits))

    @cached_property
    def _comparisons(self) -> list[LossComparison]:
        top = self.loss or self._given("accuracy")
        return comparisons(self.graph, TensorRef.parse(top).op) if top else []

    @property
    def compared(self) -> list[str]:
        """The tensors that the losses compare with labels."""
        losses = [self.loss] if "loss" in self.given and self.loss else self._losses
        pairs = (pair for loss in losses for pair in comparisons(self.graph, TensorRef.parse(loss).op))
        return list(dict.fromkeys(str(pair.logits) for pair in pairs))

    def _given(self, role: str) -> str | None:
        return self.given[role][0] if role in self.given else None


def with_roles(graph: Graph, roles: Roles) -> Graph:
    """Return the graph with a collection for each role's tensors, so that they need not be specified again."""
    header = graph.header_copy()
    for role in ROLES:
        value = getattr(roles, role)
        names = list(value) if role == "inputs" else [value] if value else []
        if names and role != "training_op":
            collection = CollectionDef()
            collection.node_list.value.extend(names)
            header.collection_def[ROLE_KEYS[role]].CopyFrom(collection)
    return graph.having(header=header)


def _checked(graph: Graph, role: str, value: str | Sequence[str]) -> list[str]:
    """Return the names in an override after checking that they exist and have a suitable op."""
    names = [value] if isinstance(value, str) else list(value)
    for name in names:
        if role == "training_op" and name.removesuffix(":0") not in graph.nodes and updaters(graph):
            known = with_layers(graph, updaters(graph))
            raise UnknownName(f"{graph.source}: `training_op` {name}: no such op; the graph has {known}")
        op = tensor_named(graph, name, f"`{role}` {name}").op
        if role == "training" and not placeholders.is_switch(graph, op):
            op_type = graph.nodes[op].op
            raise GraphError(f"{graph.source}: `training` {name} is a {op_type}, expected a boolean placeholder")
    return _indexed(role, [str(tensor_named(graph, name)) for name in names])


def _collected(graph: Graph, role: str) -> list[str]:
    """Return the names in a role's collection; empty if there is no such collection."""
    names = graph.collection(ROLE_KEYS[role])
    for name in names:
        if TensorRef.parse(name).op not in graph.nodes:
            raise UnknownName(f"{graph.source}: collection {ROLE_KEYS[role]} names {name}, which is not in the graph")
    return _indexed(role, names)


def _indexed(role: str, names: Iterable[str]) -> list[str]:
    """Return tensors with their index, and the training op without."""
    refs = [TensorRef.parse(name) for name in names]
    return [ref.op if role == "training_op" else str(ref) for ref in refs]


def _important(graph: Graph) -> set[str]:
    """Return the ops in collections of the graph's author."""
    keys = [key for key in graph.header.collection_def if key not in _STANDARD_KEYS]
    return {TensorRef.parse(name).op for key in keys for name in graph.collection(key)}
