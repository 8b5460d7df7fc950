"""A study: all trials of one question, in one SQLite file that one process writes, so that a search can go on.

A trial is there wholly or not at all, whenever the process ends. What was asked is kept beside the trials, and the file
is refused for another question: trials of two questions are not comparable. While a search writes the file it is
locked; of a process that was killed the system takes the lock back.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, PlanError
from ckpttool.search.configurations import Block, Configuration, Outcome

APPLICATION = b"ckst"
"""What stands in the file's header for the program that made it."""
VERSION = WHOLE_SINCE = 2
"""Since version 2 the checksum of a trial is that of all that is kept of it."""
_SCHEMA = """
CREATE TABLE question (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE blocks (seed INTEGER, fold INTEGER, rows BLOB NOT NULL, checksum INTEGER, PRIMARY KEY (seed, fold));
CREATE TABLE trials (
    keep INTEGER, freeze INTEGER, seed INTEGER, fold INTEGER, state TEXT NOT NULL, accuracy REAL, seconds REAL NOT NULL,
    epochs INTEGER NOT NULL, reason TEXT NOT NULL, judged INTEGER NOT NULL, correct BLOB NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (keep, freeze, seed, fold)
);
"""
_STATEMENTS = [statement.strip() for statement in _SCHEMA.split(";")[:-1]]
_OLD_STATEMENTS = [
    statement.replace("rows BLOB NOT NULL, checksum INTEGER,", "rows BLOB NOT NULL,") for statement in _STATEMENTS
]
_HEADER = 100
_LONGEST = 60
_UNWRITABLE = {
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN),
}


