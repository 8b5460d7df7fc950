"""Convert across frameworks: the weights of one file in the names, shapes and layouts of another of the same network.

The network on one side (a graph, a file of Keras) says how its variables are read, which tells layouts: also those of
kernels behind a flattened image. The other side needs none. What names, shapes and ops leave open is refused.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import FormatError, MissingDependency, PlanError
from ckpttool.core.names import listed
from ckpttool.core.notes import notes_about
from ckpttool.foreign.matching import ORDER
from ckpttool.foreign.pairing import Pairing, pair_weights, without_copies
from ckpttool.foreign.suggest import RuleDraft, suggest
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Writing
from ckpttool.graph.core import Graph
from ckpttool.lineage.provenance import Provenance
from ckpttool.model.graphs import graph_to_fill
from ckpttool.model.resolve import open_checkpoint
from ckpttool.surgery.convert import Conversion, plan_convert
from ckpttool.verbs.export_weights import ExportPlan

Network = tuple[Graph, Checkpoint, bool]
"""A graph, the values that lie with it, and whether it is one."""


def converted_across(
    source: Checkpoint, like: Path, to: str, lenient: bool = False, how: Writing = PLAIN
) -> Conversion:
    """Return the weights of a checkpoint as a file of the same network has them.

    Args:
        source: The weights; its own slots and counters stay behind.
        like: The file whose names, shapes, dtypes and layouts they get.
        to: The name of the format to write.
        lenient: Leave out tensors without a counterpart; others keep the values of `like`.
        how: How to write.

    Raises:
        PlanError: neither side has a network that tells a layout, or something has no counterpart.
        FormatError: the format cannot hold a tensor.
    """
    model, there = open_checkpoint(like), _network(like)
    back = not there[2] and (_network(source.path) if source.path else None)
    if back and back[2]:
        pairing, notes = _paired(model, back, lenient)
        values = back[1] if back[1] else source
        made, froms = ExportPlan(Path(str(source.path)), pairing, values).tensors, _exported(pairing)
    else:
        pairing, notes = _paired(source, there, lenient)
        made, froms = dict(pairing.tensors), pairing.sources
    filled = model.holding({name: made.get(name) or tensor for name, tensor in model.items()})
    filled = filled.made_of(Provenance.joined(source.provenance, model.provenance))
    kept = [name for name in model if name not in froms]
    notes += notes_about(f"as in {like}", kept)
    planned = plan_convert(filled, to, lenient=lenient, how=_writing(how, like, to, model))
    rows = tuple({**row, "then": _fate(froms.get(row["name"]), like)} for row in planned.rows)
    return replace(planned, rows=rows, notes=(*notes, *planned.notes))


def _fate(made_of: str | None, like: Path) -> str:
    return f"as in {like.name}" if made_of is None else f"from {made_of}"


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


def _exported(pairing: Pairing) -> dict[str, str]:
    """Return what each tensor of a file is made of on the way back, by its name there."""
    found: dict[str, str] = {}
    for pair in [*pairing.pairs, *pairing.copies]:
        for name in pair.sources:
            parts: Iterable[str] = pairing.computed[name].parts if name in pairing.computed else (name,)
            found |= dict.fromkeys(parts, pair.described(pair.targets))
    return found


def _writing(how: Writing, like: Path, to: str, model: Checkpoint) -> Writing:
    """Return how a file like another is written: with its structure, or for loaders of PyTorch."""
    target = registry.get(to)
    texts = {"format": "pt"} if target.METADATA and model.format == "torch" else {}
    return replace(how, like=like if "like" in target.OPTIONS else None, metadata={**how.metadata, **texts})
