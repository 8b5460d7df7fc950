"""Inference: rewrites a graph that is always in training mode to inference mode.

Batch normalisations use their moving averages, dropouts are removed, and averages are read but not updated.
Ops with a placeholder as a switch are not rewritten.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ckpttool.core.counts import counted
from ckpttool.core.errors import GraphError
from ckpttool.core.names import listed
from ckpttool.graph.contents.averages import averages, forms
from ckpttool.graph.contents.batch_norms import BatchNorm, batch_norms
from ckpttool.graph.contents.dropouts import Dropout, dropouts
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.variable_ops import written_variable
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.randomness import disturbances, live_ops
from ckpttool.graph.rewrite.averaging import WAY_OUT, with_averages
from ckpttool.graph.rewrite.draft import Draft, control_inputs, last_of
from ckpttool.graph.rewrite.prune import needed, without_updates
from ckpttool.graph.rewrite.set_switches import with_switches_off
from ckpttool.graph.roles.placeholders import mode_placeholders


@dataclass(frozen=True)
class Inference:
    """A graph in inference mode, and the names of its rewritten and remaining training ops."""

    graph: Graph
    batch_norms: tuple[str, ...] = ()
    dropouts: tuple[str, ...] = ()
    by_batch: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    random: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, graph: Graph, norms: Collection[BatchNorm], off: Collection[Dropout], still: Iterable[str] = ()
    ) -> "Inference":
        """Return the result, with names of rewritten ops, norms without averages, and variables that stay constant."""
        own = {op for norm in norms for op in norm.averages or ()}
        return cls(
            graph,
            _names(norm.name for norm in norms if norm.averages),
            _names(dropout.name for dropout in off),
            _names(norm.name for norm in norms if not norm.averages),
            _names(op for op in still if op not in own),
        )

    @property
    def notes(self) -> list[str]:
        """A note on each kind of rewrite, and on ops that still are random or normalise by the batch."""
        notes = _said(self.batch_norms, self.dropouts, "rewritten to inference")
        if self.switches:
            notes.append(f"off, although the graph sets it: {listed(self.switches)}")
        if self.still:
            notes.append(f"read unchanged, although training updates them first: {listed(self.still)}")
        if self.random:
            notes.append(f"still random: {listed(self.random)}")
        if self.by_batch:
            notes.append(f"still normalised by the batch, as they have no moving averages: {listed(self.by_batch)}")
        return notes


def in_inference(graph: Graph, wanted: Iterable[str], fed: Iterable[str] = ()) -> Inference:
    """Return a graph in which the `wanted` tensors are computed in inference mode if the tensors `fed` are fed.

    Raises:
        GraphError: the averages of a batch normalisation, or the input of a dropout, cannot be determined.
    """
    wanted, stop = list(wanted), {TensorRef.parse(text) for text in fed}
    given = {ref.op for ref in stop}
    graph, switches = with_switches_off(graph, needed(graph, wanted, stop), given)
    norms, off = built_for_training(graph, wanted, stop)
    off = [dropout for dropout in off if not dropout.setting & given]
    rewritten = without_dropouts(with_averages(graph, norms), off)
    run = needed(rewritten, wanted, stop)
    moved = {update for average in averages(graph) for update in average.updates} | _ranges(graph)
    moved &= run
    still = [op for name in rewritten.nodes if name in moved and (op := written_variable(rewritten, name))]
    result = without_updates(rewritten, moved)
    flow = Flow.of(result).within(needed(result, wanted, stop))
    random, mixing = disturbances(result, flow, wanted, mode_placeholders(result))
    done = Inference.of(result, norms, off, still)
    by_batch = _names([*done.by_batch, *(op for op in mixing if op not in {norm.op for norm in norms})])
    return replace(done, switches=tuple(switches), random=tuple(random), by_batch=by_batch)


def built_for_training(
    graph: Graph, wanted: Iterable[str], stop: Collection[TensorRef] = ()
) -> tuple[list[BatchNorm], list[Dropout]]:
    """Return the norms and dropouts on which `wanted` tensors depend that are always in training mode."""
    if not (norms := batch_norms(graph)) and not dropouts(graph):
        return [], []
    wanted = list(wanted)
    below = graph.ancestors(*(TensorRef.parse(text).op for text in wanted), stop=stop)
    flow = Flow.of(graph).within(needed(graph, wanted, stop))
    live = below & live_ops(flow, wanted, mode_placeholders(graph)).keys()
    live = {name for name in live if not flow.regions.get(name, "").startswith("switch ")}
    return [norm for norm in norms if norm.op in live], [each for each in dropouts(graph) if each.output.op in live]


def left_for_training(graph: Graph, wanted: Iterable[str]) -> list[str]:
    """Return notes on the ops of a graph for further training that are always in training mode."""
    norms, off = built_for_training(graph, wanted)
    names = _names(norm.name for norm in norms), _names(dropout.name for dropout in off)
    return _said(*names, "unchanged (fold, export-saved-model and predict rewrite them to inference)")


def without_dropouts(graph: Graph, off: Collection[Dropout]) -> Graph:
    """Return the graph without dropouts.

    Raises:
        GraphError: the input of a dropout cannot be determined.
    """
    for dropout in off:
        if dropout.problem:
            raise GraphError(f"{graph.source}: {dropout.name}: {dropout.problem}; {WAY_OUT}")
    passes = {dropout.output: dropout.passes for dropout in off}
    draft = Draft(graph)
    draft.redirect({output: last_of(output, passes) for output in passes})
    return draft.sealed()


def _ranges(graph: Graph) -> set[str]:
    """Return the ops that update the ranges of fake quantisations, which read the updated values."""
    found = set[str]()
    for name, node in graph.nodes.items():
        if node.op.startswith("FakeQuantWithMinMaxVars") and not node.op.endswith("Gradient"):
            for ref in (each for given in graph.inputs(name)[1:3] for each in forms(graph, given)):
                found |= {op for op in (ref.op, *control_inputs(graph.nodes[ref.op])) if written_variable(graph, op)}
    return found


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _said(norms: Sequence[str], off: Sequence[str], what: str) -> list[str]:
    counted = " and ".join(part for part in (_counted(norms, "batch norm"), _counted(off, "dropout")) if part)
    return [f"{counted}, built for training, {what}: {listed([*norms, *off])}"] if counted else []


def _counted(names: Sequence[str], noun: str) -> str:
    return counted(len(names), noun) if names else ""
