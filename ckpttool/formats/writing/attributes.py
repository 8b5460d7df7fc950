"""Attributes that a file keeps when it is replaced: mode, owner, and extended attributes, including access lists."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISLNK

CAPABILITIES = "security.capability"
"""The attribute of a program's rights, which the system too removes from a file that is written to."""
ACCESS_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
"""The attributes of access lists: of a file or folder, and of what is created in a folder."""


def make_stage(stage: Path, old: Iterable[Path]) -> None:
    """Create a staging folder, which only users who may read the old output can access.

    Where it does not get the group of the old output, that group's permissions are not given to another one.
    """
    found = next(filter(None, map(_status, old)), None)
    stage.mkdir(0o777 if found is None else 0o700 | found.st_mode & 0o066 | (found.st_mode & 0o044) >> 2)
    made = os.lstat(stage)
    if found is not None and found.st_gid != made.st_gid:
        mode = S_IMODE(made.st_mode)
        stage.chmod(mode & ~0o070 | mode & (mode & 0o007) << 3)


def keep_attributes(stage: Path, folder: Path, names: Sequence[str], old: Sequence[Path]) -> None:
    """Copy attributes of replaced files to staged ones; a new file gets those of the output's main file.

    The main file is the first existing one of `old`; a bundle's data files have new names each time.
    """
    main = next((each for each in old if _mode(each) is not None and each.is_file()), None)
    for name in names:
        new, replaced = stage / name, folder / name
        if new.is_dir():
            keep_attributes_below(new, replaced)
        elif os.path.lexists(replaced) or main:
            copy_attributes(replaced if os.path.lexists(replaced) or main is None else main, new)


def keep_attributes_below(new: Path, replaced: Path) -> None:
    """Copy attributes of a replaced folder and its content to the new folder and the content with the same names."""
    for path in _below(new):
        copy_attributes(replaced / path.relative_to(new), path)


def copy_attributes(old: Path, new: Path) -> None:
    """Copy mode, owner and extended attributes of a file or folder, if it exists, as far as the system permits.

    Access lists that the new file has from its folder are removed: they would admit users whom the old one refuses.
    """
    if (mode := _mode(old)) is None or new.is_symlink():
        return
    status = os.lstat(old)
    for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
        with contextlib.suppress(OSError):  # only root may change the owner, but members of a group may set the group
            os.chown(new, owner, group)
    attributes = _extended(old) - {CAPABILITIES}
    if os.lstat(new).st_gid != status.st_gid:
        mode &= ~0o070  # they were the permissions of another group
        attributes -= {*ACCESS_LISTS}
    for name in _extended(new) & {*ACCESS_LISTS}:
        with contextlib.suppress(OSError):
            os.removexattr(new, name)
    new.chmod(mode)  # after changing the owner, which clears bits
    for name in attributes:
        with contextlib.suppress(OSError):
            os.setxattr(new, name, os.getxattr(old, name, follow_symlinks=False))


def _extended(path: Path) -> set[str]:
    """Return the names of a file's extended attributes; an empty set where the system does not support them."""
    with contextlib.suppress(OSError, AttributeError):  # supported only on Linux
        return {*os.listxattr(path, follow_symlinks=False)}
    return set()


def _mode(path: Path) -> int | None:
    """Return the mode of a file or folder; None as for `_status`."""
    status = _status(path)
    if status is None:
        return None
    return S_IMODE(status.st_mode) if S_ISDIR(status.st_mode) else status.st_mode & 0o777


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a file or folder; None if it does not exist, or is a link, whose mode is meaningless."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return None if S_ISLNK(status.st_mode) else status


def _below(path: Path) -> Iterator[Path]:
    yield path
    for root, folders, files in os.walk(path):
        yield from (Path(root, name) for name in (*folders, *files))