class Study:
    """The trials of a question; a context that closes the file.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "out.study"
    >>> with Study.open(file, {"head": "outputs = dense(5)"}) as study:
    ...     study.add(Configuration(2, 1), Block(0), Outcome(np.array([1.0, 0.0, 1.0, 1.0]), seconds=2.5))
    >>> with Study.open(file, {"head": "outputs = dense(5)"}) as study:
    ...     study.outcomes[Configuration(2, 1)][Block(0)].accuracy
    0.75
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Read what an open file has; `open` makes one."""
        self.path = path
        self._connection = connection
        self._version = VERSION
        self._rows: dict[Block, NDArray[np.int64]] = {}
        self.outcomes: dict[Configuration, dict[Block, Outcome]] = {}

    @classmethod
    def open(cls, path: Path, question: Mapping[str, Any], overwrite: bool = False) -> Self:
        """Open a study to go on with it, or begin one.

        Args:
            path: The file.
            question: What makes trials comparable: the model, the data, the head, the options; values as of JSON.
            overwrite: Whether a study that is there, or another file, is replaced.

        Raises:
            PlanError: another question was asked there.
            FormatError: the file is damaged, of a newer version or of another program.
            CkptError: it cannot be written, or another process writes it.
        """
        asked = {key: json.loads(json.dumps(value, default=str)) for key, value in question.items()}
        try:
            return cls._opened(path, asked, overwrite)
        except FormatError:
            if not overwrite:
                raise
            for end in ("", "-wal", "-shm", "-journal"):
                path.with_name(f"{path.name}{end}").unlink(missing_ok=True)
            return cls._opened(path, asked, overwrite)

    @classmethod
    def _opened(cls, path: Path, asked: Mapping[str, Any], overwrite: bool) -> Self:
        if path.is_dir() or not path.parent.is_dir():
            what = "is a folder" if path.is_dir() else f"the folder {path.parent} does not exist"
            raise CkptError(f"{path}: {what}; a study is a file")
        with _told(path):
            _refuse_others(path)
            connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            with _told(path):
                _lock(path, connection)
                study = cls(path, connection)
                study._begin(asked, overwrite)
                study._read()
        except BaseException:
            connection.close()
            raise
        return study

    def _begin(self, asked: Mapping[str, Any], overwrite: bool) -> None:
        """Keep the question in a study that is new, or is to be; hold it against that of one that is there."""
        stored = dict(self._connection.execute("SELECT key, value FROM question"))
        try:
            there = {key: json.loads(value) for key, value in stored.items()}
        except (ValueError, TypeError) as error:
            raise _damaged(self.path, f"what was asked is no JSON: {error}") from error
        if not all(isinstance(text, str) for row in stored.items() for text in row):
            raise _damaged(self.path, "what was asked is no text")
        has_trials = self._connection.execute("SELECT count(*) FROM trials").fetchone()[0] > 0
        if (there or has_trials) and not overwrite:
            if different := _different(there, asked):
                raise PlanError(
                    f"{self.path}: another question was asked there: {different}. Trials of both cannot be compared: "
                    "choose another output, or `overwrite` begins anew"
                )
            return
        with self._transaction():
            for table in ("question", "blocks", "trials"):
                self._connection.execute(f"DELETE FROM {table}")
            rows = [(key, json.dumps(value)) for key, value in asked.items()]
            self._connection.executemany("INSERT INTO question VALUES (?, ?)", rows)

    def _read(self) -> None:
        """Read all trials, each against its checksum.

        Raises:
            CorruptCheckpoint: one is not what was written.
        """
        (self._version,) = self._connection.execute("PRAGMA user_version").fetchone()
        try:
            self._read_trials()
        except (TypeError, ValueError) as error:  # of values of another type
            if isinstance(error, CkptError):
                raise
            raise _damaged(self.path, " ".join(str(error).split())) from error

    def _read_trials(self) -> None:
        for seed, fold, rows, *sums in self._connection.execute("SELECT * FROM blocks"):
            if sums and sums[0] != _checksum((seed, fold), rows):
                raise _damaged(self.path, f"the checksum of the rows of seed {seed}, fold {fold} does not hold")
            self._rows[Block(seed, fold)] = np.frombuffer(rows, "<i8")
        columns = "keep, freeze, seed, fold, state, seconds, epochs, reason, judged, correct, checksum, accuracy"
        for keep, freeze, seed, fold, state, *facts in self._connection.execute(f"SELECT {columns} FROM trials"):
            seconds, epochs, reason, judged, correct, checksum, accuracy = facts
            block, told = Block(seed, fold), (keep, freeze, seed, fold, state, seconds, epochs, reason, judged)
            trial = f"keep {keep}, freeze {freeze}, seed {seed}, fold {fold}"
            if checksum != (_checksum(told, correct) if self._version >= WHOLE_SINCE else zlib.crc32(correct)):
                raise _damaged(self.path, f"the checksum of {trial} does not hold")
            scores = np.frombuffer(correct, "u1" if len(correct) == judged else "<f8").astype(np.float64)
            outcome = Outcome(scores, seconds, epochs, state, reason, self._rows.get(block) if judged else None)
            if accuracy != outcome.accuracy:
                raise _damaged(self.path, f"the accuracy of {trial} is not that of its rows")
            self.outcomes.setdefault(Configuration(keep, freeze), {})[block] = outcome

    def add(self, configuration: Configuration, block: Block, outcome: Outcome) -> None:
        """Keep a trial; when this returns it is on the disk.

        Raises:
            PlanError: that trial is there, its block judged other rows before, or a score is not in [0, 1].
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
        with _told(self.path), self._transaction():
            if outcome.rows is not None and is_new:
                rows = outcome.rows.astype("<i8").tobytes()
                values = (*key[2:], rows, *([_checksum(key[2:], rows)] if self._version >= WHOLE_SINCE else []))
                self._connection.execute(f"INSERT INTO blocks VALUES ({', '.join('?' * len(values))})", values)
            told, is_whole = (*key, outcome.state, *facts[2:], outcome.correct.size), self._version >= WHOLE_SINCE
            checksum = _checksum(told, blob) if is_whole else zlib.crc32(blob)
            values = (*key, *facts, outcome.correct.size, blob, checksum)
            self._connection.execute(f"INSERT INTO trials VALUES ({', '.join('?' * len(values))})", values)
        if outcome.rows is not None and is_new:
            self._rows[block] = outcome.rows
        self.outcomes.setdefault(configuration, {})[block] = outcome

    def mean(self, configuration: Configuration, blocks: Sequence[Block]) -> float | None:
        """Return a configuration's mean accuracy: None where blocks are left, minus infinity where it was ended."""
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

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file; what SQLite kept beside it goes into it."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Go on with an open study."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _refuse_others(path: Path) -> None:
    """Refuse a file that is no study by its header, before SQLite changes anything in it.

    Raises:
        FormatError: it is something else.
    """
    with path.open("rb") if path.exists() else BytesIO() as file:
        header = file.read(_HEADER)
    if header and not header.startswith(b"SQLite format 3\0"):
        raise FormatError(f"{path}: is no study; choose another output, or `overwrite` replaces it")
    if header and header[68:72] != APPLICATION:
        raise FormatError(f"{path}: a database of another program; choose another output")


