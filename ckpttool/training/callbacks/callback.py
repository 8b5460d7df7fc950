"""Callbacks: what a long verb reports while it works. The command line prints it; a program may ignore it.

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
    from ckpttool.training.filling import Estimate
    from ckpttool.training.run import Epoch

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Progress:
    """Where an epoch is: steps taken of those that it has, their mean loss, what they took, and the speed."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    rows_per_second: float

    @property
    def seconds_left(self) -> float:
        """About how long the epoch will still take, at its speed so far.

        >>> Progress(epoch=2, epochs=4, step=30, steps=40, loss=0.5, seconds=6.0, rows_per_second=1000.0).seconds_left
        2.0
        """
        return self.seconds / self.step * (self.steps - self.step)

    @property
    def run_left(self) -> float:
        """About how long all epochs will still take at this speed; early stopping may end them before.

        >>> Progress(epoch=2, epochs=4, step=30, steps=40, loss=0.5, seconds=6.0, rows_per_second=1000.0).run_left
        18.0
        """
        return self.seconds_left + self.seconds / self.step * self.steps * (self.epochs - self.epoch)


class Callback:
    """Is called at each event of a run and does nothing; subclasses override the events that they need."""

    def on_plan(self, plan: Sequence["PlanRow"], notes: Sequence[str]) -> None:
        """Receive the plan, and what a user should know of it, before the first step."""

    def on_notes(self, notes: Sequence[str]) -> None:
        """Receive what a user should know: what was rewritten, how a run differs from the one that it repeats."""

    def on_data(self, splits: Sequence["Split"]) -> None:
        """Receive the rows that will be used, and what was done to them."""

    def on_cache_estimate(self, estimate: "Estimate") -> None:
        """Receive what filling a feature cache will cost, before it is filled."""

    def on_cache_progress(self, done: int, rows: int) -> None:
        """Receive how many rows of a cache are computed."""

    def on_cache_damage(self, damage: Exception) -> None:
        """Receive what is wrong with the cached features, which will be computed again."""

    def on_cache_ready(self, features: "Features") -> None:
        """Receive the features, read from the cache or computed."""

    def on_features(self, done: int, rows: int) -> None:
        """Receive of how many rows the features are computed that a search scores."""

    def on_graph(self, graph: "Graph") -> None:
        """Receive the graph that will be trained; a run with stages has one for each."""

    def on_run_begin(self, history: Sequence["Epoch"]) -> None:
        """Receive the epochs that are done already, some where a run is resumed; the first step is next."""

    def on_progress(self, progress: Progress) -> None:
        """Receive where an epoch is, about once a second."""

    def on_weights(self, epoch: "Epoch", read: Callable[[], Mapping[str, "Array"]]) -> None:
        """Receive, when an epoch is done, what reads the variables by op name."""

    def on_epoch_end(self, epoch: "Epoch") -> None:
        """Receive the figures of an epoch."""

    def on_save(self, path: Path) -> None:
        """Receive the prefix under which the run was saved."""

    def on_run_end(self) -> None:
        """End: the run is over, was stopped, or has failed."""


EVENTS = [name for name in vars(Callback) if name.startswith("on_")]
Callbacks = Callback | Sequence[Callback]
"""What verbs take as `callbacks`: one or several."""


class CallbackList(Callback):
    """Calls several callbacks at each event, in order."""

    def __init__(self, callbacks: Callbacks = ()) -> None:
        """Take one callback or several."""
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
