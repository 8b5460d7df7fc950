"""The class `Frozen`: the frozen part of a graph, and the graph in which training does not change it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ckpttool.core.notes import notes_about
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.closure import FrozenPart, frozen_part
from ckpttool.graph.freezing.moving_averages import with_moving_averages
from ckpttool.graph.freezing.randomness import switched_randomness
from ckpttool.graph.freezing.training_switch import pin_training
from ckpttool.graph.freezing.updates import drop_updates, stop_at_cut, untrainable
from ckpttool.graph.rewrite.averaging import with_averages
from ckpttool.graph.rewrite.inference import Inference, built_for_training, without_dropouts
from ckpttool.graph.rewrite.prune import without_training

Method = Literal["var-list", "stop-gradient"]
"""How optimizers that are added later are prevented from training frozen variables."""

QUIET = "in inference mode below frozen layers, so they are not random in training"
"""The note on dropouts, noise and augmentations that depend on the mode."""


@dataclass(frozen=True)
class Frozen:
    """The frozen variables and part of a graph.

    `names` are the frozen variables (checkpoint names): the chosen ones, and the moving averages of completely frozen
    layers, except those in `moving`. `part` is the frozen part of the computation of the `targets`, with its cut, or
    None if the targets depend on no frozen variable. In `graph`, that part runs in inference mode; `notes` report what
    was rewritten for this if the graph has no switch.
    """

    graph: Graph
    names: tuple[str, ...]
    part: FrozenPart | None
    targets: tuple[str, ...]
    moving: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        graph: Graph,
        chosen: Collection[str],
        targets: Sequence[str],
        training: str | None = None,
        moving: Collection[str] = (),
    ) -> "Frozen":
        """Freeze the chosen variables (names in the checkpoint) in the computation of `targets`.

        `training` names the mode placeholder; by default, all placeholders of a single bool are mode placeholders.

        Raises:
            UnknownName: a variable, a target or the placeholder is not in the graph.
            GraphError: the inference mode of a frozen layer cannot be determined.
        """
        described, keys = variables(graph), with_moving_averages(graph, chosen, moving)
        names = tuple(dict.fromkeys(described[key].name for key in keys))
        inference = _in_inference(graph, keys, targets, training, moving)
        part = _part(inference.graph, keys, targets, training, moving)
        pinned = pin_training(inference.graph, part) if part else inference.graph
        quiet = switched_randomness(inference.graph, part.pinned) if part else []
        notes = [
            *inference.notes,
            *notes_about("in inference mode below frozen layers, so they are not random in training", quiet),
        ]
        return cls(pinned, names, part, tuple(targets), tuple(moving), tuple(notes))

    def applied(self, method: Method | Literal["updates"] = "var-list", forward: Sequence[str] = ()) -> Graph:
        """Return the graph in which training does not change the frozen variables.

        Frozen layers run in inference mode, and the updates of their variables are removed. `updates` does nothing
        else; `var-list` also removes the variables from TRAINABLE_VARIABLES, for optimizers that are added later;
        `stop-gradient` stops gradients at the cut. With `forward` (tensors), only the part that computes these is kept,
        without a training op.

        Raises:
            UnknownName: one of `forward` is not in the graph.
        """
        graph, left_out = self.graph, self.names
        if method == "stop-gradient" and self.part is not None:
            graph = stop_at_cut(graph, self.part, self.targets)
            # For a frozen variable above trained layers, gradients cannot be stopped: only the list protects it.
            left_out = self.part.above
        if forward:
            graph = without_training(graph, forward)
        held = stored_tensors(graph)
        graph = drop_updates(graph, [name for name in self.names if name in held], self.moving, self.targets)
        return graph if method == "updates" else untrainable(graph, left_out)


def _part(
    graph: Graph, keys: Sequence[str], targets: Sequence[str], training: str | None, moving: Collection[str]
) -> FrozenPart | None:
    """Return the part of a graph that computes with frozen variables (keys of `variables`), or None."""
    described, needed = variables(graph), graph.ancestors(*(TensorRef.parse(text).op for text in targets))
    used = [key for key in keys if described[key].op in needed]
    return frozen_part(graph, used, targets, training, moving) if used else None


def _in_inference(
    graph: Graph, keys: Sequence[str], targets: Sequence[str], training: str | None, moving: Collection[str]
) -> Inference:
    """Rewrite training behaviour without a switch to inference mode in the frozen part.

    Batch normalisations with frozen averages use these, and dropouts between frozen layers are removed.

    Raises:
        GraphError: the inference mode of an op cannot be determined.
    """
    norms, off = built_for_training(graph, targets)
    if not norms and not off:
        return Inference(graph)
    described = variables(graph)
    still = {described[key].op for key in keys}
    known = [norm for norm in norms if norm.averages and not norm.problem and still.issuperset(norm.averages)]
    averaged = with_averages(graph, known)
    part = _part(averaged, keys, targets, training, moving)
    inside = part.pinned if part else frozenset[str]()
    averaged = with_averages(averaged, [norm for norm in norms if norm.problem and norm.op in inside])
    off = [dropout for dropout in off if dropout.output.op in inside]
    return Inference.of(without_dropouts(averaged, off), known, off)
