"""A model in a worker: opened again from its file, held against the one that this process has, run as here."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.executors.machine import cores
from ckpttool.executors.worker import threads
from ckpttool.graph.contents.layers import convolves
from ckpttool.graph.core import Graph
from ckpttool.model.model import Model, Opening
from ckpttool.runtime.configure import configure_tensorflow, log_as_configured, settings


@dataclass(frozen=True)
class WorkerModel:
    """What a worker needs to open a model as this process has it, and to compute with it likewise.

    `facts` are those of the part that is computed with (`part_facts`), and whatever else has to be the same there.
    """

    opening: Opening
    facts: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...] = field(default_factory=settings)
    least_threads: int = field(default_factory=lambda: min(2, cores()))
    """An op that computes with one thread rounds otherwise than with several; results are to be one process's."""

    @classmethod
    def of(cls, model: Model, facts: Mapping[str, str]) -> Self:
        """Take a model.

        Raises:
            PlanError: it is in this process alone.
        """
        if model.opening is None:
            raise PlanError(f"{model.path} was made in this process, and other workers need its file; write it first")
        return cls(model.opening, tuple(facts.items()))

    def open(self) -> Model:
        """Open the model in a worker, and configure TensorFlow as the environment says, for the worker's threads."""
        os.environ.update(self.environment)
        log_as_configured()  # a file of Keras is built with TensorFlow as it is opened
        model = self.opening.again()
        share = threads()
        configure_tensorflow(convolves(model.graph), share and max(share, self.least_threads))
        return model

    def check(self, facts: Mapping[str, str]) -> None:
        """Check that what was opened here is what was meant.

        Raises:
            GraphError: it is not.
        """
        if other := [name for name, value in self.facts if facts.get(name) != value]:
            found = f"{self.opening.path}: a worker has other {', '.join(other)} than the process that asks it"
            raise GraphError(f"{found}: model and data must be files that both see, and stay as they are")


def part_facts(
    part: Graph, tensors: Sequence[str], values: Mapping[str, Tensor], weights: Sequence[str]
) -> dict[str, str]:
    """Return what tensors follow from, by what it is: the part of a graph that is run, and the weights, by content."""
    below = part.meta.graph_def
    return {
        "graph": hashlib.blake2b(below.SerializeToString(deterministic=True)).hexdigest(),
        "tensors": " ".join(tensors),
        "weights": " ".join(f"{name}={_digest(values[name])}" for name in sorted(weights)),
    }


def as_items(given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return a mapping as a value that can be hashed; `dict` makes it one again.

    >>> as_items({"inputs": ["X", "Z"], "labels": "y"})
    (('inputs', ('X', 'Z')), ('labels', 'y'))
    """
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in given.items())


def _digest(tensor: Tensor) -> str:
    digest = hashlib.blake2b(f"{tensor.dtype} {tensor.shape}".encode(), digest_size=16)
    for piece in tensor.pieces():
        digest.update(piece)
    return digest.hexdigest()
