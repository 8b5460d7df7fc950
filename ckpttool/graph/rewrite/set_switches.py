"""Training switches that a graph sets itself: `is_training = tf.constant(True)`, a default of True, a variable.

They are identified by their names and by their type, a single boolean. Switches that are fed are not changed.
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from ckpttool.core.dtypes import BY_NAME
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.contents.variable_ops import variable_behind
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import READS
from ckpttool.graph.rewrite.draft import Draft
from ckpttool.graph.rewrite.flatten import flattened
from ckpttool.graph.rewrite.simplify import fold_branches
from ckpttool.graph.roles.placeholders import constant_switches, is_named_switch, is_switch, is_true


def with_switches_off(graph: Graph, below: Collection[str], fed: Collection[str]) -> tuple[Graph, list[str]]:
    """Return the graph in which the switches that it sets are False for the ops `below`, and the names of the switches.

    Those that are `fed` (ops) are unchanged. Conditionals on the others are folded.
    """
    switches = [ref for ref in dict.fromkeys(_set_switches(graph, below)) if ref.op not in fed]
    if not switches:
        return graph, []
    draft, names, off = Draft(graph), FreeNames(graph.nodes), dict[TensorRef, TensorRef]()
    for ref in switches:
        false = constant(names.free(f"{ref.op}/inference"), np.array(False), BY_NAME["bool"])
        draft.add(false, behind=ref.op)
        off[ref] = TensorRef(false.name, 0)
    draft.redirect(off, below)
    known = [variable_behind(graph, ref) or ref.op for ref in switches]
    return fold_branches(draft.sealed(), {ref.op: False for ref in off.values()}), list(dict.fromkeys(known))


def with_switches_set(graph: Graph, values: Mapping[str, bool]) -> Graph:
    """Return the graph in which switches (tensors) are constants with the given values.

    Conditionals of TensorFlow 1 and 2 that depend on them are replaced by the selected branches.
    """
    kept = [name for name in values if is_switch(graph, TensorRef.parse(name).op)]
    draft, names, constants = Draft(graph), FreeNames(graph.nodes), dict[TensorRef, TensorRef]()
    for name in kept:
        ref = TensorRef.parse(name)
        made = constant(names.free(f"{ref.op}/set"), np.array(values[name]), BY_NAME["bool"])
        draft.add(made, behind=ref.op)
        constants[ref] = TensorRef(made.name, 0)
    draft.redirect(constants)
    truths = {constants[TensorRef.parse(name)].op: values[name] for name in kept}
    return flattened(fold_branches(draft.sealed(), truths)) if kept else graph


def _set_switches(graph: Graph, below: Collection[str]) -> Iterator[TensorRef]:
    """Yield the switch tensors that some ops read: constants and defaults of True, and values of variables."""
    yield from (TensorRef(name, 0) for name in constant_switches(graph) if name in below)
    for name in (name for name in graph.nodes if name in below and graph.nodes[name].op == "PlaceholderWithDefault"):
        if is_named_switch(name) and is_true(graph.nodes[graph.inputs(name)[0].op]):
            yield TensorRef(name, 0)
    for variable in variables(graph).values():
        if variable.dtype.name == "bool" and variable.shape == () and is_named_switch(variable.own_name):
            reads = [name for name in graph.consumers[variable.op] if graph.nodes[name].op in READS and name in below]
            yield from (TensorRef(name, 0) for name in reads)
            if not variable.resource:
                yield TensorRef(variable.op, 0)
