"""Conversion across frameworks: the weights of one file with the names, shapes and layouts of another file.

Both contain the same network. The network of one side (a graph, a Keras file) determines the layouts, also those of
kernels after a flattened image; the other side needs none. What names, shapes and ops leave ambiguous is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import FormatError, MissingDependency, PlanError
from ckpttool.core.names import listed
from ckpttool.core.notes import notes_about
from ckpttool.foreign.matching import ORDER
from ckpttool.foreign.pairing import Pairing, pair_weights, without_copies
from ckpttool.foreign.suggest import RuleDraft, suggest
from ckpttool.graph.core import Graph
from ckpttool.lineage.derivation import Derivation
from ckpttool.lineage.provenance import Provenance
from ckpttool.model.graphs import graph_to_fill

Network = tuple[Graph, Checkpoint, bool]
"""A graph, the values beside it, and whether there is a graph at all."""


@dataclass(frozen=True)
class Across:
    """The tensors of a file with values from another, and the source of each; other tensors are unchanged."""

    tensors: Checkpoint
    sources: Mapping[str, str]
    notes: tuple[str, ...]


def across(source: Checkpoint, like: Checkpoint, path: Path, lenient: bool = False) -> Across:
    """Return the weights of a checkpoint in the form of another file of the same network.

    Args:
        source: The weights; its slots and counters are not converted.
        like: The open file whose names, shapes, dtypes and layouts they get.
        path: The path of `like`, with its network if it has one.
        lenient: Skip tensors without a counterpart; those of `like` keep their values.

    Raises:
        PlanError: neither side has a network that determines the layouts, or a tensor has no counterpart.
    """
    there = _network(path)
    back = not there[2] and (_network(source.path) if source.path else None)
    if back and back[2]:
        pairing, notes = _paired(like, back, lenient)
        made, froms = pairing.exported(_values(source, back[1], pairing)), pairing.exported_from()
    else:
        pairing, notes = _paired(source, there, lenient)
        made, froms = pairing.tensors, pairing.sources
    filled = like.holding({name: made.get(name) or tensor for name, tensor in like.items()})
    derivations = source.provenance.derivation, like.provenance.derivation
    step = {"like": derivations[1], **({"lenient": True} if lenient else {})}
    said = Derivation(table=step, of=derivations[0]) if all(derivations) else None
    made_of = Provenance.joined(source.provenance, like.provenance, made=said)
    notes += notes_about(f"as in {path}", [name for name in like if name not in froms])
    return Across(filled.made_of(made_of), froms, tuple(notes))


def _values(source: Checkpoint, held: Checkpoint, pairing: Pairing) -> Checkpoint:
    """Return the values of a network's variables: those beside it, or their edited versions.

    Raises:
        PlanError: the edited tensors have other names than the network's variables.
    """
    if not source.provenance.edits and held:
        return held
    needed = [name for pair in pairing.pairs for name in pair.targets if name not in source]
    if needed:
        raise PlanError(f"{source.path}: its network has {listed(needed, 3)}, which edits have renamed or dropped")
    return source


def _network(path: Path) -> Network:
    """Return the network of a path, built if possible; a checkpoint alone has none."""
    try:
        return graph_to_fill(path, computes=True)
    except (FormatError, MissingDependency):
        return graph_to_fill(path)


def _paired(weights: Checkpoint, network: Network, lenient: bool) -> tuple[Pairing, list[str]]:
    """Return the pairing of a file's tensors with a network's variables, and notes about it.

    Raises:
        PlanError: the pairing is ambiguous.
    """
    graph, held, is_graph = network
    alone = None if is_graph else held
    weights = without_copies(weights, alone or ())
    draft = suggest(weights, graph, alone)
    if draft.open and not lenient:
        more = f" (and {len(draft.open) - 1} more)" if len(draft.open) > 1 else ""
        raise PlanError(
            f"{draft.open[0]}{more}; `lenient` leaves such tensors as they are in `like`, and "
            "`import` with `suggest` drafts rules for them"
        )
    pairing = pair_weights(weights, graph, draft.rules(), lenient=lenient, cast=True, held=alone)
    return pairing, [*_about(draft), *notes_about("skipped", pairing.left_out, most=1), *_cast(pairing)]


def _about(draft: RuleDraft) -> Iterator[str]:
    """Return notes on assumptions, and on tensors that were paired by order alone."""
    yield from draft.notes
    yield from notes_about("open", draft.open, most=1)
    guessed = [" ".join(pair.sources) for pair in draft.pairs if pair.confidence == ORDER]
    if guessed:
        count = counted(len(guessed), "pair goes", "pairs go")
        yield f"{count} by the order of the tensors alone: {listed(guessed, 3)}"


def _cast(pairing: Pairing) -> list[str]:
    """Return a note on the tensors whose dtype changes."""
    pairs = ((name, pair.targets[0]) for pair in pairing.pairs for name in pair.sources[:1])
    changed = [
        f"{name} ({pairing.weights[name].dtype} and {pairing.wanted[target].dtype})"
        for name, target in pairs
        if pairing.weights[name].dtype is not pairing.wanted[target].dtype
    ]
    return notes_about("cast to the dtypes of the other file", changed, most=3)
