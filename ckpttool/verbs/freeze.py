"""Freezing: selected layers are excluded from training in the graph itself."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.core.patterns import Pattern
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.contents.stored import chosen_weights, stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.closure import FrozenPart
from ckpttool.graph.freezing.frozen import Frozen, Method
from ckpttool.graph.freezing.updates import update_ops
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.roles.placeholders import constant_switches, mode_placeholders
from ckpttool.graph.roles.resolve import Roles, certain_roles, find_roles
from ckpttool.graph.roles.served import called
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import Contents
from ckpttool.model.model import Model
from ckpttool.model.plan import ModelPlan, PlanRow, plan_rows, prefix_note
from ckpttool.model.unfreezing import with_unfrozen


@dataclass(frozen=True, repr=False)
class Freezing(ModelPlan):
    """The plan: the model's own values under a graph that does not train the frozen variables."""

    model: Model
    graph: Graph
    frozen: tuple[str, ...]
    unfrozen: tuple[str, ...]
    rows: list[PlanRow]
    notes: tuple[str, ...]
    to: str | None = None

    @property
    def done(self) -> str:
        """A statement about the written output."""
        counts = ((len(self.frozen), "frozen"), (len(self.unfrozen), "trained again"))
        changed = ", ".join(f"{counted(count, 'variable')} {how}" for count, how in counts if count)
        return f"written and read back, {changed or 'nothing changed'}"

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> Sequence[str]:
        """Write the graph, copy the checkpoint, and read both back.

        Raises:
            ExistingOutput: the output exists.
            CorruptCheckpoint: what was read back differs.
        """
        command = command or Command.of_call("freeze", self.model.path, output)
        contents = Contents(self.graph, self.model.checkpoint, command=command)
        return self.writer(output).write(contents, Path(output), overwrite).notes


def plan_freeze(
    model: Model,
    layers: str | None,
    method: Method = "var-list",
    roles: Mapping[str, str] | None = None,
    to: str | None = None,
    unfreeze: str | None = None,
) -> Freezing:
    """Plan what `freeze` writes; nothing is written before the plan's `write`. No TensorFlow is needed.

    Both methods remove the frozen variables from the graph's own training op, keep their moving averages fixed
    and run their layers in inference mode. `var-list` also removes them from TRAINABLE_VARIABLES, for optimizers
    that are added later; `stop-gradient` inserts a StopGradient op at the cut instead, which such optimizers cannot
    pass. `roles` names the graph's ops if they are not detected (`find_roles`), `to` is the family to write. What
    `unfreeze` matches becomes trainable again, before layers are frozen.

    Raises:
        UnknownName: a pattern matches nothing.
        PlanError: nothing would be left to train, or neither pattern is specified.
    """
    if layers is None and unfreeze is None:
        raise PlanError("specify the `layers` to freeze, or those to `unfreeze`")
    again = with_unfrozen(model.thawed(), unfreeze, roles)
    model = again.model
    if layers is None:
        rows = plan_rows(model.graph, {name: name for name in stored_tensors(model.graph)})
        return Freezing(model, importable(model.graph), (), again.names, rows, tuple(again.notes), to)
    pattern = Pattern(layers)
    described = variables(model.graph)
    weights = [key for key, variable in described.items() if variable.kind == "weight"]
    graph, given = called(model.graph, roles or {})
    known, model = find_roles(graph, needed=(), **given), replace(model, graph=graph)
    frozen = Frozen.of(graph, chosen_weights(graph, pattern), _targets(graph, known), known.training)
    rows = plan_rows(model.graph, {v.name: v.name for v in described.values()}, frozen.names)
    if not any(row.train for row in rows):
        count = counted(len(rows), "weight")
        raise PlanError(f"{model.path}: no layer is left to train: {layers!r} freezes all {count}")
    graph = importable(frozen.applied(method))
    notes = (*prefix_note(pattern, weights), *frozen.notes, *_cut_notes(frozen.part, method))
    changes = _change_notes(model.graph, graph, frozen.names)
    return Freezing(model, graph, frozen.names, again.names, rows, (*again.notes, *notes, *changes), to)


def freeze_graph(graph: Graph, names: Collection[str], method: Method = "var-list") -> Graph:
    """Return a graph that does not train the named variables (checkpoint names).

    Raises:
        UnknownName: a name is not one of the graph's variables.
    """
    roles = certain_roles(graph)
    return importable(Frozen.of(graph, names, _targets(graph, roles), roles.training).applied(method))


def _targets(graph: Graph, roles: Roles) -> list[str]:
    """Return the tensors whose inputs are examined: the loss and its metrics, else the outputs of signatures."""
    return [name for name in (roles.loss, roles.logits, roles.accuracy) if name] or output_tensors(graph)


def _cut_notes(part: FrozenPart | None, method: Method) -> list[str]:
    """Yield a note on where the frozen part ends."""
    if part is None:
        return ["the graph computes no loss or logits with the frozen variables: only its collections change"]
    notes = [f"the cut: {listed(part.features)}"] if part.features else []
    if part.above:
        how = "; removed from TRAINABLE_VARIABLES, no gradient is stopped" if method == "stop-gradient" else ""
        notes.append(f"frozen above layers that are trained: {listed(part.above)}{how}")
    return notes


def _change_notes(before: Graph, after: Graph, frozen: Collection[str]) -> list[str]:
    """Yield notes on what is no longer trained, what is unused, and what importing required."""
    dropped = update_ops(before, frozen)
    notes = [f"removed from the training op: {listed(dropped)}"] if dropped else []
    switches = (*mode_placeholders(before), *constant_switches(before))
    pinned = [name for name in switches if f"{name}/frozen" in after.nodes]
    notes += [f"set to False in the frozen layers: {listed(pinned)}"] if pinned else []
    slots = [v.name for v in variables(after).values() if v.owner in frozen]
    if slots:
        notes.append(f"kept, although they are no longer updated: {listed(slots)}")
    if any(node.device and not node.device.endswith("CPU:0") for node in before.nodes.values()):
        notes.append("device placements are removed")
    return notes
