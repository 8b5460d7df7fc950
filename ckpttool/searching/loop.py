"""The loop of a search: trials in rungs on an executor, until there is nothing left to try or the budget is exhausted.

A rung is one block for all active configurations; hopeless ones are given up between rungs. So
decisions depend only on the outcomes, not on the number of workers or on interruptions of the search.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from ckpttool.core.counts import counted
from ckpttool.executors.executor import Executor, Factory, WorkerLost
from ckpttool.searching.configurations import Block, Configuration, Design, Outcome
from ckpttool.searching.stopping import hopeless
from ckpttool.searching.study import Study
from ckpttool.training.interrupt import Interrupt

POLL = 0.2
"""Seconds between checks for an interrupt or the end of the time, while trials run."""


@dataclass(frozen=True)
class Budget:
    """The limits of a search: seconds from its start, and trials; None is no limit."""

    seconds: float | None = None
    trials: int | None = None

    def part(self, seconds: float, trials: int, searches: int) -> "Budget":
        """Return the budget of the first of `searches`: an equal share of what remains after `seconds` and `trials`.

        >>> Budget(seconds=600.0).part(seconds=200.0, trials=12, searches=2), Budget(trials=30).part(9.5, 12, 4)
        (Budget(seconds=200.0, trials=None), Budget(seconds=None, trials=5))
        """
        left = None if self.seconds is None else max(0.0, self.seconds - seconds) / searches
        return Budget(left, None if self.trials is None else -(-max(0, self.trials - trials) // searches))


@dataclass(frozen=True)
class Progress:
    """The state of a search: trials done, running and given up, and their number if no more are added or given up."""

    done: int
    running: int
    stopped: int
    planned: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """The estimated seconds until the planned trials are done, at the speed so far; None before the first."""
        left = self.planned - self.done - self.stopped
        return self.seconds / self.done * left if self.done else None


class SearchCallback:
    """Receives events of a search; all methods do nothing, and subclasses override those that they need."""

    def on_notes(self, notes: Sequence[str]) -> None:
        """Receive notes for the user, before the first trial."""

    def on_trial(self, configuration: Configuration, block: Block, outcome: Outcome) -> None:
        """Receive a trial that is done or has failed."""

    def on_stopped(self, configuration: Configuration, reason: str) -> None:
        """Receive a configuration that is given up, and the reason."""

    def on_progress(self, progress: Progress) -> None:
        """Receive the progress of the search, after each trial."""


class Loop:
    """Runs the trials that are not yet in a study."""

    def __init__(
        self,
        study: Study,
        executor: Executor,
        factory: Factory,
        design: Design,
        following: Callable[[], Sequence[Configuration]],
        rope: float,
        budget: Budget,
        callback: SearchCallback,
        interrupt: Interrupt,
    ) -> None:
        """Store the parts of a search; `following` returns the configurations to try next, and none at the end."""
        self._study, self._executor, self._factory, self._design = study, executor, factory, design
        self._following, self._rope, self._budget = following, rope, budget
        self._callback, self._interrupt = callback, interrupt
        self._start, self.ran = time.monotonic(), 0
        self._flying: dict[Future[Any], tuple[Configuration, Block]] = {}
        self._batch: Sequence[Configuration] = ()

    def run(self) -> str | None:
        """Run until everything has been tried; return the reason if the search ended before that, else None.

        Raises:
            CkptError: trials cannot run: the model, the rows, the head or the options do not fit.
        """
        with self._interrupt:
            while batch := self._following():
                self._batch = batch
                for number, block in enumerate(self._design.blocks, start=1):
                    if reason := self._rung([each for each in batch if self._goes_on(each)], block):
                        return reason
                    self._give_up_hopeless(batch, self._design.blocks[:number])
        return None

    def _outcomes(self, configuration: Configuration) -> dict[Block, Outcome]:
        return self._study.outcomes.get(configuration, {})

    def _goes_on(self, configuration: Configuration) -> bool:
        """Return whether a configuration has neither failed nor been given up."""
        return all(outcome.state == "done" for outcome in self._outcomes(configuration).values())

    def _give_up_hopeless(self, batch: Sequence[Configuration], blocks: Sequence[Block]) -> None:
        """Record in the study the configurations that are given up, because of their outcomes on these blocks."""
        so_far = {
            each: {block: outcome for block, outcome in known.items() if block in blocks}
            for each, known in self._study.outcomes.items()
        }
        for configuration, reason in hopeless(so_far, self._design, self._rope).items():
            left = [block for block in self._design.blocks if block not in self._outcomes(configuration)]
            if configuration in batch and left and self._goes_on(configuration):
                self._study.add(configuration, left[0], Outcome(state="stopped", reason=reason))
                self._callback.on_stopped(configuration, reason)

    def _rung(self, configurations: Sequence[Configuration], block: Block) -> str | None:
        """Run a block for some configurations; return the reason if this ended early, else None."""
        todo = [each for each in configurations if block not in self._outcomes(each)]
        todo.reverse()
        most = self._executor.workers * (1 + self._executor.ahead)
        while todo or self._flying:
            if reason := self._ends():
                for future in self._flying:
                    self._executor.cancel(future)
                return reason
            while todo and len(self._flying) < most and self._has_trials():
                configuration = todo.pop()
                self._submit(configuration, block)
            for future in wait(self._flying, timeout=POLL, return_when=FIRST_COMPLETED).done:
                self._keep(future)
        return None

    def _submit(self, configuration: Configuration, block: Block) -> None:
        near: Hashable = configuration.keep  # these share features, and a head that is trained first
        future = self._executor.submit(self._factory, (configuration, block), near)
        self._flying[future] = configuration, block
        self.ran += 1

    def _keep(self, future: "Future[Any]") -> None:
        """Record the outcome of a trial."""
        configuration, block = self._flying.pop(future)
        try:
            outcome = future.result()
        except WorkerLost as lost:
            outcome = Outcome(state="failed", reason=str(lost))
        self._study.add(configuration, block, outcome)
        self._callback.on_trial(configuration, block, outcome)
        self._callback.on_progress(self.progress())

    def progress(self) -> Progress:
        """Return the progress of the search."""
        every = [outcome for found in self._study.outcomes.values() for outcome in found.values()]
        done = sum(outcome.state == "done" for outcome in every)
        blocks = len(self._design.blocks)
        under_way = [each for each in self._batch if self._goes_on(each)]
        planned = done + sum(blocks - len(self._outcomes(each)) for each in under_way)
        stopped = sum(outcome.state == "stopped" for outcome in every)
        return Progress(done, len(self._flying), stopped, planned + stopped, time.monotonic() - self._start)

    def _has_trials(self) -> bool:
        return self._budget.trials is None or self.ran < self._budget.trials

    def _ends(self) -> str | None:
        """Return why no more trials are started, else None; running trials are completed only if trials are limited."""
        if self._interrupt.number is not None:
            return "interrupted"
        if self._budget.seconds is not None and time.monotonic() - self._start >= self._budget.seconds:
            return f"its {self._budget.seconds:.0f} seconds are over"
        if not self._has_trials() and not self._flying:
            return f"its {counted(self._budget.trials or 0, 'trial is', 'trials are')} done"
        return None
