"""Trackers: mirrors of a running search for programs that show studies. The study file remains authoritative.

Only the requesting process writes a tracker. A resumed search adds what its study has and the tracker lacks,
so there are no duplicates.
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
"""The trackers by name; each is created with the output beside which its file is stored."""


@dataclass(frozen=True)
class Tracked:
    """The facts of a search for a tracker: its name, its settings, the number of depths, and its design."""

    name: str
    question: Mapping[str, Any]
    depths: int
    blocks: Sequence[Block]


class Tracker(Protocol):
    """A mirror of studies."""

    def begin(self, search: Tracked, known: Outcomes) -> None:
        """Start a study, or resume it if it contains nothing unknown.

        Raises:
            CkptError: it cannot be written.
        """

    def follow(self, configuration: Configuration, known: Mapping[Block, Outcome]) -> None:
        """Add the outcomes of a configuration that the mirror lacks.

        Raises:
            CkptError: it cannot be written.
        """

    def end(self, found: Recommendation | None) -> None:
        """Store the recommendation.

        Raises:
            CkptError: it cannot be written.
        """

    def close(self) -> None:
        """Close the mirror."""

    def __enter__(self) -> Self:
        """Return the open tracker."""
        ...

    def __exit__(self, *_: object) -> None:
        """Close it."""
        ...


def open_tracker(name: str, output: Path) -> Tracker:
    """Return the tracker with a name, which writes beside an output.

    Raises:
        MissingDependency: the package that it needs is not installed.
        CkptError: the existing file is not one of this tracker.
    """
    module, _, found = TRACKERS[name].partition(":")
    made: Tracker = getattr(import_module(module), found)(output)
    return made


class Following(SearchCallback):
    """Passes on the events of a search and mirrors them; a tracker that cannot be written is dropped, with a note.

    Trials take minutes, so a search continues if another program locks the tracker's file.
    """

    def __init__(self, tracker: Tracker | None, search: Tracked, known: Outcomes, callback: SearchCallback) -> None:
        """Mirror the outcomes that the study already contains.

        Raises:
            CkptError: the tracker cannot be written.
        """
        self._tracker, self._known, self._callback = tracker, known, callback
        if tracker is not None:
            tracker.begin(search, known)

    def on_notes(self, notes: Sequence[str]) -> None:
        """Pass the notes on."""
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
        """Mirror the recommendation."""
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
