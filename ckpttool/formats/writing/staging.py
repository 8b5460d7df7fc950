"""Atomic commit of an output of several files: they are written to a hidden folder, and a single rename commits them.

The files are *staged* under their own names in a hidden folder beside the destination, where they can be read back for
checks. The commit renames that folder to `.ckpttool-commit`: from then on the new output exists, although its files
still have to be moved to their names. Any reader or writer that finds a folder of that name moves them (`settle`). So
readers see the old output before the commit, the new one after it, and never a mixture.

Files staged by a killed run are removed by the next one (`temporary.sweep`). An output that is a single file or folder,
and replaces nothing else, is committed by renaming it.
"""

import contextlib
import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from stat import S_ISDIR
from typing import NamedTuple

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.formats.wire import crc
from ckpttool.formats.writing.attributes import keep_attributes, make_stage
from ckpttool.formats.writing.system import exchange, folder_lock, sync_folder
from ckpttool.formats.writing.temporary import WriterProcess, is_temporary, output_of, remove_folder, temporary_name

COMMITTED = ".ckpttool-commit"
"""The folder of a committed output whose files have not been moved to their names yet."""
MANIFEST = ".ckpttool-manifest"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The error numbers of a full disk, an exceeded quota or a file that is too large."""
INDEXES = (".index", ".json")
"""Name endings of index files, which are moved last."""


@contextlib.contextmanager
def staged(
    path: Path, check: Callable[[], object], old: Callable[[], Iterable[Path]], done: Iterable[Path] = ()
) -> Iterator[Path]:
    """Yield the path at which to write an output (and files beside it), which are committed at the end of the block.

    `check` raises if the output must not be written; it is called again before the commit, because other processes may
    have written. `old` returns the files that an output at the path may have: those that are not written again are
    removed. So are the folders `done`, whose partial results the output contains. If an exception leaves the block,
    nothing is committed. A `staged` path within the block is yielded unchanged, so that nested outputs are part of this
    one.
    """
    if is_staged(path):
        yield path
        return
    check()
    stage = temporary_name(path)
    try:
        make_stage(stage, old())
        yield stage / path.name
        _commit(stage, path.parent, check, old, done)
    except (CkptError, OSError) as error:
        _say_destination(error, stage, path)
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)  # after a commit, the folder has another name


def is_staged(path: Path) -> bool:
    """Return whether a path was yielded by `staged`, or is beside one that was."""
    return is_temporary(path.parent.name)


def destination(path: Path) -> Path:
    """Return the final path of a staged path; other paths are returned unchanged."""
    return path.parent.parent / path.name if is_staged(path) else path


def reserved(path: Path, counts: Callable[[Path], Iterable[int]], least: int, name: Callable[[int], Path]) -> int:
    """Return and reserve a number, at least `least`, that no output of this name uses in the names of its files.

    `counts` returns the numbers in use at a path, and `name` the file with a number, which is created to reserve it.
    """
    with folder_lock(destination(path).parent) if is_staged(path) else contextlib.nullcontext():
        taken = {count for place in places(path) for count in counts(place)}
        count = next(count for count in itertools.count(least) if count not in taken)
        if is_staged(path):
            name(count).touch(exist_ok=False)
    return count


def places(path: Path) -> Iterator[Path]:
    """Yield the paths of outputs with one name: the destination, and the paths where writers have staged them."""
    place = destination(path)
    yield place
    for each in place.parent.iterdir():
        if is_temporary(each.name) and each.is_dir():
            yield each / place.name


def settle(path: Path) -> None:
    """Move the files of committed outputs in a path's folder, and in the path if it is a folder, to their names.

    Raises:
        CorruptCheckpoint: this process cannot move the files.
    """
    for folder in (path.parent, path):
        if os.path.lexists(f"{folder}/{COMMITTED}"):
            _settle_folder(folder)


def _settle_folder(folder: Path) -> None:
    try:
        with folder_lock(folder):
            _finish(folder)
    except OSError as error:
        raise CorruptCheckpoint(
            f"{folder}: an output was written, but its files could not be moved out of {COMMITTED} yet: "
            f"{error.strerror}; any command of a user who may write there moves them"
        ) from error


def _commit(
    stage: Path, folder: Path, check: Callable[[], object], old: Callable[[], Iterable[Path]], done: Iterable[Path]
) -> None:
    """Commit the staged files with one rename, then move them to their names."""
    with folder_lock(folder):
        _finish(folder)
        check()
        names = sorted(each.name for each in stage.iterdir())
        before = [each for each in dict.fromkeys(old()) if os.path.lexists(each)]
        keep_attributes(stage, folder, names, before)
        replaced = [*before, *(each for each in done if os.path.lexists(each))]
        gone = {each.name: _identity(os.lstat(each)) for each in replaced if each.name not in names}
        if len(names) == 1 and not gone and _place_at_once(stage / names[0], folder / names[0]):
            _sync_both(folder, stage)
            return
        _Manifest({name: os.lstat(stage / name).st_ino for name in names}, gone).write(stage / MANIFEST)
        sync_folder(stage)
        stage.rename(folder / COMMITTED)
        sync_folder(folder)
        _finish(folder)


def _finish(folder: Path) -> None:
    """Move the files of a committed output to their names, and remove the replaced ones; steps may already be done."""
    committed = folder / COMMITTED
    manifest = _Manifest.read(committed)
    if manifest is None:
        return
    for name in sorted(manifest.files, key=lambda name: (name.endswith(INDEXES), name)):
        _place(committed / name, folder / name, manifest.files[name])
    _sync_both(folder, committed)
    if not all(_removed(folder / name, identity) for name, identity in manifest.gone.items()):
        return  # the new output does not depend on this: the next run tries again
    if manifest.gone:
        sync_folder(folder)  # the removals reach the disk before that of the commit
    remove_folder(committed)


def _place_at_once(new: Path, final: Path) -> bool:
    """Rename the only file or folder of an output in one step; return whether the system supports this."""
    if new.is_dir() and os.path.lexists(final):
        return exchange(new, final)
    new.replace(final)
    return True


def _place(new: Path, final: Path, inode: int) -> None:
    """Rename a file or folder; a folder that it replaces is moved to `new`, or beside it."""
    with contextlib.suppress(FileNotFoundError):  # it was already moved
        status = os.lstat(new)
        if not S_ISDIR(status.st_mode):
            new.replace(final)
        elif not os.path.lexists(final):
            new.rename(final)
        elif status.st_ino == inode and not exchange(new, final):
            final.rename(new.with_name(f".{new.name}.replaced"))
            new.rename(final)


def _identity(status: os.stat_result) -> list[int]:
    """Return what another file does not have: an inode's number is soon used again."""
    return [status.st_ino, status.st_mtime_ns, status.st_size]


