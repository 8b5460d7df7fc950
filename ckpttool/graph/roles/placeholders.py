"""Placeholders: those on which a tensor depends, by role: inputs, labels, settings, and modes (training switches)."""

import re
from collections.abc import Collection, Iterable, Mapping

from ckpttool.formats.wire.protos.graph_pb2 import DT_BOOL, NodeDef
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.named import tensor_named
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import FORMS, MERGES, PLACEHOLDERS, SWITCHES

_SWITCHES = re.compile(
    r"(is_?)?train(ing)?(_?(phase|mode|flag))?|phase(_train)?|mode|keras_learning_phase", re.IGNORECASE
)
_SETTINGS = re.compile(r"(keep_?prob|dropout|drop_?rate|rate|learning_?rate|lr|batch_?size|momentum)\w*", re.IGNORECASE)
_LABELS = re.compile(r"y(_true|_?train)?|(y_|true_)?(labels?|targets?)", re.IGNORECASE)
_EMPTY_MEANS_SCALAR = 24
"""The GraphDef version from which an empty placeholder shape means a scalar rather than an unknown shape."""


def placeholders_of(graph: Graph, tensor: str | None) -> list[str]:
    """Return the placeholders on which a tensor depends (without a tensor, all of the graph), in graph order."""
    needed = graph.nodes if tensor is None else graph.ancestors(TensorRef.parse(tensor).op)
    return [name for name, node in graph.nodes.items() if name in needed and node.op in PLACEHOLDERS]


def inputs(graph: Graph, fed: Iterable[str], labels: str | None) -> list[str]:
    """Return the placeholders other than labels, switches and scalar settings; if there are none, the settings."""
    others = [name for name in fed if not is_switch(graph, name) and f"{name}:0" != labels]
    plain = [name for name in others if not _is_setting(graph, name)]
    return [f"{name}:0" for name in plain or others]


def switches(graph: Graph, fed: Iterable[str]) -> list[str]:
    """Return the boolean placeholders; if some are named as a training switch, only these."""
    boolean = [name for name in fed if is_switch(graph, name)]
    named = [name for name in boolean if _SWITCHES.fullmatch(last_part(name))]
    return [f"{name}:0" for name in named or boolean]


def is_named_switch(name: str) -> bool:
    """Return whether an op is named as a training switch.

    >>> is_named_switch("net/is_training_1"), is_named_switch("training/Adam")
    (True, False)
    """
    return _SWITCHES.fullmatch(re.sub(r"_\d+$", "", last_part(name))) is not None


def named_labels(fed: Iterable[str]) -> list[str]:
    """Return the placeholders that are named as labels."""
    return [f"{name}:0" for name in fed if _LABELS.fullmatch(last_part(name))]


def is_switch(graph: Graph, name: str) -> bool:
    """Return whether an op is a boolean placeholder."""
    node = graph.nodes[name]
    return node.op in PLACEHOLDERS and node.attr["dtype"].type == DT_BOOL


def _is_setting(graph: Graph, name: str) -> bool:
    """Return whether a placeholder is a scalar setting such as `keep_prob` or a learning rate."""
    if _SETTINGS.fullmatch(last_part(name)):
        return True
    node = graph.nodes[name]
    if node.op == "Placeholder" and graph.header.graph_def.versions.producer < _EMPTY_MEANS_SCALAR:
        return False
    return "shape" in node.attr and not node.attr["shape"].shape.unknown_rank and not node.attr["shape"].shape.dim


def last_part(name: str) -> str:
    """Return the name of an op without its scopes: `Relu` of `dnn/hidden2/Relu`."""
    return name.rpartition("/")[2]


def mode_placeholders(graph: Graph, given: str | Collection[str] | None = None) -> list[str]:
    """Return the ops of the given tensors (or tensor), else all placeholders of a single boolean.

    Raises:
        UnknownName: a given tensor is not in the graph.
    """
    if given:
        given = [given] if isinstance(given, str) else given
        return [tensor_named(graph, name).op for name in given]
    fed = ((name, node.attr) for name, node in graph.nodes.items() if is_switch(graph, name))
    shapes = ((name, attr["shape"].shape) for name, attr in fed)
    return [name for name, shape in shapes if shape.unknown_rank or not shape.dim]  # old graphs have an unknown rank


def constant_switches(graph: Graph) -> list[str]:
    """Return the constants that are named as training switches and are True: `is_training = tf.constant(True)`."""
    named = [name for name, node in graph.nodes.items() if node.op == "Const" and is_named_switch(name)]
    return [name for name in named if is_true(graph.nodes[name])]


def is_true(node: NodeDef) -> bool:
    """Return whether an op is a scalar constant True."""
    value = numbers(node)
    return value is not None and value.dtype == bool and value.tolist() is True


def known_truths(flow: Flow, modes: Mapping[str, bool]) -> dict[str, bool]:
    """Return the booleans that follow from the values of the mode placeholders, by op."""
    truths = dict(modes)
    for name in flow.order if modes else ():
        node = flow.nodes[name]
        if name in truths or not (node.op in FORMS or node.op.startswith("Logical")):
            continue
        inputs = flow.inputs[name]
        if not inputs:
            continue
        if node.op in FORMS and inputs[0] in truths:
            truths[name] = truths[inputs[0]]
        elif node.op == "LogicalNot" and inputs[0] in truths:
            truths[name] = not truths[inputs[0]]
        elif node.op == "LogicalAnd" and any(truths.get(source) is False for source in inputs):
            truths[name] = False
        elif node.op == "LogicalOr" and any(truths.get(source) is True for source in inputs):
            truths[name] = True
    return truths


def dead_ops(flow: Flow, truths: Mapping[str, bool]) -> tuple[set[str], set[TensorRef]]:
    """Return the ops that never run because their branch is not taken, and the outputs of switches that are dead."""
    dead: set[str] = set()
    outputs: set[TensorRef] = set()
    for name in flow.order if truths else ():
        node, inputs = flow.nodes[name], flow.reads[name]
        lost = [
            ref.op in dead or ref in outputs or (ref.index < 0 and not outputs.isdisjoint(flow.reads[ref.op]))
            for ref in inputs
        ]
        if any(lost) and (node.op not in MERGES or all(lost)):
            dead.add(name)
        elif node.op in SWITCHES and len(inputs) > 1 and inputs[1].op in truths:
            outputs.add(TensorRef(name, 0 if truths[inputs[1].op] else 1))
    return dead, outputs
