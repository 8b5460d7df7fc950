"""One commit for all files of an output: they are written beside its place, and one rename makes them count.

The files are *staged* under their own names in a hidden folder beside the place, where they can be read back as what
they will be. The commit renames that folder to `.ckpttool-commit`: from then on the new output is there, though its
files have their names only when they were moved. Whoever comes upon a folder of that name, a reader or the next writer,
moves them (`settle`): the old output is read before the commit, the new one after it, and never some of both.

What a killed run has staged is removed by the next one (`temporary.sweep`). An output that is one file or one folder,
and replaces no more than that, needs no second step: giving it its name is the commit.
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
from ckpttool.formats.writing.attributes import keep_attributes, stage_mode
from ckpttool.formats.writing.system import exchange, folder_lock, sync_folder
from ckpttool.formats.writing.temporary import WriterProcess, is_temporary, output_of, temporary_name

COMMITTED = ".ckpttool-commit"
"""The folder of an output that counts, and whose files do not have their names yet."""
MANIFEST = ".ckpttool-manifest"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What only writing gives."""
INDEXES = (".index", ".json")
"""How the names of files end that say which others count; these come last."""


@contextlib.contextmanager
def staged(path: Path, check: Callable[[], object], old: Callable[[], Iterable[Path]]) -> Iterator[Path]:
    """Give the place to write an output at, and what lies beside it; all of it counts when the block has ended well.

    `check` raises where the output may not be written; it is asked again before the commit, for others write too.
    `old` gives the files that an output at the path may have: those that are not written again vanish. Inside of the
    block, outputs at the place that is given are part of this one.
    """
    if is_staged(path):
        yield path
        return
    check()
    stage = temporary_name(path)
    try:
        stage.mkdir(stage_mode(old()))
        yield stage / path.name
        _commit(stage, path.parent, check, old)
    except (CkptError, OSError) as error:
        _say_destination(error, stage, path)
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)  # what was committed has another name by now


def is_staged(path: Path) -> bool:
    """Say whether a path is a place that `staged` has given, or one beside it."""
    return is_temporary(path.parent.name)


def destination(path: Path) -> Path:
    """Return where what is staged at a path will be; another path as it is."""
    return path.parent.parent / path.name if is_staged(path) else path


def reserved(path: Path, counts: Callable[[Path], Iterable[int]], least: int, name: Callable[[int], Path]) -> int:
    """Return a number, at least `least`, that no output of a name has in the names of its files, and have it.

    `counts` gives the numbers that one has at a place, and `name` the file that has ours: there until it is written.
    """
    with folder_lock(destination(path).parent) if is_staged(path) else contextlib.nullcontext():
        taken = {count for place in places(path) for count in counts(place)}
        count = next(count for count in itertools.count(least) if count not in taken)
        if is_staged(path):
            name(count).touch(exist_ok=False)
    return count


def places(path: Path) -> Iterator[Path]:
    """Yield where outputs of one name are: at their destination, and where writers have staged them."""
    place = destination(path)
    yield place
    for each in place.parent.iterdir():
        if is_temporary(each.name) and each.is_dir():
            yield each / place.name


