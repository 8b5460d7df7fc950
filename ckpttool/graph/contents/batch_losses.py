"""Losses that compare the rows of a batch: their requirements for batches, in a collection of the graph."""

from dataclasses import dataclass
from typing import Literal, get_args

from ckpttool.core.errors import FormatError
from ckpttool.core.names import number_in
from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.core import Graph

KEY = "ckpttool/batch_loss"
Tells = Literal["label", "group", "place"]
"""The criterion for rows that belong together: their labels, their groups, or their positions among all rows."""


@dataclass(frozen=True)
class BatchLoss:
    """A loss that compares the rows of a batch with one another.

    `pairs` is the criterion for rows that belong together and must be in the same batch, or None. Labels or positions
    of such rows differ by at most `near`; with groups and `near`, positions of rows in the same group do.
    """

    pairs: Tells | None = None
    near: int = 0


def batch_loss(graph: Graph) -> BatchLoss | None:
    """Return the requirements of a graph's loss for batches; None for a mean over independent rows.

    Raises:
        FormatError: the collection has other content.
    """
    texts = own_texts(graph, KEY)
    if not texts:
        return None
    kind, tells, near = (*texts, "label", "0")[:3] if len(texts) == 1 else texts[:3]
    if kind == "together":
        return BatchLoss()
    known = next((each for each in get_args(Tells) if each == tells), None)
    if kind != "pairs" or known is None or (place := number_in(near)) is None:
        raise FormatError(f"{graph.source}: collection {KEY} has {list(texts)}, which is not a loss of batches")
    return BatchLoss(known, place)


def with_batch_loss(graph: Graph, asks: BatchLoss) -> Graph:
    """Return the graph with other requirements of its loss for batches."""
    return with_own_texts(graph, KEY, ["pairs", asks.pairs, str(asks.near)] if asks.pairs else ["together"])
