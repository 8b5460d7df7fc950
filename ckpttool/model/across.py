"""Across frameworks: the weights of one file in the names, shapes and layouts of another of the same network.

The network on one side (a graph, a file of Keras) says how its variables are read, which tells layouts: also those of
kernels behind a flattened image. The other side needs none. What names, shapes and ops leave open is refused.
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
"""A graph, the values that lie with it, and whether it is one."""


@dataclass(frozen=True)
class Across:
    """The tensors of a file with the values of another, and what each is made of; others are as they were."""

    tensors: Checkpoint
    sources: Mapping[str, str]
    notes: tuple[str, ...]


def across(source: Checkpoint, like: Checkpoint, path: Path, lenient: bool = False) -> Across:
    """Return the weights of a checkpoint as a file of the same network has them.

    Args:
        source: The weights; its own slots and counters stay behind.
        like: The file whose names, shapes, dtypes and layouts they get, opened.
        path: Where it is, with its network if it has one.
        lenient: Leave out tensors without a counterpart; others keep the values of `like`.

    Raises:
        PlanError: neither side has a network that tells a layout, or something has no counterpart.
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
    """Return the values of a network's variables: those that lie with it, or what edits have made of them.

    Raises:
        PlanError: edits have left another set of names than the network's.
    """
    if not source.provenance.edits and held:
        return held
    needed = [name for pair in pairing.pairs for name in pair.targets if name not in source]
    if needed:
        raise PlanError(f"{source.path}: its network has {listed(needed, 3)}, which edits have renamed or dropped")
    return source


def _network(path: Path) -> Network:
    """Return the network of a path, built if it can be; a checkpoint alone has none."""
    try:
        return graph_to_fill(path, computes=True)
    except (FormatError, MissingDependency):
        return graph_to_fill(path)


def _paired(weights: Checkpoint, network: Network, lenient: bool) -> tuple[Pairing, list[str]]:
    """Return how a file's tensors go with a network's variables, and what a user should know of that.

    Raises:
        PlanError: something is open.
    """
    graph, held, is_graph = network
    alone = None if is_graph else held
    weights = without_copies(weights, alone or ())
    draft = suggest(weights, graph, alone)
    if draft.open and not lenient:
        more = f" (and {len(draft.open) - 1} more)" if len(draft.open) > 1 else ""
        raise PlanError(
            f"{draft.open[0]}{more}; `lenient` leaves such tensors as they are in `like`, and `import` takes rules "
            "that settle it, of which `suggest` makes a draft"
        )
    pairing = pair_weights(weights, graph, draft.rules(), "", lenient, cast=True, held=alone)
    return pairing, [*_about(draft), *notes_about("left out", pairing.left_out, most=1), *_cast(pairing)]


def _about(draft: RuleDraft) -> Iterator[str]:
    """Say what was assumed, and what goes by the order of tensors alone."""
    yield from draft.notes
    yield from notes_about("open", draft.open, most=1)
    guessed = [" ".join(pair.sources) for pair in draft.pairs if pair.confidence == ORDER]
    if guessed:
        count = counted(len(guessed), "pair goes", "pairs go")
        yield f"{count} by the order of the tensors alone: {listed(guessed, 3)}"


def _cast(pairing: Pairing) -> list[str]:
    """Say which tensors change their dtype."""
    pairs = ((name, pair.targets[0]) for pair in pairing.pairs for name in pair.sources[:1])
    changed = [
        f"{name} ({pairing.weights[name].dtype} and {pairing.wanted[target].dtype})"
        for name, target in pairs
        if pairing.weights[name].dtype is not pairing.wanted[target].dtype
    ]
    return notes_about("cast to the dtypes of the other file", changed, most=3)
