"""Power cuts: what was not put on the disk is gone, and what remains must be the old output or the new one.

A run is recorded: which names it makes, moves and removes, and what is in a file whenever it is synced. For each moment
the folder is made again as a disk may have it: names up to then, or all but one that its folder was not synced after;
files with what was synced, and nothing else.

    python trust/unsynced.py [--every N] [COMMAND ...]
"""

import argparse
import itertools
import json
import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults import Faults, in_child
from kills import CASES, Trials, make_inputs, run, show

from ckpttool.formats.wire import crc
from ckpttool.formats.writing.staging import COMMITTED, MANIFEST

Event = list[Any]
NAMES = ("create", "mkdir", "rename", "exchange", "remove")


class Recorder(Faults):
    """Writes down what happens to names and, where it is synced, to files."""

    def __init__(self) -> None:
        """Begin with nothing."""
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


def recorded(trials: Trials) -> list[Event]:
    """Return the events of a run of the command."""
    trials.fresh()
    log = trials.work.with_name("events")

    def work() -> int:
        os.chdir(trials.work)
        with Recorder().active() as recorder:
            run(trials.case.argv(trials.over))
        log.write_text(json.dumps(recorder.events))
        return 0

    in_child(work)
    events: list[Event] = json.loads(log.read_text())
    log.unlink()
    return [event for event in events if event[0] == "sync" or str(trials.work) in event[1]]


def disks(events: list[Event]) -> Iterator[tuple[list[Event], dict[int, str]]]:
    """Yield what a disk may have: events of names that it has, and the contents of files by their inodes."""
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
            begun.append(event)
            paths = event[1:3] if event[0] in ("rename", "exchange") else event[1:2]
            waiting[len(begun) - 1] = {str(Path(path).parent) for path in paths}
            yield list(begun), dict(synced)
            for lost in [number for number, folders in waiting.items() if folders and number < len(begun) - 1]:
                yield begun[:lost] + begun[lost + 1 :], dict(synced)


class Impossible(Exception):
    """No disk has this: something is moved that was never made."""


def make(trials: Trials, names: list[Event], contents: dict[int, str]) -> None:
    """Make the folder as a disk has it.

    Raises:
        Impossible: it cannot be.
    """
    trials.fresh()
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
    _renumber(trials.work / COMMITTED / MANIFEST, inodes)


def _renumber(manifest: Path, inodes: dict[int, str]) -> None:
    """Have a manifest name the inodes of this copy: a disk would have kept them."""
    if not manifest.exists() or not (text := manifest.read_bytes().partition(b" ")[2]):
        return
    facts = json.loads(text)
    places = {name: inodes.get(number, "") for name, number in facts["files"].items()}
    places |= {name: str(manifest.parents[1] / name) for name in facts["gone"]}
    for names in (facts["files"], facts["gone"]):
        for name in names:
            if os.path.lexists(places[name]):
                names[name] = os.lstat(places[name]).st_ino
    text = json.dumps(facts).encode()
    manifest.write_bytes(b"%08x %s" % (crc.extend(0, text), text))


def main() -> int:
    """Cut the power, print a table, and return whether anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("only", nargs="*", help="cases whose names contain one of these")
    parser.add_argument("--every", type=int, default=1, help="every Nth state of the disk, to be quick")
    options = parser.parse_args()
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    bad, tried, only = Counter[str](), 0, options.only
    with tempfile.TemporaryDirectory(dir=place) as folder:
        inputs = Path(folder, "inputs")
        inputs.mkdir()
        make_inputs(inputs)
        os.chdir("/")
        show(f"{'command':42} {'over':5} disks  lost mixed  left refused other")
        for case in (each for each in CASES if not only or any(word in each.name for word in only)):
            for over in (False, True):
                trials, found, count = Trials(case, inputs, over), Counter[str](), 0
                for names, contents in itertools.islice(disks(recorded(trials)), None, None, options.every):
                    try:
                        make(trials, names, contents)
                    except Impossible:
                        continue
                    count += 1
                    found.update(trials.judged())
                trials.close()
                others = sum(found[key] for key in found if key not in ("lost", "mixed", "left", "refused"))
                figures = f"{found['lost']:5} {found['mixed']:5} {found['left']:5} {found['refused']:7} {others:5}"
                show(f"{case.name:42} {'over' if over else 'fresh':5} {count:5} {figures}")
                bad, tried = bad + found, tried + count
    note = str(dict(bad) or "nothing lost, mixed, left or refused")
    show(note)
    show(json.dumps({"figure": "unsynced writes dropped", "tried": tried, "bad": bad.total(), "note": note}))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
