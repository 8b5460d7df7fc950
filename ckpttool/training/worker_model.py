"""A model in a worker: opened from its file, compared with the model of this process, and run in the same way."""

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
    """What a worker needs to open a model, and to compute the same results as this process.

    `facts` are those of the part that is computed (`part_facts`), and whatever else must be the same.
    """

    opening: Opening
    facts: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...] = field(default_factory=settings)
    least_threads: int = field(default_factory=lambda: min(2, cores()))
    """The threads per op: their number changes the rounding, and results must equal those of one process."""

    @classmethod
    def of(cls, model: Model, facts: Mapping[str, str]) -> Self:
        """Return what describes a model to a worker.

        Raises:
            PlanError: the model exists in this process only.
        """
        if model.opening is None:
            raise PlanError(f"{model.path} was made in this process, and other workers need its file; write it first")
        return cls(model.opening, tuple(facts.items()))

    def open(self) -> Model:
        """Open the model in a worker, with TensorFlow configured by the environment for the worker's threads."""
        os.environ.update(self.environment)
        log_as_configured()  # opening a Keras file builds it with TensorFlow
        model = self.opening.again()
        share = threads()
        configure_tensorflow(convolves(model.graph), share and max(share, self.least_threads))
        return model

    def check(self, facts: Mapping[str, str]) -> None:
        """Check that the opened model is the intended one.

        Raises:
            GraphError: it is not.
        """
        if other := [name for name, value in self.facts if facts.get(name) != value]:
            found = f"{self.opening.path}: a worker has other {', '.join(other)} than the process that asks it"
            raise GraphError(f"{found}: model and data must be files that both see, and stay as they are")


def part_facts(
    part: Graph, tensors: Sequence[str], values: Mapping[str, Tensor], weights: Sequence[str]
) -> dict[str, str]:
    """Return the hashes that determine tensors, by name: the part of the graph that is run, and its weights."""
    below = part.meta.graph_def
    return {
        "graph": hashlib.blake2b(below.SerializeToString(deterministic=True)).hexdigest(),
        "tensors": " ".join(tensors),
        "weights": " ".join(f"{name}={_digest(values[name])}" for name in sorted(weights)),
    }


def as_items(given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return a mapping as a hashable value; `dict` converts it back.

    >>> as_items({"inputs": ["X", "Z"], "labels": "y"})
    (('inputs', ('X', 'Z')), ('labels', 'y'))
    """
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in given.items())


def _digest(tensor: Tensor) -> str:
    digest = hashlib.blake2b(f"{tensor.dtype} {tensor.shape}".encode(), digest_size=16)
    for piece in tensor.pieces():
        digest.update(piece)
    return digest.hexdigest()
