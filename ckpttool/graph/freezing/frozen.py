"""Frozen: what stays as it is while the rest of a graph is trained, and the graph that keeps it so."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.closure import FrozenPart, frozen_part
from ckpttool.graph.freezing.moving_averages import with_moving_averages
from ckpttool.graph.freezing.training_switch import pin_training
from ckpttool.graph.freezing.updates import drop_updates, stop_at_cut, untrainable
from ckpttool.graph.rewrite.prune import without_training

Method = Literal["var-list", "stop-gradient"]
"""How optimizers that are put on later are kept from frozen variables."""


@dataclass(frozen=True)
class Frozen:
    """What stays as it is while the rest of a graph is trained.

    `names` are the frozen variables as a checkpoint has them: those chosen, and the moving averages of layers that are
    frozen whole, but for those in `moving`. `part` is what computes the `targets` with them, and the cut where it ends;
    None where the targets need no frozen variable. In `graph` that part runs in inference mode.
    """

    graph: Graph
    names: tuple[str, ...]
    part: FrozenPart | None
    targets: tuple[str, ...]
    moving: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        graph: Graph,
        chosen: Collection[str],
        targets: Sequence[str],
        training: str | None = None,
        moving: Collection[str] = (),
    ) -> "Frozen":
        """Find what stays with the chosen variables (names in the checkpoint) where `targets` are trained or asked for.

        `training` names the mode placeholder; by default every placeholder of a single bool is one.

        Raises:
            UnknownName: a variable, a target or the placeholder is not in the graph.
        """
        described, keys = variables(graph), with_moving_averages(graph, chosen, moving)
        needed = graph.ancestors(*(TensorRef.parse(text).op for text in targets))
        used = [key for key in keys if described[key].op in needed]
        part = frozen_part(graph, used, targets, training, moving) if used else None
        names = tuple(dict.fromkeys(described[key].name for key in keys))
        return cls(pin_training(graph, part) if part else graph, names, part, tuple(targets), tuple(moving))

    def applied(self, method: Method | Literal["updates"] = "var-list", forward: Sequence[str] = ()) -> Graph:
        """Return the graph whose training leaves what is frozen alone.

        Frozen layers run in inference mode, and nothing updates their variables any more: that is all with `updates`.
        Optimizers that are put on later do not find the variables in TRAINABLE_VARIABLES with `var-list`; with
        `stop-gradient` they cannot pass the cut. With `forward` (tensors) only the part that computes these is left,
        without any training op.

        Raises:
            UnknownName: one of `forward` is not in the graph.
        """
        graph, left_out = self.graph, self.names
        if method == "stop-gradient" and self.part is not None:
            graph = stop_at_cut(graph, self.part, self.targets)
            # No gradient can be stopped below a frozen variable that trained layers feed: the list alone protects it.
            left_out = self.part.above
        if forward:
            graph = without_training(graph, forward)
        held = stored_tensors(graph)
        graph = drop_updates(graph, [name for name in self.names if name in held], self.moving)
        return graph if method == "updates" else untrainable(graph, left_out)