def settle(path: Path) -> None:
    """Have an output whole that is in the folder of a path, or in the folder that it is, if one was committed there.

    Raises:
        CorruptCheckpoint: its files cannot be given their names by this process.
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
            "{error.strerror}; any command of a user who may write there moves them"
        ) from error


def _commit(stage: Path, folder: Path, check: Callable[[], object], old: Callable[[], Iterable[Path]]) -> None:
    """Make what is staged the output: one rename, then names."""
    with folder_lock(folder):
        _finish(folder)
        check()
        names = sorted(each.name for each in stage.iterdir())
        before = [each for each in dict.fromkeys(old()) if os.path.lexists(each)]
        keep_attributes(stage, folder, names, before)
        gone = {each.name: os.lstat(each).st_ino for each in before if each.name not in names}
        if len(names) == 1 and not gone and _place_at_once(stage / names[0], folder / names[0]):
            _sync_both(folder, stage)
            return
        _Manifest({name: os.lstat(stage / name).st_ino for name in names}, gone).write(stage / MANIFEST)
        sync_folder(stage)
        stage.rename(folder / COMMITTED)
        sync_folder(folder)
        _finish(folder)


def _finish(folder: Path) -> None:
    """Give the files of a committed output their names, and remove what it replaces; each step may be done already."""
    committed = folder / COMMITTED
    manifest = _Manifest.read(committed)
    if manifest is None:
        return
    for name in sorted(manifest.files, key=lambda name: (name.endswith(INDEXES), name)):
        _place(committed / name, folder / name, manifest.files[name])
    _sync_both(folder, committed)
    if not all(_removed(folder / name, inode) for name, inode in manifest.gone.items()):
        return  # the new output does not ask for them: the next one tries again
    if manifest.gone:
        sync_folder(folder)  # a disk that has forgotten the commit has forgotten them, too
    aside = temporary_name(committed)
    with contextlib.suppress(FileNotFoundError):
        committed.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _place_at_once(new: Path, final: Path) -> bool:
    """Give the one file or folder of an output its name in one step; return whether the system can."""
    if new.is_dir() and os.path.lexists(final):
        return exchange(new, final)
    new.replace(final)
    return True


def _place(new: Path, final: Path, inode: int) -> None:
    """Give a file or a folder its name; what had it before is then at `new`, if that is a folder."""
    with contextlib.suppress(FileNotFoundError):  # it has it already
        status = os.lstat(new)
        if not S_ISDIR(status.st_mode):
            new.replace(final)
        elif not os.path.lexists(final):
            new.rename(final)
        elif status.st_ino == inode and not exchange(new, final):
            final.rename(new.with_name(f".{new.name}.replaced"))
            new.rename(final)


def _removed(old: Path, inode: int) -> bool:
    """Remove a file that an output no longer has, unless another has its name; return whether no more can be done."""
    try:
        if os.lstat(old).st_ino == inode:
            old.unlink()
    except (FileNotFoundError, PermissionError):
        return True  # it is gone, or somebody else's to remove
    except OSError:
        return False
    return True


def _sync_both(folder: Path, emptied: Path) -> None:
    """Put names on the disk that were moved between folders, before the one that they left is removed."""
    sync_folder(folder)
    with contextlib.suppress(FileNotFoundError):  # another process has done all this
        sync_folder(emptied)


class _Manifest(NamedTuple):
    """What a committed output consists of, and which files go: their names with their inode numbers."""

    files: dict[str, int]
    gone: dict[str, int]

    def write(self, path: Path) -> None:
        facts = {"host": WriterProcess.current().host, "files": self.files, "gone": self.gone}
        text = json.dumps(facts).encode()
        with path.open("xb") as file:
            file.write(b"%08x %s\n" % (crc.extend(0, text), text))
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, committed: Path) -> "_Manifest | None":
        """Return what a folder is to become; None where there is no folder.

        A folder that came from elsewhere is not believed: opening a file must not move others.

        Raises:
            CorruptCheckpoint: it is damaged, or neither this user nor this machine has written it.
        """
        try:
            checksum, _, text = (committed / MANIFEST).read_bytes().rstrip(b"\n").partition(b" ")
            facts = json.loads(text) if int(checksum, 16) == crc.extend(0, text) else {}
            files, gone = ({str(name): int(inode) for name, inode in facts[key].items()} for key in ("files", "gone"))
        except FileNotFoundError:
            if os.path.lexists(committed):
                raise CorruptCheckpoint(f"{committed} has no {MANIFEST}: it is not an output of ckpttool") from None
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorruptCheckpoint(f"{committed / MANIFEST} is damaged: {error!r}") from error
        named = all(isinstance(name, str) and Path(name).name == name != MANIFEST for name in (*files, *gone))
        ours = facts.get("host") == WriterProcess.current().host and os.lstat(committed).st_uid == os.geteuid()
        if not (named and ours):
            raise CorruptCheckpoint(
                f"{committed} was left by another machine or user, which alone can move its files into "
                f"{committed.parent}: "
                "run any command there, or delete it"
            )
        return cls(files, gone)


def _say_destination(error: CkptError | OSError, stage: Path, path: Path) -> None:
    """Have an error name the places that the user knows; of a full disk the system names none."""
    here, there = f"{stage}/", str(stage.parent / "_")[:-1]
    error.args = tuple(each.replace(here, there) if isinstance(each, str) else each for each in error.args)
    if not isinstance(error, OSError):
        return
    if error.errno in FULL and error.filename is None:
        error.filename = str(path)
    elif isinstance(named := error.filename2 or error.filename, str):
        error.filename = str(output_of(Path(named.replace(here, there))))
