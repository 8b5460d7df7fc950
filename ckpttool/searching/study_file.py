"""The file of a study: an SQLite database that a single process may open, with one-line error messages.

It is locked while it is open; the system releases the lock of a killed process.
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
"""The application id in the file's header."""
VERSION = WHOLE_SINCE = 2
"""Since version 2, the checksum of a trial covers all its fields."""
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
"""The name endings of a study's file, and of the files that SQLite keeps beside it."""


class StudyFile:
    """An open file with the tables `question`, `blocks` and `trials`."""

    def __init__(self, path: Path) -> None:
        """Open and lock a file; a missing one is created.

        Raises:
            FormatError: it is damaged, a link, or from a newer version or another program.
            CkptError: it cannot be written, or another process has locked it.
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
        """The version of the file's schema."""
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def read(self, query: str) -> Iterator[Any]:
        """Yield the rows of a query's result."""
        return self._connection.execute(query)

    def clear(self, table: str) -> None:
        """Remove all rows of a table."""
        self._connection.execute(f"DELETE FROM {table}")

    def insert(self, table: str, values: Sequence[object]) -> None:
        """Add a row to a table."""
        self._connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes in the block to disk, or none after an exception.

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
        """Close the file; SQLite merges its log into it."""
        self._connection.close()

    def damaged(self, what: str) -> CorruptCheckpoint:
        """Return the error for a damaged file."""
        return CorruptCheckpoint(f"{self.path}: the study is damaged ({what}); specify `overwrite` to start again")

    @contextmanager
    def errors_told(self) -> Iterator[None]:
        """Convert errors of SQLite and of the system to one-line errors.

        Raises:
            CkptError: SQLite or the system reported an error.
        """
        path = self.path
        try:
            yield
        except sqlite3.Error as error:
            if not hasattr(error, "sqlite_errorcode"):
                if "decode" in str(error):
                    raise self.damaged("a text is none") from None
                raise  # a programming error
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
        """Lock the file; check an existing one, or create the tables of a new one.

        The tables are created before the log mode is set, so that the file's header identifies it from the start.
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
            raise self.damaged("its tables are not those of a study")  # others may run expressions
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
    """Check that neither a study nor SQLite's files beside it are links, because SQLite would write to the targets."""
    for end in ENDS:
        if (each := path.with_name(f"{path.name}{end}")).is_symlink():
            raise FormatError(f"{each} is a symbolic link, which is not followed: name the study itself, or remove it")


def _refuse_others(path: Path) -> None:
    """Check by its header that an existing file is a study, before SQLite changes it.

    Raises:
        FormatError: it is not a study.
    """
    with path.open("rb") if path.exists() else BytesIO() as file:
        header = file.read(_HEADER)
    if header and not header.startswith(b"SQLite format 3\0"):
        raise FormatError(f"{path}: not a study; choose another output, or specify `overwrite`")
    if header and header[68:72] != APPLICATION:
        raise FormatError(f"{path}: a database of another program; choose another output")


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the statements that created the tables; empty if there are other tables or indexes than expected."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    tables = [(name, sql) for kind, name, table, sql in found if (kind, table) == ("table", name)]
    indexes = {("index", f"sqlite_autoindex_{name}_1", name, None) for name, _ in tables}
    others = {row for row in found if row[0] != "table"}
    return [sql for name, sql in tables if str(sql).startswith(f"CREATE TABLE {name} (")] if others == indexes else []


def checksum(facts: Sequence[object], content: bytes) -> int:
    """Return the checksum of a table's row, over its numbers, strings and bytes."""
    return zlib.crc32(content, zlib.crc32(json.dumps(facts).encode()))
