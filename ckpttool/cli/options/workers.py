"""Options of workers: where a long job computes, and the number of workers."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ckpttool.cli.options.decorators import as_value
from ckpttool.executors.executor import Executor
from ckpttool.executors.registry import PROCESSES, open_executor

if TYPE_CHECKING:
    from ckpttool.model.model import Model

MODEL_COPIES = 3
"""The maximum number of copies of the weights in a worker: as read, as variables, and in the running graph."""


@dataclass(frozen=True)
class Place:
    """Where a job is computed; this process by default."""

    on: str | None
    workers: int | None

    def executor(self, model: "Model") -> AbstractContextManager[Executor | None]:
        """Return a context manager with the executor for a model, or None for this process."""
        if self.on is None and self.workers in (None, 1):
            return nullcontext()
        return self.always(model)

    def always(self, model: "Model") -> Executor:
        """Return the executor for a model; processes of this machine by default."""
        nbytes = sum(spec.nbytes or 0 for spec in model.checkpoint.specs())
        return open_executor(self.on or PROCESSES, self.workers, MODEL_COPIES * nbytes)


workers_options = as_value(
    "place",
    Place,
    click.option(
        "--on",
        metavar="PLACE",
        help="Where to compute: here, processes, ray (this machine, or the cluster of RAY_ADDRESS), ray://HOST:10001, "
        "or an executor of another package.",
    ),
    click.option(
        "--workers",
        metavar="N",
        type=click.IntRange(1),
        help="The number of workers. Default with --on: as many as cores and memory allow.",
    ),
)
