"""Notes of a stage, for the user before its first step."""

from ckpttool.core.names import listed
from ckpttool.core.notes import notes_about
from ckpttool.core.patterns import Pattern
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
    """Return notes on what TensorFlow's scope patterns would also match, what the output omits, what can't be learned.

    Args:
        source: The initial model of the run, and its data.
        bound: The same data with the graph to train.
        frozen: The frozen part of the source.
        options: The options of the run.
        trained: The pattern of what this stage trains.
        outputs: The number of outputs per row, 0 if unknown.
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
    """Return the model's tensors that the trained graph does not contain: an old optimizer's slots, unused ops."""
    return [name for name in source.model.checkpoint if name not in bound.model.checkpoint]


def _pulled(bound: Bound, frozen: Frozen, options: Options) -> list[str]:
    """Return notes on the kernels under `l2_sp`, which excludes the newly initialised ones of the head."""
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
    """Return the random augmentation layers of a Keras model that are in the frozen part."""
    network, part = keras_network(source.model.graph), frozen.part
    if network is None or part is None:
        return []
    nodes = frozen.graph.nodes
    scopes = {scope for op in part.ops if op in nodes and nodes[op].op in RANDOM for scope in op.split("/")}
    every = [own for each, _ in models_within(network.architecture) for own in each["config"]["layers"]]
    names = [own["config"]["name"] for own in every if own["class_name"].startswith("Rand")]
    return [name for name in names if name in scopes]
