"""Losses of batches: what a loss that compares the rows of a batch asks of batches, in a collection of the graph."""

from dataclasses import dataclass
from typing import Literal, get_args

from ckpttool.core.errors import FormatError
from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.core import Graph

KEY = "ckpttool/batch_loss"
Tells = Literal["label", "group", "place"]
"""What tells which rows belong together: their labels, their groups, or their places among all rows."""


@dataclass(frozen=True)
class BatchLoss:
    """A loss that compares the rows of a batch with one another.

    `pairs` says what tells which rows belong together, that need each other in a batch; None where none does. Numbers
    that tell it are at most `near` apart for two such rows; by groups and `near` rows of a group are, whose places are.
    """

    pairs: Tells | None = None
    near: int = 0


def batch_loss(graph: Graph) -> BatchLoss | None:
    """Return what the loss of a graph asks of batches; None where it is a mean over rows, which may be alone.

    Raises:
        FormatError: the collection says something else.
    """
    texts = own_texts(graph, KEY)
    if not texts:
        return None
    kind, tells, near = (*texts, "label", "0")[:3] if len(texts) == 1 else texts[:3]
    if kind == "together":
        return BatchLoss()
    known = next((each for each in get_args(Tells) if each == tells), None)
    if kind != "pairs" or known is None or not near.isdecimal():
        raise FormatError(f"{graph.source}: collection {KEY} has {list(texts)}, which is not a loss of batches")
    return BatchLoss(known, int(near))


def with_batch_loss(graph: Graph, asks: BatchLoss) -> Graph:
    """Return the graph with a loss that asks this of batches."""
    return with_own_texts(graph, KEY, ["pairs", asks.pairs, str(asks.near)] if asks.pairs else ["together"])
