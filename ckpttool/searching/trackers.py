"""Trackers: a search is mirrored, while it runs, where other programs show studies. The study file stays the truth.

A tracker is entered from the process that asks, which alone writes it. A search that goes on brings it up to what its
study has, so nothing is there twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self

from ckpttool.core.errors import CkptError
from ckpttool.searching.configurations import Block, Configuration, Outcome, Outcomes
from ckpttool.searching.loop import Progress, SearchCallback
from ckpttool.searching.recommendation import Recommendation

TRACKERS = {"optuna": "ckpttool.searching.optuna_mirror:OptunaMirror"}
"""The trackers by their names; each is made of the output that its file stands beside."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker is told of a search: its name, what was asked, how many depths there are, and what judges."""

    name: str
    question: Mapping[str, Any]
    depths: int
    blocks: Sequence[Block]


class Tracker(Protocol):
    """Mirrors studies."""

    def begin(self, search: Tracked, known: Outcomes) -> None:
        """Begin a study, or go on with it where it has nothing but what is known.

        Raises:
            CkptError: it cannot be written.
        """

    def follow(self, configuration: Configuration, known: Mapping[Block, Outcome]) -> None:
        """Bring a configuration up to what is known of it.

        Raises:
            CkptError: it cannot be written.
        """

    def end(self, found: Recommendation | None) -> None:
        """Keep what was recommended.

        Raises:
            CkptError: it cannot be written.
        """

    def close(self) -> None:
        """Close what is open."""

    def __enter__(self) -> Self:
        """Go on with an open tracker."""
        ...

    def __exit__(self, *_: object) -> None:
        """Close it."""
        ...


def open_tracker(name: str, output: Path) -> Tracker:
    """Return the tracker of a name, which writes beside an output.

    Raises:
        MissingDependency: the package that it needs is not installed.
        CkptError: what is there is no file of it.
    """
    module, _, found = TRACKERS[name].partition(":")
    made: Tracker = getattr(import_module(module), found)(output)
    return made


class Following(SearchCallback):
    """Passes on what a search says, and tells a tracker; one that cannot be written any more is left, and that is said.

    Trials take minutes; they are not given up because somebody else holds the tracker's file.
    """

    def __init__(self, tracker: Tracker | None, search: Tracked, known: Outcomes, callback: SearchCallback) -> None:
        """Begin with what the study has of each configuration; that is always there before this is called.

        Raises:
            CkptError: the tracker cannot be written.
        """
        self._tracker, self._known, self._callback = tracker, known, callback
        if tracker is not None:
            tracker.begin(search, known)

    def on_notes(self, notes: Sequence[str]) -> None:
        """Pass them on."""
        self._callback.on_notes(notes)

    def on_trial(self, configuration: Configuration, block: Block, outcome: Outcome) -> None:
        """Mirror a trial."""
        self._callback.on_trial(configuration, block, outcome)
        self._follow(configuration)

    def on_stopped(self, configuration: Configuration, reason: str) -> None:
        """Mirror that a configuration is given up."""
        self._callback.on_stopped(configuration, reason)
        self._follow(configuration)

    def on_progress(self, progress: Progress) -> None:
        """Pass it on."""
        self._callback.on_progress(progress)

    def end(self, found: Recommendation | None) -> None:
        """Mirror what was recommended."""
        self._told(lambda tracker: tracker.end(found))

    def _follow(self, configuration: Configuration) -> None:
        self._told(lambda tracker: tracker.follow(configuration, self._known[configuration]))

    def _told(self, tell: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            tell(self._tracker)
        except CkptError as error:
            self._tracker = None
            self._callback.on_notes([f"{error}; the search continues without its tracker"])
