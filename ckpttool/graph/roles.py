"""Roles: which tensors of a graph are its inputs, labels, logits, loss, accuracy and training switch, which op trains.

Each is looked for in this order: what the caller says; the collections that this tool writes; what the graph computes
(the loss is where the training op's gradients start, the logits and labels are what the loss compares, the inputs are
the placeholders that the logits need); names. Where two answers are left and a collection such as the chapter's
`my_important_ops` names one of them, that is it; else it is an error that lists them.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

from ckpttool.errors import GraphError, UnknownName
from ckpttool.formats.wire.protos.graph_pb2 import DT_BOOL, NodeDef
from ckpttool.graph.graph import Graph, TensorRef
from ckpttool.graph.losses import comparisons, loss_of_gradients
from ckpttool.selection import suggestion

ROLES = ("inputs", "labels", "logits", "loss", "accuracy", "training_op", "training")
OPTIONS = {role: f"--{role}" for role in ROLES} | {"training_op": "--train-op"}
"""The option that says a role on the command line."""
ROLE_KEYS = {role: f"ckpttool/{role}" for role in ROLES}
"""The collections in which this tool keeps the roles of the graphs that it writes."""

_STANDARD_KEYS = frozenset({"train_op", "losses", "regularization_losses", "summaries", "summary_op", "update_ops"})
_STANDARD_KEYS |= {"init_op", "local_init_op", "ready_op", "ready_for_local_init_op", "saved_model_main_op"}
_STANDARD_KEYS |= {"activations", "table_initializer"}
"""The collections that TensorFlow fills itself; any other one says what its author held to be important."""
PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_UPDATE = re.compile(r"(Resource)?(Sparse)?Apply[A-Z]\w*")
_REDUCTIONS = frozenset({"Mean", "Sum", "AddN", "Add", "AddV2", "Mul", "RealDiv", "Div", "DivNoNan", "Neg", "Identity"})
_REDUCTIONS |= {
    "Squeeze",
    "Sub",
    "Select",
    "SelectV2",
    "StatefulPartitionedCall",
    "PartitionedCall",
    "Reshape",
    "Merge",
}
_SWITCHES = re.compile(
    r"(is_?)?train(ing)?(_?(phase|mode|flag))?|phase(_train)?|mode|keras_learning_phase", re.IGNORECASE
)
_SCALARS = re.compile(r"(keep_?prob|dropout|drop_?rate|rate|learning_?rate|lr|batch_?size|momentum)\w*", re.IGNORECASE)
_LOSS_NAMES = tuple(re.compile(rule, re.IGNORECASE) for rule in (r"loss", r"(total_?loss|cost)", r".*(loss|cost)"))
_LABELS = re.compile(r"y(_true|_?train)?|(y_|true_)?(labels?|targets?)", re.IGNORECASE)
_ACCURACY = re.compile(r"(.*_)?acc(uracy)?(_\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Roles:
    """Names of a graph's tensors (`X:0`) and of its training op (`GradientDescent`); None where it has none."""

    inputs: tuple[str, ...] = ()
    labels: str | None = None
    logits: str | None = None
    loss: str | None = None
    accuracy: str | None = None
    training_op: str | None = None
    training: str | None = None


def find_roles(graph: Graph, needed: Collection[str] = ROLES, **overrides: str | Sequence[str] | None) -> Roles:
    """Find the roles in a graph; an override says one by the name of an op or a tensor (`loss="new_loss/loss"`).

    A role outside `needed` is None where it is ambiguous.

    Raises:
        UnknownName: an override names nothing; the message has the nearest names.
        GraphError: a needed role is ambiguous; the message lists the candidates and the option that says it.
    """
    unknown = set(overrides) - set(ROLES)
    if unknown:
        raise TypeError(f"no role named {', '.join(sorted(unknown))}")
    return _Finder(graph, needed, {role: value for role, value in overrides.items() if value}).roles()