def _lock(path: Path, connection: sqlite3.Connection) -> None:
    """Lock the file for this process, and make the tables of a new one; what is checked of one that is there is small.

    The tables come before the log is chosen, so that the file's own header says from the first moment what it is.
    """
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise FormatError(
            f"{path}: a study of a newer ckpttool (version {version}; this one knows {VERSION}): update it"
        )
    if version and _tables(connection) not in (_STATEMENTS, _OLD_STATEMENTS):  # others may compute when they are read
        raise _damaged(path, "its tables are not those of a study")
    if found := [line for (line,) in connection.execute("PRAGMA integrity_check(1)") if line != "ok"]:
        raise _damaged(path, " ".join(found[0].split()))
    if not version:
        for statement in _STATEMENTS:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {int.from_bytes(APPLICATION)}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the statements that made the tables; none where their names, or those of SQLite's indexes, are others."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    tables = [(name, sql) for kind, name, table, sql in found if (kind, table) == ("table", name)]
    indexes = {("index", f"sqlite_autoindex_{name}_1", name, None) for name, _ in tables}
    others = {row for row in found if row[0] != "table"}
    return [sql for name, sql in tables if str(sql).startswith(f"CREATE TABLE {name} (")] if others == indexes else []


def _checksum(facts: Sequence[object], content: bytes) -> int:
    """Return the checksum of a row of a table: of its numbers and texts, and its bytes."""
    return zlib.crc32(content, zlib.crc32(json.dumps(facts).encode()))


def _packed(correct: NDArray[np.float64]) -> bytes:
    """Return scores as bytes: one a row where all are 0 or 1, else eight."""
    is_yes_or_no = bool(((correct == 0) | (correct == 1)).all())
    return correct.astype("u1" if is_yes_or_no else "<f8").tobytes()


def _different(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Name what differs of two questions."""
    keys = [key for key in (*there, *(key for key in asked if key not in there)) if there.get(key) != asked.get(key)]
    return "; ".join(f"{key} was {_short(there.get(key))}, is {_short(asked.get(key))}" for key in keys)


def _short(value: object) -> str:
    text = "not given" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def _damaged(path: Path, what: str) -> CorruptCheckpoint:
    return CorruptCheckpoint(f"{path}: the study is damaged ({what}); `overwrite` begins anew")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line what SQLite finds wrong with a file.

    Raises:
        CkptError: SQLite found something wrong.
    """
    try:
        yield
    except sqlite3.Error as error:
        if not hasattr(error, "sqlite_errorcode"):
            if "decode" in str(error):
                raise _damaged(path, "a text is none") from None
            raise  # a mistake of the program
        code = error.sqlite_errorcode & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise CkptError(
                f"{path}: another search writes this study; wait for it, or choose another output"
            ) from None
        if code in _UNWRITABLE:
            raise CkptError(f"{path}: cannot be written ({error}); choose an output where there is room") from None
        raise _damaged(path, str(error)) from None
    except UnicodeDecodeError as error:
        raise _damaged(path, f"a text is none: {error.reason}") from None
    except OSError as error:
        raise CkptError(f"{path}: cannot be read: {error.strerror}") from None
