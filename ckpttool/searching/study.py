"""A study: all trials of one search in an SQLite file, which one process writes, so that the search can be resumed.

Writing a trial is atomic, even if the process is killed. The settings of the search are stored with the trials, and
another search cannot use the file: trials with different settings are not comparable.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.errors import CkptError, FormatError, PlanError
from ckpttool.searching.configurations import Block, Configuration, Outcome, State
from ckpttool.searching.study_file import ENDS, WHOLE_SINCE, StudyFile, checksum

_LONGEST = 60
_STATES = get_args(State)


class Study:
    """The trials of a search; a context manager that closes the file.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "out.study"
    >>> with Study.open(file, {"head": "outputs = dense(5)"}) as study:
    ...     study.add(Configuration(2, 1), Block(0), Outcome(np.array([1.0, 0.0, 1.0, 1.0]), seconds=2.5))
    >>> with Study.open(file, {"head": "outputs = dense(5)"}) as study:
    ...     study.outcomes[Configuration(2, 1)][Block(0)].accuracy
    0.75
    """

    def __init__(self, file: StudyFile) -> None:
        """Store an open file, without reading it; use `open`, which reads it."""
        self.path = file.path
        self._file = file
        self._is_whole = file.version >= WHOLE_SINCE
        self._rows: dict[Block, NDArray[np.int64]] = {}
        self.outcomes: dict[Configuration, dict[Block, Outcome]] = {}

    @classmethod
    def open(cls, path: Path, question: Mapping[str, Any], overwrite: bool = False) -> Self:
        """Open a study to resume it, or create one.

        Args:
            path: The file.
            question: The settings for which trials are comparable: the model, the data, the head, the options; as JSON.
            overwrite: Whether an existing file, a study or not, is replaced.

        Raises:
            PlanError: the study is of a search with other settings.
            FormatError: the file is damaged, of a newer version or of another program, or is a link.
            CkptError: the file cannot be written, or another process writes it.
        """
        asked = {key: json.loads(json.dumps(value, default=str)) for key, value in question.items()}
        try:
            return cls._opened(path, asked, overwrite)
        except FormatError:
            if not overwrite:
                raise
            for end in ENDS:
                path.with_name(f"{path.name}{end}").unlink(missing_ok=True)
            return cls._opened(path, asked, overwrite)

    @classmethod
    def _opened(cls, path: Path, asked: Mapping[str, Any], overwrite: bool) -> Self:
        file = StudyFile(path)
        try:
            with file.errors_told():
                study = cls(file)
                study._begin(asked, overwrite)
                study._read()
        except BaseException:
            file.close()
            raise
        return study

    def _begin(self, asked: Mapping[str, Any], overwrite: bool) -> None:
        """Store the settings in a new study, or compare them with those of an existing one."""
        stored = dict(self._file.read("SELECT key, value FROM question"))
        try:
            there = {key: json.loads(value) for key, value in stored.items()}
        except (ValueError, TypeError) as error:
            raise self._file.damaged(f"what was asked is not JSON: {error}") from error
        if not all(isinstance(text, str) for row in stored.items() for text in row):
            raise self._file.damaged("what was asked is not a text")
        has_trials = any(count for (count,) in self._file.read("SELECT count(*) FROM trials"))
        if (there or has_trials) and not overwrite:
            if different := _different(there, asked):
                raise PlanError(
                    f"{self.path}: it is of a search with other options: {different}. Trials of both cannot be "
                    "compared: "
                    "choose another output, or `overwrite` begins anew"
                )
            return
        with self._file.transaction():
            for table in ("question", "blocks", "trials"):
                self._file.clear(table)
            for key, value in asked.items():
                self._file.insert("question", (key, json.dumps(value)))

    def _read(self) -> None:
        """Read all trials and verify their checksums.

        Raises:
            CorruptCheckpoint: a trial differs from what was written.
        """
        try:
            self._read_trials()
        except (TypeError, ValueError) as error:  # of values of another type
            if isinstance(error, CkptError):
                raise
            raise self._file.damaged(" ".join(str(error).split())) from error

    def _read_trials(self) -> None:
        for seed, fold, rows, *sums in self._file.read("SELECT * FROM blocks"):
            if sums and sums[0] != checksum((seed, fold), rows):
                raise self._file.damaged(f"the checksum of the rows of seed {seed}, fold {fold} does not hold")
            self._rows[Block(seed, fold)] = np.frombuffer(rows, "<i8")
        columns = "keep, freeze, seed, fold, state, seconds, epochs, reason, judged, correct, checksum, accuracy"
        for keep, freeze, seed, fold, state, *facts in self._file.read(f"SELECT {columns} FROM trials"):
            seconds, epochs, reason, judged, correct, found, accuracy = facts
            block, told = Block(seed, fold), (keep, freeze, seed, fold, state, seconds, epochs, reason, judged)
            trial = f"keep {keep}, freeze {freeze}, seed {seed}, fold {fold}"
            if found != self._checksum(told, correct):
                raise self._file.damaged(f"the checksum of {trial} does not hold")
            require = [type(number) is int and number >= 0 for number in (keep, freeze, seed, fold + 1, epochs, judged)]
            if not (all(require) and isinstance(seconds, float) and isinstance(reason, str) and state in _STATES):
                raise self._file.damaged(f"a value of {trial} is of another kind")
            scores = np.frombuffer(correct, "u1" if len(correct) == judged else "<f8").astype(np.float64)
            if not bool(((scores >= 0) & (scores <= 1)).all()) or (state == "done") != bool(scores.size):
                raise self._file.damaged(f"the scores of {trial} are not from 0 to 1")
            outcome = Outcome(scores, seconds, epochs, state, reason, self._rows.get(block) if judged else None)
            if accuracy != outcome.accuracy:
                raise self._file.damaged(f"the accuracy of {trial} is not that of its rows")
            self.outcomes.setdefault(Configuration(keep, freeze), {})[block] = outcome

    def require_of(self, blocks: Mapping[Block, NDArray[np.int64]], depths: int, epochs: int) -> None:
        """Check that the trials can be those of a search.

        Args:
            blocks: The rows that each of its blocks judges.
            depths: The number of depths that it may keep.
            epochs: The most epochs of a trial.

        Raises:
            CorruptCheckpoint: a trial judged other rows, kept more depths, or took more epochs.
        """
        for configuration, outcomes in self.outcomes.items():
            for block, outcome in outcomes.items():
                trial = f"{configuration}, seed {block.seed}, fold {block.fold}"
                if configuration.keep > depths or outcome.epochs > epochs or block not in blocks:
                    raise self._file.damaged(f"{trial}: {outcome.epochs} epochs, no trial of this search")
                rows = blocks[block] if outcome.rows is None else outcome.rows
                is_same = np.array_equal(rows, blocks[block]) and len(outcome.correct) == len(rows)
                if outcome.state == "done" and not is_same:
                    raise self._file.damaged(f"{trial}: it judged other rows than this search")

    def add(self, configuration: Configuration, block: Block, outcome: Outcome) -> None:
        """Add a trial; it is on disk when this returns.

        Raises:
            PlanError: the trial exists, other trials of its block evaluated other rows, or a score is not in [0, 1].
            CkptError: the file cannot be written.
        """
        of_block = f"seed {block.seed}, fold {block.fold}"
        what = f"{self.path}: keep {configuration.keep}, freeze {configuration.freeze}, {of_block}"
        if block in self.outcomes.get(configuration, {}):
            raise PlanError(f"{what}: this trial is there already")
        if not bool(((outcome.correct >= 0) & (outcome.correct <= 1)).all()):
            raise PlanError(f"{what}: scores are from 0 to 1, found {outcome.correct.min()} to {outcome.correct.max()}")
        is_new = outcome.rows is not None and block not in self._rows
        if outcome.rows is not None and not np.array_equal(self._rows.get(block, outcome.rows), outcome.rows):
            raise PlanError(f"{what}: other rows were judged than by the trials before it")
        key = [int(number) for number in (configuration.keep, configuration.freeze, block.seed, block.fold)]
        blob = _packed(outcome.correct)
        facts = (outcome.state, outcome.accuracy, float(outcome.seconds), int(outcome.epochs), outcome.reason)
        with self._file.transaction():
            if outcome.rows is not None and is_new:
                rows = outcome.rows.astype("<i8").tobytes()
                self._file.insert("blocks", (*key[2:], rows, *([checksum(key[2:], rows)] if self._is_whole else [])))
            found = self._checksum((*key, outcome.state, *facts[2:], outcome.correct.size), blob)
            self._file.insert("trials", (*key, *facts, outcome.correct.size, blob, found))
        if outcome.rows is not None and is_new:
            self._rows[block] = outcome.rows
        self.outcomes.setdefault(configuration, {})[block] = outcome

    def mean(self, configuration: Configuration, blocks: Sequence[Block]) -> float | None:
        """Return a configuration's mean accuracy: None if blocks remain, minus infinity if it failed or was stopped."""
        known = self.outcomes.get(configuration, {})
        if any(outcome.state != "done" for outcome in known.values()):
            return -inf
        accuracies = [known[block].accuracy or 0.0 for block in blocks if block in known]
        return sum(accuracies) / len(blocks) if len(accuracies) == len(blocks) else None

    def trials(self) -> list[dict[str, Any]]:
        """Return a row of facts for each trial, by configuration and block."""
        return [
            {
                "keep": configuration.keep,
                "freeze": configuration.freeze,
                "seed": block.seed,
                "fold": block.fold,
                "valid_accuracy": outcome.accuracy,
                "seconds": outcome.seconds,
                "state": outcome.state,
            }
            for configuration, outcomes in sorted(self.outcomes.items())
            for block, outcome in sorted(outcomes.items())
        ]

    def _checksum(self, facts: Sequence[object], correct: bytes) -> int:
        """Return the checksum of a trial; files of older versions have that of the scores only."""
        return checksum(facts, correct) if self._is_whole else zlib.crc32(correct)

    def close(self) -> None:
        """Close the file; SQLite merges its write-ahead log into it."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the open study."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _packed(correct: NDArray[np.float64]) -> bytes:
    """Return scores as bytes: one per row if all are 0 or 1, else eight."""
    is_yes_or_no = bool(((correct == 0) | (correct == 1)).all())
    return correct.astype("u1" if is_yes_or_no else "<f8").tobytes()


def _different(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return the settings that differ, with both values, for a message; '' if none differs."""
    keys = [key for key in (*there, *(key for key in asked if key not in there)) if there.get(key) != asked.get(key)]
    return "; ".join(f"{key} was {_short(there.get(key))}, is {_short(asked.get(key))}" for key in keys)


def _short(value: object) -> str:
    text = "not given" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