def _removed(old: Path, identity: list[int]) -> bool:
    """Remove an old file or folder unless another has its name; return False if it should be tried again."""
    try:
        status = os.lstat(old)
        if _identity(status) != identity:
            return True
        if S_ISDIR(status.st_mode):
            remove_folder(old)
        else:
            old.unlink()
    except (FileNotFoundError, PermissionError):
        return True  # it no longer exists, or another user has to remove it
    except OSError:
        return False
    return True


def _sync_both(folder: Path, emptied: Path) -> None:
    """Flush renames between two folders to the disk, before the emptied folder is removed."""
    sync_folder(folder)
    with contextlib.suppress(FileNotFoundError):  # another process has already finished
        sync_folder(emptied)


class _Manifest(NamedTuple):
    """The files of a committed output, with inode numbers, and those to remove, with identities."""

    files: dict[str, int]
    gone: dict[str, list[int]]

    def write(self, path: Path) -> None:
        facts = {"host": WriterProcess.current().host, "files": self.files, "gone": self.gone}
        text = json.dumps(facts).encode()
        with path.open("xb") as file:
            file.write(b"%08x %s\n" % (crc.extend(0, text), text))
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, committed: Path) -> "_Manifest | None":
        """Return the manifest of a committed folder, or None if the folder does not exist.

        Manifests of other machines or users are refused: opening a file must not move other files.

        Raises:
            CorruptCheckpoint: it is damaged, or was written by another user or machine.
        """
        try:
            checksum, _, text = (committed / MANIFEST).read_bytes().rstrip(b"\n").partition(b" ")
            facts = json.loads(text) if int(checksum, 16) == crc.extend(0, text) else {}
            files = {name: int(inode) for name, inode in facts["files"].items()}
            gone = {name: [*map(int, identity)] for name, identity in facts["gone"].items()}
        except FileNotFoundError:
            if os.path.lexists(committed):
                raise CorruptCheckpoint(f"{committed} has no {MANIFEST}: it is not an output of ckpttool") from None
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorruptCheckpoint(f"{committed / MANIFEST} is damaged: {error!r}") from error
        named = all(Path(name).name == name != MANIFEST for name in (*files, *gone))
        ours = facts.get("host") == WriterProcess.current().host and os.lstat(committed).st_uid == os.geteuid()
        if not (named and ours):
            raise CorruptCheckpoint(
                f"{committed} was left by another machine or user, which alone can move its files into "
                f"{committed.parent}: "
                "run any command there, or delete it"
            )
        return cls(files, gone)


def _say_destination(error: CkptError | OSError, stage: Path, path: Path) -> None:
    """Replace staged paths in an error by final ones; add the path to errors of a full disk, which have none."""
    here, there = f"{stage}/", str(stage.parent / "_")[:-1]
    error.args = tuple(each.replace(here, there) if isinstance(each, str) else each for each in error.args)
    if not isinstance(error, OSError):
        return
    if error.errno in FULL and error.filename is None:
        error.filename = str(path)
    elif isinstance(named := error.filename2 or error.filename, str):
        error.filename = str(output_of(Path(named.replace(here, there))))
