"""Notes of a stage: what a user should know of a run before it takes its first step."""

from ckpttool.core.names import Pattern, listed
from ckpttool.core.notes import notes_about
from ckpttool.core.variable_kinds import is_start
from ckpttool.data.class_files import spare_outputs
from ckpttool.data.splits import empty_classes
from ckpttool.formats.keras.connections import models_within
from ckpttool.graph.contents.head import head_weights
from ckpttool.graph.contents.keras_network import keras_network
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.graph.ops import RANDOM
from ckpttool.model.plan import prefix_note
from ckpttool.training.bound import Bound
from ckpttool.training.options import Options

_JUDGED = (
    "validation and the best epoch are of the weights' moving averages (`ema`), which the output holds beside the "
    "weights: `evaluate`, `predict` and `reuse` take them with `ema`"
)


def stage_notes(
    source: Bound, bound: Bound, frozen: Frozen, options: Options, trained: str | None, outputs: int
) -> list[str]:
    """Return what TensorFlow's own patterns would take besides, what will not be in the output, what cannot be learnt.

    Args:
        source: The model that a run begins with, and its data.
        bound: The same data with the graph that is trained.
        frozen: The part of the source that is not.
        options: How the run is asked for.
        trained: The pattern of what this stage trains.
        outputs: How many the model has for a row, 0 where that is not known.
    """
    names = stored_tensors(source.model.graph)
    notes = [note for text in (trained, options.freeze) if text for note in prefix_note(Pattern(text), names)]
    notes += [*frozen.notes, *_pulled(bound, frozen, options)]
    notes += [_JUDGED] if options.recipe and options.recipe.ema else []
    notes += notes_about("`augment` changes images, as these do no more", _augmenting_below(source, frozen))
    if left := left_behind(source, bound):
        notes.append(f"not needed by the trained graph, so not written: {listed(left)}")
    if outputs:
        known = source.class_names
        empty = [number for number in empty_classes(source.splits[0], outputs) if number < len(known) or not known]
        notes += spare_outputs(known, outputs)
        notes += [f"no training row has the label {listed([str(number) for number in empty])}"] if empty else []
    return notes


def left_behind(source: Bound, bound: Bound) -> list[str]:
    """Return the model's tensors that the trained graph does not hold: an old optimizer's slots, ops beside."""
    return [name for name in source.model.checkpoint if name not in bound.model.checkpoint]


def _pulled(bound: Bound, frozen: Frozen, options: Options) -> list[str]:
    """Say which kernels are pulled towards their start, and that those of the head are not, which is random."""
    scale = options.recipe and options.recipe.l2_sp
    if not scale:
        return []
    graph = bound.model.graph
    held = variables(graph).values()
    pulled = [each.owner or "" for each in held if each.kind == "slot" and is_start(each.name)]
    notes = [f"`l2_sp` pulls towards their values at the start: {listed(pulled) or 'no kernel, in this stage'}"]
    kernels = [each.name for each in head_weights(graph, bound.roles.logits) if len(each.shape or ()) > 1]
    left = [name for name in kernels if name not in pulled and name not in frozen.names]
    if left and "=" not in str(scale):
        notes.append(f"`l2_sp` leaves the head alone, which starts at random: {listed(left)}")
    return notes


def _augmenting_below(source: Bound, frozen: Frozen) -> list[str]:
    """Return the layers of a Keras model that would change images at random, and are in the frozen part."""
    network, part = keras_network(source.model.graph), frozen.part
    if network is None or part is None:
        return []
    nodes = frozen.graph.nodes
    scopes = {scope for op in part.ops if op in nodes and nodes[op].op in RANDOM for scope in op.split("/")}
    every = [own for each, _ in models_within(network.architecture) for own in each["config"]["layers"]]
    names = [own["config"]["name"] for own in every if own["class_name"].startswith("Rand")]
    return [name for name in names if name in scopes]
