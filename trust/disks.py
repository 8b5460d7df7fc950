"""What a disk may contain after a power cut: names and bytes that were not synced may be there or not.

A run is recorded: the names it creates, moves and removes, and the content of files whenever they are synced. For each
moment the folder is recreated as a disk may contain it: all names so far, or all but some whose folders were not synced
since; files with their synced content, and nothing else.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from faults import Faults

from ckpttool.formats.wire import crc
from ckpttool.formats.writing.staging import COMMITTED, MANIFEST

Event = list[Any]
"""The event, its path, and the target or inode; or the content of an inode when it was synced."""


class Recorder(Faults):
    """Records events of names and, at each sync, contents of files."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.events: list[Event] = []

    def _counted(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            new = name == "open" and not os.path.lexists(_path(args[0], kwargs))
            if name == "fsync":
                self._synced(args[0])
            result = function(*args, **kwargs)
            path = _path(args[0], kwargs) if args and not isinstance(args[0], int) else ""
            if name in ("rename", "replace", "exchange") and result is not False:
                kind = "exchange" if name == "exchange" else "rename"
                self.events.append([kind, path, _path(args[1], kwargs)])
            elif name in ("unlink", "remove", "rmdir"):
                self.events.append(["remove", path])
            elif (new and os.path.lexists(path)) or name == "mkdir":
                self.events.append(["create" if new else "mkdir", path, os.lstat(path).st_ino])
            return result

        return call

    def _opening(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            new = not isinstance(file, int) and set(mode) & set("wxa") and not os.path.lexists(file)
            result = function(file, mode, *args, **kwargs)
            if new:
                self.events.append(["create", _path(file, {}), os.fstat(result.fileno()).st_ino])
            return result

        return opened

    def _synced(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self.events.append(["dirsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())])
        else:
            data = Path(f"/proc/self/fd/{descriptor}").read_bytes()
            self.events.append(["sync", status.st_ino, data.hex()])


def _path(name: Any, kwargs: Any) -> str:
    folder = kwargs.get("dir_fd", kwargs.get("src_dir_fd"))
    base = Path(f"/proc/self/fd/{folder}").readlink() if folder is not None else Path.cwd()
    return os.path.join(base, os.fsdecode(name))  # noqa: PTH118


def disks(events: list[Event], most: int = 1) -> Iterator[tuple[list[Event], dict[int, str]]]:
    """Yield what a disk may contain: the events of names that have reached it, and the contents of files by inode.

    At each moment the last event is included, and all unsynced ones but at most `most`.
    """
    synced: dict[int, str] = {}
    begun: list[Event] = []
    waiting: dict[int, set[str]] = {}
    yield [], {}
    for event in events:
        if event[0] == "sync":
            synced[event[1]] = event[2]
        elif event[0] == "dirsync":
            for folders in waiting.values():
                folders.discard(event[1])
        else:
            pending = [number for number, folders in waiting.items() if folders]
            paths = event[1:3] if event[0] in ("rename", "exchange") else event[1:2]
            waiting[len(begun)] = {str(Path(path).parent) for path in paths}
            begun.append(event)
            for count in range(most + 1):
                for lost in combinations(pending, count):
                    yield [each for number, each in enumerate(begun) if number not in lost], dict(synced)


class Impossible(Exception):
    """No disk can contain this: it moves something that does not exist."""


def make(folder: Path, names: list[Event], contents: dict[int, str]) -> None:
    """Recreate a folder, which has its state before the run, as a disk may contain it.

    Raises:
        Impossible: if no disk can contain it.
    """
    inodes: dict[int, str] = {}
    for kind, path, *rest in names:
        try:
            if kind == "create":
                Path(path).write_bytes(bytes.fromhex(contents.get(rest[0], "")))
            elif kind == "mkdir":
                Path(path).mkdir()
                inodes[rest[0]] = path
            elif kind == "rename":
                Path(path).rename(rest[0])
                inodes = {key: each.replace(path, rest[0]) for key, each in inodes.items()}
            elif kind == "exchange":
                spare = f"{path}.spare"
                for one, other in ((path, spare), (rest[0], path), (spare, rest[0])):
                    Path(one).rename(other)
                inodes = {key: rest[0] if each == path else each for key, each in inodes.items()}
            elif Path(path).is_dir():
                Path(path).rmdir()
            else:
                Path(path).unlink()
        except OSError as error:
            raise Impossible(str(error)) from error
    _renumber(folder / COMMITTED / MANIFEST, inodes)


def _renumber(manifest: Path, inodes: dict[int, str]) -> None:
    """Replace the inodes in a manifest by those of this copy: a disk would have kept them."""
    if not manifest.exists() or not (text := manifest.read_bytes().partition(b" ")[2]):
        return
    facts = json.loads(text)
    for name, number in facts["files"].items():
        if os.path.lexists(place := inodes.get(number, "")):
            facts["files"][name] = os.lstat(place).st_ino
    for name in facts["gone"]:
        if os.path.lexists(place := str(manifest.parents[1] / name)):
            status = os.lstat(place)
            facts["gone"][name] = [status.st_ino, status.st_mtime_ns, status.st_size]
    text = json.dumps(facts).encode()
    manifest.write_bytes(b"%08x %s" % (crc.extend(0, text), text))
