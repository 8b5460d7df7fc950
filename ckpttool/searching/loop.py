"""The loop of a search: trials in rungs on an executor, until there is nothing left to try or the budget is used up.

A rung is one block for all configurations that are under way; hopeless ones are given up between rungs. So what is
decided follows from the outcomes alone, not from how many workers gave them, or how often the search was interrupted.
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
"""Seconds after which it is seen that a search is interrupted, or its time is up, while trials run."""


@dataclass(frozen=True)
class Budget:
    """What a search may use: seconds from its start, or trials that it runs; None is no bound."""

    seconds: float | None = None
    trials: int | None = None

    def part(self, seconds: float, trials: int, searches: int) -> "Budget":
        """Return what the first of so many searches may use of what is left, after what was used: as much as each.

        >>> Budget(seconds=600.0).part(seconds=200.0, trials=12, searches=2), Budget(trials=30).part(9.5, 12, 4)
        (Budget(seconds=200.0, trials=None), Budget(seconds=None, trials=5))
        """
        left = None if self.seconds is None else max(0.0, self.seconds - seconds) / searches
        return Budget(left, None if self.trials is None else -(-max(0, self.trials - trials) // searches))


@dataclass(frozen=True)
class Progress:
    """Where a search is: trials done, running, and given up; how many there will be if nothing is added or given up."""

    done: int
    running: int
    stopped: int
    planned: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """About how long the planned trials will still take, at the speed so far; None before the first."""
        left = self.planned - self.done - self.stopped
        return self.seconds / self.done * left if self.done else None


class SearchCallback:
    """Is called while a search runs, and does nothing; subclasses override what they need."""

    def on_notes(self, notes: Sequence[str]) -> None:
        """Receive what a user should know before the first trial."""

    def on_trial(self, configuration: Configuration, block: Block, outcome: Outcome) -> None:
        """Receive a trial that is done, or has failed."""

    def on_stopped(self, configuration: Configuration, reason: str) -> None:
        """Receive a configuration that is given up, and why."""

    def on_progress(self, progress: Progress) -> None:
        """Receive where the search is, after each trial."""


class Loop:
    """Runs the trials of a study that are not there yet."""

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
        """Take `following`, which says what is tried next, all of it together; nothing at the end."""
        self._study, self._executor, self._factory, self._design = study, executor, factory, design
        self._following, self._rope, self._budget = following, rope, budget
        self._callback, self._interrupt = callback, interrupt
        self._start, self.ran, self._seconds = time.monotonic(), 0, 0.0
        self._flying: dict[Future[Any], tuple[Configuration, Block]] = {}
        self._batch: Sequence[Configuration] = ()

    def run(self) -> str | None:
        """Run until all is tried; return why not, if the search ended before that.

        Raises:
            CkptError: trials cannot be run: the model, the rows, the head or the options do not fit.
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
        """Say whether a configuration has neither failed nor been given up."""
        return all(outcome.state == "done" for outcome in self._outcomes(configuration).values())

    def _give_up_hopeless(self, batch: Sequence[Configuration], blocks: Sequence[Block]) -> None:
        """Keep in the study which configurations are not tried on more blocks, by what these blocks have shown."""
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
        """Run a block for some configurations; return why that ended early, if it did."""
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
        near: Hashable = configuration.keep  # shares features, and a head that is trained first
        future = self._executor.submit(self._factory, (configuration, block), near)
        self._flying[future] = configuration, block
        self.ran += 1

    def _keep(self, future: "Future[Any]") -> None:
        """Keep what became of a trial."""
        configuration, block = self._flying.pop(future)
        try:
            outcome = future.result()
        except WorkerLost as lost:
            outcome = Outcome(state="failed", reason=str(lost))
        self._study.add(configuration, block, outcome)
        self._callback.on_trial(configuration, block, outcome)
        self._callback.on_progress(self.progress())

    def progress(self) -> Progress:
        """Return where the search is."""
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
        """Return why no more trials are begun; those that run are left to their end only where trials are counted."""
        if self._interrupt.number is not None:
            return "interrupted"
        if self._budget.seconds is not None and time.monotonic() - self._start >= self._budget.seconds:
            return f"its {self._budget.seconds:.0f} seconds are over"
        if not self._has_trials() and not self._flying:
            return f"its {counted(self._budget.trials or 0, 'trial is', 'trials are')} done"
        return None
