"""The file of a study: an SQLite database that one process has open, and one line for what is wrong with it.

While it is open it is locked; of a process that was killed the system takes the lock back.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.formats.writing.files import why_no_folder

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
_UNWRITABLE = {
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN),
}


ENDS = ("", "-wal", "-shm", "-journal")
"""What a study's file has behind its name, and those that SQLite keeps beside it."""


class StudyFile:
    """An open file with the tables `question`, `blocks` and `trials`."""

    def __init__(self, path: Path) -> None:
        """Open and lock a file; one that is not there is made.

        Raises:
            FormatError: it is damaged, of a newer version or of another program, or a link.
            CkptError: it cannot be written, or another process writes it.
        """
        if path.is_dir():
            raise CkptError(f"{path} is a folder; a study is a file")
        if not path.parent.is_dir():
            raise CkptError(f"{path}: {why_no_folder(path.parent)}")
        self.path = path
        _refuse_links(path)
        with self.errors_told():
            _refuse_others(path)
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            with self.errors_told():
                self._lock()
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> int:
        """The version of the program that made the file."""
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def read(self, query: str) -> Iterator[Any]:
        """Yield the rows that a query finds."""
        return self._connection.execute(query)

    def clear(self, table: str) -> None:
        """Remove all rows of a table."""
        self._connection.execute(f"DELETE FROM {table}")

    def insert(self, table: str, values: Sequence[object]) -> None:
        """Add a row to a table."""
        self._connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Let all that is changed be on the disk afterwards, or nothing of it.

        Raises:
            CkptError: the file cannot be written.
        """
        with self.errors_told():
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

    def damaged(self, what: str) -> CorruptCheckpoint:
        """Return the error of a file that is not what was written."""
        return CorruptCheckpoint(f"{self.path}: the study is damaged ({what}); specify `overwrite` to start again")

    @contextmanager
    def errors_told(self) -> Iterator[None]:
        """Say in one line what SQLite finds wrong.

        Raises:
            CkptError: SQLite found something wrong.
        """
        path = self.path
        try:
            yield
        except sqlite3.Error as error:
            if not hasattr(error, "sqlite_errorcode"):
                if "decode" in str(error):
                    raise self.damaged("a text is none") from None
                raise  # a mistake of the program
            code = error.sqlite_errorcode & 0xFF
            if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise CkptError(
                    f"{path}: another search writes this study; wait for it, or choose another output"
                ) from None
            if code in _UNWRITABLE:
                raise CkptError(f"{path}: cannot be written ({error}); choose an output where there is room") from None
            raise self.damaged(str(error)) from None
        except UnicodeDecodeError as error:
            raise self.damaged(f"a text is none: {error.reason}") from None
        except OSError as error:
            raise CkptError(f"{path}: cannot be read: {error.strerror}") from None

    def _lock(self) -> None:
        """Lock the file, and make the tables of a new one; what is checked of one that is there is small.

        The tables come before the log is chosen, so that the file's own header says from the first moment what it is.
        """
        connection = self._connection
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        version = self.version
        if version > VERSION:
            raise FormatError(
                f"{self.path}: a study of a newer ckpttool (version {version}; this one knows {VERSION}): update it"
            )
        if version and _tables(connection) not in (_STATEMENTS, _OLD_STATEMENTS):
            raise self.damaged("its tables are not those of a study")  # others may compute when they are read
        if found := [line for (line,) in connection.execute("PRAGMA integrity_check(1)") if line != "ok"]:
            raise self.damaged(" ".join(found[0].split()))
        if not version:
            for statement in _STATEMENTS:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {int.from_bytes(APPLICATION)}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")


def _refuse_links(path: Path) -> None:
    """Check that neither a study nor what SQLite keeps beside it is a link: SQLite would write to where that leads."""
    for end in ENDS:
        if (each := path.with_name(f"{path.name}{end}")).is_symlink():
            raise FormatError(f"{each} is a symbolic link, which is not followed: name the study itself, or remove it")


def _refuse_others(path: Path) -> None:
    """Refuse a file that is no study by its header, before SQLite changes anything in it.

    Raises:
        FormatError: it is something else.
    """
    with path.open("rb") if path.exists() else BytesIO() as file:
        header = file.read(_HEADER)
    if header and not header.startswith(b"SQLite format 3\0"):
        raise FormatError(f"{path}: not a study; choose another output, or specify `overwrite`")
    if header and header[68:72] != APPLICATION:
        raise FormatError(f"{path}: a database of another program; choose another output")


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the statements that made the tables; none where their names, or those of SQLite's indexes, are others."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    tables = [(name, sql) for kind, name, table, sql in found if (kind, table) == ("table", name)]
    indexes = {("index", f"sqlite_autoindex_{name}_1", name, None) for name, _ in tables}
    others = {row for row in found if row[0] != "table"}
    return [sql for name, sql in tables if str(sql).startswith(f"CREATE TABLE {name} (")] if others == indexes else []


def checksum(facts: Sequence[object], content: bytes) -> int:
    """Return the checksum of a row of a table: of its numbers and texts, and its bytes."""
    return zlib.crc32(content, zlib.crc32(json.dumps(facts).encode()))
