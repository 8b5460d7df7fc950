"""A part of a graph as a function of its weights: imported where it is called, with variables that we own."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import Any

from ckpttool.core.collector import collector_paused
from ckpttool.core.errors import GraphError
from ckpttool.core.tensors import Array
from ckpttool.formats.wire.protos.graph_pb2 import DT_RESOURCE, NodeDef
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.gate import require_computing
from ckpttool.graph.ops import ENTERS, REQUIRED_PLACEHOLDERS, SWITCHES
from ckpttool.graph.rewrite.functions import with_own_functions
from ckpttool.graph.rewrite.importable import importable_part
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.scaled_kernels import with_scaled_kernels
from ckpttool.graph.rewrite.seeds import STEP, with_steps
from ckpttool.graph.rewrite.simplify import constant_choices, fold_branches, without_dead_gradients, without_zeros
from ckpttool.graph.rewrite.tables import table_fills, tables, with_assets, with_own_tables
from ckpttool.graph.rewrite.text_tables import with_read_tables
from ckpttool.runtime.configure import running, tensorflow
from ckpttool.runtime.private import leave_unordered, register_functions
from ckpttool.runtime.registered import require_registered
from ckpttool.runtime.state import State

_PARTS = count()
"""Numbers parts: function names are global to the process, and those of two parts must differ."""

Feeds = Mapping[str, Any]
"""Values by tensor name, `X:0`."""
STEP_NUMBER = f"{STEP}:0"
"""The tensor to which the number of a step is fed."""


class GraphFunction:
    """The part of a graph between fed and wanted tensors, ready to be imported.

    Reference variables are rewritten to resource variables, so that their handles can be supplied from outside; the
    part then works in a `tf.function`, and in a loop inside one.
    """

    @collector_paused()
    def __init__(
        self,
        graph: Graph,
        wanted: Sequence[str],
        fed: Sequence[str] = (),
        seed: int | None = None,
        modes: Mapping[str, bool] | None = None,
        scaled: bool = True,
    ) -> None:
        """Extract the ops that `wanted` (tensors `op:0`, or ops) depend on, down to the tensors that will be `fed`.

        `modes` are fed booleans whose value is known now, so that conditionals on them are resolved. If `scaled`, the
        scales of batch normalisation are folded into kernels; without it, rounding is the same as in a session. With a
        seed, the numbers of random ops are derived from it and from the step, which is fed as `STEP:0`.

        Raises:
            GraphError: they depend on a placeholder that is not fed, or on an op that can have side effects.
        """
        self.source = graph.source
        self.part = computed_part(graph, wanted, fed, modes, scaled)
        part = to_resource(self.part)
        require_registered(part)
        require_computing(part)
        if unfed := [name for name, node in part.nodes.items() if node.op in REQUIRED_PLACEHOLDERS]:
            roles = "`inputs`, `labels` or `training`"
            raise GraphError(f"{part.source}: nothing feeds {', '.join(unfed)}: no role of {roles}, and no default")
        part = part if seed is None else with_steps(part, seed)
        number = next(_PARTS)
        if looked_up := tables(part):
            part = with_own_tables(part, f"part{number}")
            _fill(with_own_tables(graph, f"part{number}"), looked_up)
        part = with_own_functions(part, f"_part{number}")
        self.variables: list[Variable] = [v for v in variables(part).values() if v.op in part.nodes]
        handles = {variable.op for variable in self.variables}
        self.wanted = list(wanted)
        self._read = {str(ref) for name in part.nodes for ref in part.inputs(name)}
        self._unordered = _unordered_ops(part, handles, wanted)
        around = part.header.graph_def
        self._definition = tensorflow().compat.v1.GraphDef(versions={"producer": around.versions.producer})
        self._definition.library.ParseFromString(around.library.SerializeToString())
        register_functions(self._definition.library)
        for name, node in part.nodes.items():
            if name not in handles:
                self._definition.node.add().ParseFromString(node.SerializeToString())
                self._definition.node[-1].attr.pop("_class", None)  # colocation with handles, which are absent

    def __call__(self, state: State, feeds: Feeds) -> list[Any]:
        """Import the part into the current graph (that of a `tf.function`) and return the wanted tensors and ops."""
        tf = tensorflow()
        here = tf.compat.v1.get_default_graph()
        supplied = {f"{variable.op}:0": here.capture(state.handles[variable.op].handle) for variable in self.variables}
        supplied |= {name: tf.convert_to_tensor(value) for name, value in feeds.items()}
        imported: list[Any] = tf.graph_util.import_graph_def(
            self._definition,
            input_map={name: value for name, value in supplied.items() if name in self._read},
            return_elements=[*self.wanted, *self._unordered],
            name="model",
        )
        leave_unordered(imported[len(self.wanted) :])
        return imported[: len(self.wanted)]


def computed_part(
    graph: Graph,
    wanted: Sequence[str],
    fed: Sequence[str] = (),
    modes: Mapping[str, bool] | None = None,
    scaled: bool = True,
) -> Graph:
    """Return the part of a graph that computes `wanted` from `fed`, rewritten to compute the same values faster.

    The part is extracted before it is analysed, since it may be a head on features, and again after its branches have
    been resolved. `scaled` kernels change the rounding of deep networks.
    """
    given = set(map(TensorRef.parse, fed))
    wanted = [name for name in wanted if TensorRef.parse(name) not in given]
    part, fed_ops = importable_part(graph, wanted, fed), {ref.op for ref in given}
    known = {name: value for name, value in constant_choices(part).items() if name not in fed_ops}
    known |= {TensorRef.parse(name).op: value for name, value in (modes or {}).items()}
    part = fold_branches(part, known, fed)
    part = without_dead_gradients(without_zeros(part), wanted, fed)
    part = subgraph(part, wanted, fed)
    return with_scaled_kernels(part, wanted, fed) if scaled else part


def _fill(graph: Graph, filled: Sequence[str]) -> None:
    """Fill the lookup tables of a graph, once for all calls."""
    ops = table_fills(graph, filled)
    part = importable_part(with_assets(with_read_tables(graph)), ops)
    require_registered(part)
    require_computing(part)
    tf = tensorflow()
    definition = tf.compat.v1.GraphDef.FromString(part.meta.graph_def.SerializeToString())

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def run() -> None:
        tf.graph_util.import_graph_def(definition, return_elements=ops, name="tables")

    with running(graph.source):
        run()


def _unordered_ops(part: Graph, handles: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return the ops that must get no automatic control inputs; empty without TensorFlow 1's loops and conditionals.

    A `tf.function` adds control inputs so that ops with side effects run in the order in which they were created.
    For an op inside a TensorFlow 1 loop, a control input from outside the loop is an error, and an array or stack that
    a loop fills may have been created after the reader of the loop's result. TensorFlow excludes ops that have a loop's
    context; but contexts are lost when a graph is imported, and those of gradients were never saved. If a variable's
    handle enters a conditional (Switch), TensorFlow needs the lost context, too. An op that waits for one in a branch
    that is not taken, such as an assertion, never runs: so ops in conditionals are excluded.

    In a graph with loops, these are all ops except reads and updates of variables (whose ops are `handles`) outside
    loops and conditionals, and the ops of the `wanted` tensors: ops with a loop's context cannot be read from outside.
    """

    def lost(node: NodeDef) -> bool:
        return node.op in ENTERS or (node.op in SWITCHES and node.attr["T"].type == DT_RESOURCE)

    if not any(node.op in ENTERS or node.op in SWITCHES for node in part.nodes.values()):
        return []
    regions = Flow.of(part).regions
    if not any(map(lost, part.nodes.values())):
        in_order = {reader for handle in handles for reader in part.consumers[handle]}
        return [name for name in part.nodes if name in regions and name not in in_order]
    readers = {name for handle in handles for name in part.consumers[handle] if name not in regions}
    ordered = {*readers, *handles, *(TensorRef.parse(name).op for name in wanted)}
    return [name for name in part.nodes if name not in ordered]


def runner(
    function: GraphFunction, state: State, constants: Feeds, then: Callable[[list[Any]], list[Any]] | None = None
) -> Callable[[Feeds], list[Array]]:
    """Return a callable from feeds to the wanted arrays, for a part that updates no variable.

    `then` maps the wanted tensors to those that are returned instead. The function is traced once for any number of
    rows, with the shapes of the first feeds; it is traced again for other shapes of a row.
    """
    tf, traced = tensorflow(), list[Any]()

    @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]
    def call(feeds: dict[str, Any]) -> list[Any]:
        outputs = function(state, {**constants, **feeds})
        return outputs if then is None else then(outputs)

    def run(feeds: Feeds) -> list[Array]:
        with running(function.source):
            if not traced:
                traced.append(call.get_concrete_function({name: of_any_rows(value) for name, value in feeds.items()}))
            return [output.numpy() for output in call(dict(feeds))]

    return run


def of_any_rows(value: Any) -> Any:
    """Return the TensorSpec of a tensor like this one, with any number of rows; a scalar keeps its shape."""
    tf = tensorflow()
    tensor = tf.convert_to_tensor(value)
    return tf.TensorSpec([None, *tensor.shape[1:]] if tensor.shape.rank else [], tensor.dtype)