class _Finder:
    """One search: each role is found once, and the others may lean on it."""

    def __init__(self, graph: Graph, needed: Collection[str], overrides: dict[str, str | Sequence[str]]) -> None:
        self.graph = graph
        self.needed = needed
        self.said = {role: self._said(role, value) for role, value in overrides.items()}
        for role, key in ROLE_KEYS.items():
            if graph.collection(key) and role not in self.said:
                self.said[role] = self._kept(role, key)
        own_keys = [key for key in graph.meta.collection_def if key not in _STANDARD_KEYS]
        self.collected = {_op(name) for key in own_keys for name in graph.collection(key)}

    def roles(self) -> Roles:
        return Roles(**{field.name: getattr(self, field.name) for field in fields(Roles)})

    def _said(self, role: str, value: str | Sequence[str]) -> list[str]:
        """Check an override; tensors get their index, the training op has none."""
        names = [value] if isinstance(value, str) else list(value)
        for name in names:
            if _op(name) not in self.graph.nodes:
                nearest = suggestion(name, self.graph.nodes)
                raise UnknownName(f"{self.graph.source}: {OPTIONS[role]} {name}: no such op or tensor{nearest}")
            if role == "training" and not self._is_switch(_op(name)):
                found = self._type(_op(name))
                raise GraphError(f"{self.graph.source}: --training {name} is a {found}, expected a boolean placeholder")
        return [_op(name) if role == "training_op" else str(TensorRef.parse(name)) for name in names]

    def _kept(self, role: str, key: str) -> list[str]:
        """Return what a collection of this tool's says of a role."""
        names = self.graph.collection(key)
        for name in names:
            if _op(name) not in self.graph.nodes:
                raise UnknownName(f"{self.graph.source}: collection {key} names {name}, which is not in the graph")
        return [_op(name) if role == "training_op" else str(TensorRef.parse(name)) for name in names]

    def _one(self, role: str, find: Callable[[], Iterable[str]]) -> str | None:
        """Return what was said, or the only candidate, or the only one that a collection names."""
        if role in self.said:
            return self.said[role][0]
        candidates = list(dict.fromkeys(find()))
        if len(candidates) > 1:
            candidates = [name for name in candidates if _op(name) in self.collected] or candidates
        if len(candidates) > 1 and role in self.needed:
            listed = ", ".join(candidates[:8]) + (", ..." if len(candidates) > 8 else "")
            label = role.replace("_", " ")
            raise GraphError(
                f"{self.graph.source}: several ops could be the {label}: {listed}; say {OPTIONS[role]} NAME"
            )
        return candidates[0] if len(candidates) == 1 else None

    @cached_property
    def training_op(self) -> str | None:
        return self._one("training_op", self._training_ops)

    @cached_property
    def loss(self) -> str | None:
        return self._one("loss", self._losses)

    @cached_property
    def logits(self) -> str | None:
        return self._one("logits", self._logits)

    @cached_property
    def labels(self) -> str | None:
        return self._one("labels", self._labels)

    @cached_property
    def accuracy(self) -> str | None:
        return self._one("accuracy", self._accuracies)

    @cached_property
    def training(self) -> str | None:
        return self._one("training", self._switches)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The placeholders that the logits, else the loss, need beside labels and scalar settings; all without either.

        A graph that only infers has a signature's inputs, or any placeholder.
        """
        if "inputs" in self.said:
            return tuple(self.said["inputs"])
        top = self.logits or self.loss or self.accuracy
        if top is None and (self._signature("inputs") or self._losses()):
            return self._signature("inputs")
        fed = self._placeholders(top) if top else [name for name in self.graph.nodes if self._is_placeholder(name)]
        found = [name for name in fed if not self._is_switch(name) and _tensor(name) != self.labels]
        plain = [name for name in found if not self._is_setting(name)]
        return tuple(_tensor(name) for name in plain or found)

    def _training_ops(self) -> list[str]:
        """Return the ops that wait for optimizers' updates, those that train the loss that was said."""
        collected = dict.fromkeys(map(_op, self.graph.collection("train_op")))
        found = [name for name in collected if name in self.graph.nodes] or self._updaters
        if len(found) > 1 and "loss" in self.said:
            return [name for name in found if self.said["loss"][0] in self._trained(name)] or found
        return self._group(found) or found

    @cached_property
    def _updaters(self) -> list[str]:
        """The ops whose control inputs are updates; `GradientDescent` stands for its own `GradientDescent/update`."""
        found: list[str] = []
        for name in self.graph.nodes:
            waits = [ref.op for ref in self.graph.inputs(name, control=True) if ref.index < 0]
            if f"{name}/update" in waits or any(_UPDATE.fullmatch(self._type(op)) for op in waits):
                found.append(name)
        inner = {f"{name}/update" for name in found}
        outer = [name for name in found if name not in inner]
        return [name for name in outer if self._only_waits(name) or f"{name}/update" in self.graph.nodes]

    def _only_waits(self, name: str) -> bool:
        """Say whether an op computes nothing itself, so that it can only be there to be run."""
        return self._type(name) == "NoOp"

    def _group(self, updaters: list[str]) -> list[str]:
        """Return the op that waits for all of several updaters and nothing else: a `tf.group` of two optimizers."""
        if len(updaters) < 2:
            return []
        for name in self.graph.nodes:
            waits = {ref.op for ref in self.graph.inputs(name, control=True) if ref.index < 0}
            if waits == set(updaters) and self._only_waits(name):
                return [name]
        return []

    def _trained(self, training_op: str) -> list[str]:
        """Return the losses that a training op's gradients start from."""
        return loss_of_gradients(self.graph, training_op)

    def _losses(self) -> list[str]:
        """Return what the gradients start from, else the ops that are named as losses."""
        if self.training_op is not None and self._trained(self.training_op):
            return self._trained(self.training_op)
        trained = [loss for name in self._updaters for loss in self._trained(name)]
        if trained:
            return trained
        for rule in _LOSS_NAMES:
            found = [name for name in self._forward if rule.fullmatch(_last(name))]
            if found:
                return [_tensor(name) for name in self._topmost(found)]
        return [name for name in self.graph.collection("losses") if _op(name) in self.graph.nodes]

    def _logits(self) -> list[str]:
        """Return what the loss (else the accuracy by its name) compares with labels."""
        top = self.loss or self.said.get("accuracy", [""])[0]
        if top:
            return [str(pair.logits) for pair in comparisons(self.graph, _op(top))]
        named = [_tensor(name) for name in self.graph.nodes if _last(name) == "logits"]
        return [name for name in self._signature("outputs") if _last(_op(name)) == "logits"] or named

    def _labels(self) -> list[str]:
        """Return the placeholders that the loss compares the logits with; without logits, those named as labels."""
        if self.loss is None:
            return []
        if self.logits is None:
            return [_tensor(name) for name in self._placeholders(self.loss) if _LABELS.fullmatch(_last(name))]
        known = set(self._placeholders(self.logits))
        pairs = [pair for pair in comparisons(self.graph, _op(self.loss)) if str(pair.logits) == self.logits]
        sides = [str(pair.labels) for pair in pairs] or [self.loss]
        found = [name for side in sides for name in self._placeholders(side) if name not in known]
        return [_tensor(name) for name in found if not self._is_switch(name)]

    def _accuracies(self) -> list[str]:
        """Return the means that are named so and need the logits; without such names, means of comparisons."""
        named = [name for name in self._forward if _ACCURACY.fullmatch(_last(name))]
        found = named or [name for name in self._forward if self._counts_hits(name)]
        if self.logits is not None and len(found) > 1:
            found = [name for name in found if _op(self.logits) in self.graph.ancestors(name)]
        exact = [name for name in found if _last(name) == "accuracy"]
        return [_tensor(name) for name in self._topmost(exact or found)]

    def _counts_hits(self, name: str) -> bool:
        """Say whether an op is a mean of a cast of a comparison."""
        cast = self._first_input(name) if self._type(name) == "Mean" else ""
        comparison = self._first_input(cast) if self._type(cast) == "Cast" else ""
        if self._type(comparison) == "Equal":
            return all(self._type(ref.op) != "Const" for ref in self.graph.inputs(comparison))
        return self._type(comparison) in {"InTopK", "InTopKV2"}

    def _first_input(self, name: str) -> str:
        """Return the op that an op reads first; nothing where it reads none."""
        inputs = self.graph.inputs(name)
        return inputs[0].op if inputs else ""

    def _switches(self) -> list[str]:
        """Return the boolean placeholders that the logits, or else the loss, need."""
        top = self.logits or self.loss
        names = self._placeholders(top) if top else [name for name in self.graph.nodes if self._is_placeholder(name)]
        found = [name for name in names if self._is_switch(name)]
        named = [name for name in found if _SWITCHES.fullmatch(_last(name))]
        return [_tensor(name) for name in named or found]

    @cached_property
    def _forward(self) -> list[str]:
        """The ops that could be a loss or an accuracy: float reductions outside gradients and optimizers."""
        return [
            name
            for name, node in self.graph.nodes.items()
            if node.op in _REDUCTIONS and not re.search(r"(^|/)(gradients(_\d+)?|save(_\d+)?)/|_grad/", name)
        ]

    def _topmost(self, names: list[str]) -> list[str]:
        """Leave out the ops that another of them is computed from: a total loss stands for its parts."""
        if len(names) < 2:
            return names
        below = {name: self.graph.ancestors(name) for name in names}
        return [name for name in names if not any(name in below[other] for other in names if other != name)]

    def _placeholders(self, tensor: str) -> list[str]:
        """Return the placeholders that a tensor needs, in graph order."""
        needed = self.graph.ancestors(_op(tensor))
        return [name for name in self.graph.nodes if name in needed and self._is_placeholder(name)]

    def _is_placeholder(self, name: str) -> bool:
        return self._type(name) in PLACEHOLDERS

    def _is_switch(self, name: str) -> bool:
        """Say whether a placeholder is a boolean."""
        return self._is_placeholder(name) and self.graph.nodes[name].attr["dtype"].type == DT_BOOL

    def _is_setting(self, name: str) -> bool:
        """Say whether a placeholder is a scalar setting such as `keep_prob` or a learning rate."""
        return bool(_SCALARS.fullmatch(_last(name))) or _is_scalar(self.graph, self.graph.nodes[name])

    def _signature(self, side: str) -> tuple[str, ...]:
        """Return the tensors of the default signature's inputs or outputs that are in the graph."""
        signatures = self.graph.meta.signature_def
        if "serving_default" not in signatures:
            return ()
        infos = getattr(signatures["serving_default"], side)
        names = [infos[key].name for key in sorted(infos)]
        return tuple(name for name in names if _op(name) in self.graph.nodes)

    def _type(self, name: str) -> str:
        """Return the type of an op; nothing where it is not in the graph."""
        return self.graph.nodes[name].op if name in self.graph.nodes else ""


_EMPTY_MEANS_SCALAR = 24
"""The GraphDef version from which an empty placeholder shape is a scalar's and not an unknown one."""


def _is_scalar(graph: Graph, node: NodeDef) -> bool:
    """Say whether a placeholder is known to hold a scalar."""
    shape = node.attr["shape"].shape
    if node.op == "Placeholder" and graph.meta.graph_def.versions.producer < _EMPTY_MEANS_SCALAR:
        return False
    return "shape" in node.attr and not shape.unknown_rank and not shape.dim


def _op(tensor: str) -> str:
    return TensorRef.parse(tensor).op


def _tensor(op: str) -> str:
    return f"{op}:0"


def _last(name: str) -> str:
    return name.rpartition("/")[2]
