"""A part of a graph as a function of its weights: imported where it is called, on variables that we own."""

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
"""Numbers parts: functions go into one table of the whole process, where two parts must not share a name."""

Feeds = Mapping[str, Any]
"""Values by tensor name, `X:0`."""
STEP_NUMBER = f"{STEP}:0"
"""What the number of a step is fed as."""


class GraphFunction:
    """The part of a graph between fed tensors and wanted ones, ready to be imported.

    Reference variables become resource variables first, so that their handles can be supplied from outside; one part
    then works in a `tf.function`, and in a loop inside of one.
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
        """Take the ops that `wanted` (tensors `op:0`, or ops) need, down to the tensors that will be `fed`.

        `modes` are fed tensors whose value is known now, so that conditionals on them need not be run.
        Kernels take over the scales of norms above them unless `scaled` is false: then all rounds as in a session.
        With a seed, random ops draw numbers that follow from it and from the step, which is then fed as `STEP:0`.

        Raises:
            GraphError: they need a placeholder that nothing feeds, or an op that can have side effects.
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
                self._definition.node[-1].attr.pop("_class", None)  # colocated with handles that are not there

    def __call__(self, state: State, feeds: Feeds) -> list[Any]:
        """Import the part where we are (inside a `tf.function`) and return the wanted tensors and ops."""
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
    """Return the part of a graph that computes `wanted` of what is `fed`, rewritten to the same values in less time.

    It is cut out before it is looked at, for it may be a head on features; and again when its branches are known. Where
    kernels are `scaled`, deep networks round otherwise.
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
    """Fill the look-up tables of a graph, once for all calls."""
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
    """Return the ops of a part that are to run in its own order; none without TensorFlow 1's loops and conditionals.

    A `tf.function` adds control inputs of its own: it makes ops with effects run one after the other, in the order in
    which they came. To an op inside of such a loop a control input from outside of it is an error, and an array or
    stack that a loop fills may well come after what reads the loop's outcome. TensorFlow knows this and leaves out ops
    that have a loop's context; but contexts are lost where a graph is imported, and those of gradients were never
    saved. Where a variable's handle goes into a conditional (Switch) it would ask for the lost context, too. What waits
    for an op in a branch that is not taken, such as an assertion, never runs: so what is in conditionals stays apart.

    In a graph with loops these are all ops but the reads and updates of variables (whose ops are `handles`) outside of
    loops and conditionals, and the ops of the `wanted` tensors: what has a loop's context may not be read from outside.
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
    """Return a callable from feeds to the wanted arrays, for a part that changes no variable.

    `then` makes other tensors of the wanted ones, which are returned in their place. It is traced once for any number
    of rows, by what is fed first; other shapes of a row are traced when they come.
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
    """Return what is said of a tensor like this one, with any number of rows, when a function is traced."""
    tf = tensorflow()
    tensor = tf.convert_to_tensor(value)
    return tf.TensorSpec([None, *tensor.shape[1:]] if tensor.shape.rank else [], tensor.dtype)
