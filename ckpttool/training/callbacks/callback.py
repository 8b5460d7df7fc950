"""Callbacks: what long verbs report while they work. The command line prints it; programs may ignore it.

>>> class Losses(Callback):
...     def on_epoch_end(self, epoch):
...         print(epoch.epoch, epoch.valid_loss)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from ckpttool.core.tensors import Array
    from ckpttool.data.splits import Split
    from ckpttool.graph.core import Graph
    from ckpttool.model.plan import PlanRow
    from ckpttool.training.features import Features
    from ckpttool.training.run import Epoch

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Progress:
    """The progress of an epoch: steps done and in total, mean loss so far, seconds and speed."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    rows_per_second: float

    @property
    def seconds_left(self) -> float:
        """Estimated seconds until the end of the epoch, at its speed so far.

        >>> Progress(epoch=2, epochs=4, step=30, steps=40, loss=0.5, seconds=6.0, rows_per_second=1000.0).seconds_left
        2.0
        """
        return self.seconds / self.step * (self.steps - self.step)

    @property
    def run_left(self) -> float:
        """Estimated seconds until the end of all epochs, at this speed and without early stopping.

        >>> Progress(epoch=2, epochs=4, step=30, steps=40, loss=0.5, seconds=6.0, rows_per_second=1000.0).run_left
        18.0
        """
        return self.seconds_left + self.seconds / self.step * self.steps * (self.epochs - self.epoch)


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of filling a feature cache: bytes on disk, and seconds extrapolated from the first rows."""

    rows: int
    bytes: int
    seconds: float


class Callback:
    """The base class: it does nothing at each event of a run; subclasses override the events that they need."""

    def on_plan(self, plan: Sequence["PlanRow"], notes: Sequence[str]) -> None:
        """Receive the plan and its notes before the first step."""

    def on_notes(self, notes: Sequence[str]) -> None:
        """Receive notes for the user, such as what was rewritten, or how a run differs from the one that it repeats."""

    def on_data(self, splits: Sequence["Split"]) -> None:
        """Receive the rows that will be used, with their preprocessing."""

    def on_cache_estimate(self, estimate: Estimate) -> None:
        """Receive the estimated cost of a feature cache before it is filled."""

    def on_cache_progress(self, done: int, rows: int) -> None:
        """Receive the number of rows computed for a feature cache so far."""

    def on_cache_wait(self, entry: Path) -> None:
        """Receive the folder of features that another process is computing; they are waited for."""

    def on_cache_damage(self, damage: Exception) -> None:
        """Receive the damage found in cached features, which will be recomputed."""

    def on_cache_ready(self, features: "Features") -> None:
        """Receive the features, read from the cache or computed."""

    def on_features(self, done: int, rows: int) -> None:
        """Receive the number of rows whose features are computed, for the scores of a search."""

    def on_graph(self, graph: "Graph") -> None:
        """Receive the graph that will be trained; a run with stages has one per stage."""

    def on_run_begin(self, history: Sequence["Epoch"]) -> None:
        """Receive the epochs done before (in a resumed run), just before the first step."""

    def on_progress(self, progress: Progress) -> None:
        """Receive the progress of an epoch, about once a second."""

    def on_weights(self, epoch: "Epoch", read: Callable[[], Mapping[str, "Array"]]) -> None:
        """Receive a function that reads variables by op name, at the end of an epoch."""

    def on_epoch_end(self, epoch: "Epoch") -> None:
        """Receive the figures of an epoch."""

    def on_save(self, path: Path) -> None:
        """Receive the prefix under which the run was saved."""

    def on_output(self, place: Path) -> None:
        """Receive the staging path of the trained model: files that are written beside it are committed with it."""

    def on_run_end(self) -> None:
        """Receive the end of the run, whether it finished, was stopped or failed."""


EVENTS = [name for name in vars(Callback) if name.startswith("on_")]
Callbacks = Callback | Sequence[Callback]
"""The type of the parameter `callbacks` of verbs: one or several."""


class CallbackList(Callback):
    """Calls several callbacks at each event, in order."""

    def __init__(self, callbacks: Callbacks = ()) -> None:
        """Initialise with one callback or several."""
        self._callbacks = (callbacks,) if isinstance(callbacks, Callback) else tuple(callbacks)
        for event in EVENTS:
            setattr(self, event, partial(self._call, event))

    def __iter__(self) -> Iterator[Callback]:
        """Iterate over the callbacks."""
        return iter(self._callbacks)

    @contextmanager
    def run(self, history: Sequence["Epoch"]) -> Iterator[None]:
        """Report the beginning of a run and, however the block ends, its end."""
        self.on_run_begin(history)
        try:
            yield
        finally:
            self.on_run_end()

    def _call(self, event: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(*arguments)


def accepts_watch(verb: Callable[P, R]) -> Callable[P, R]:
    """Let a verb take `watch`, the former name of its parameter `callbacks`."""

    @wraps(verb)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        if "watch" in named:
            named["callbacks"] = named.pop("watch") or ()
        return verb(*arguments, **named)

    return call
