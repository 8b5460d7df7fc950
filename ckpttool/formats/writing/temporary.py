"""Names of unfinished outputs, and the removal of those whose process is provably dead.

A folder may be shared by several hosts or containers, which may have processes with the same id. So the name of an
unfinished output identifies its writer: `.NAME.ckpttool-HOST-BOOT-NAMESPACE-PID-START-RANDOM.tmp`. The first three are
short hashes, START is the kernel's tick at which the process started. An output is removed only if

- the writer ran on this boot of this host in this process's namespaces, and no process has its id now, or one that
  started at another tick; or
- the writer ran on an earlier boot of this host. Only outside of containers, because those of two hosts may have the
  same name.

All other outputs are kept, and so are all if there is no `/proc`, as on macOS. A name with `.old` instead of `.tmp` is
a folder that is being replaced; it is removed only if its replacement exists.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

PROC, MACHINE_ID = Path("/proc"), Path("/etc/machine-id")
INITIAL_NAMESPACE = "pid:[4026531836]"
"""Linux's name of the process namespace outside of containers (`PROC_PID_INIT_INO`)."""
UNKNOWN = "0"
LONGEST = 140
"""The maximum number of bytes of the output's name: names have at most 255 bytes in total."""
_NAME = re.compile(
    r"\.(?P<output>.*)\.ckpttool-(?P<host>\w+)-(?P<boot>\w+)-(?P<namespace>\w+)-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]+"
    r"\.(?P<state>tmp|old)",
    re.DOTALL,
)
_log = logging.getLogger(__name__)


class WriterProcess(NamedTuple):
    """The process that writes an output; fields that the system does not provide are `UNKNOWN`."""

    host: str
    boot: str
    namespace: str
    pid: int
    start: str

    @classmethod
    def current(cls) -> Self:
        """Return this process."""
        pid = os.getpid()
        namespaces = _link("self/ns/pid") + _link("self/ns/time")  # start times depend on the latter's clock
        machine = _text(MACHINE_ID)
        return cls(
            host=_short(machine and machine + os.uname().nodename),
            boot=_short(_text(PROC / "sys/kernel/random/boot_id")),
            namespace=_short(namespaces if _link("self") == str(pid) else ""),  # else /proc is another namespace's
            pid=pid,
            start=_start(pid) or UNKNOWN,
        )

    def is_dead(self) -> bool:
        """Return whether the process has certainly ended."""
        current = WriterProcess.current()
        if UNKNOWN in (*self, *current) or (self.host, self.namespace) != (current.host, current.namespace):
            return False
        if self.boot != current.boot:
            return _link("self/ns/pid") == INITIAL_NAMESPACE
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass  # a process of another user, or an invalid id
        start = _start(self.pid)
        return start is not None and start != self.start


def temporary_name(path: Path) -> Path:
    """Return a new path beside an output for its unfinished state, whose name identifies this process."""
    output = path.name
    while len(os.fsencode(output)) > LONGEST:
        output = output[:-1]  # by characters, as half of one is no name on some systems
    writer = "-".join(map(str, WriterProcess.current()))
    return path.with_name(f".{output}.ckpttool-{writer}-{os.urandom(6).hex()}.tmp")


def is_temporary(name: str) -> bool:
    """Return whether a name is that of an unfinished output."""
    return name.endswith(".tmp") and _NAME.fullmatch(name) is not None


def output_of(path: Path) -> Path:
    """Return the path of the output for that of an unfinished one; other paths are returned unchanged.

    >>> str(output_of(temporary_name(Path("models/x.npz"))))
    'models/x.npz'
    """
    match = _NAME.fullmatch(path.name)
    return path.with_name(match["output"]) if match else path


def sweep(folder: Path) -> None:
    """Remove the unfinished outputs in a folder whose writers are provably dead."""
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        is_last_copy = match["state"] == "old" and not (folder / match["output"]).exists()
        if is_last_copy or not _writer(match).is_dead():
            continue
        _log.warning("removed %s, left behind by an interrupted run", path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it exists, as a whole: what a kill leaves of it is temporary, and removed by the next run."""
    aside = temporary_name(folder)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def left_behind(output: Path) -> Iterator[Path]:
    """Yield the unfinished states of an output that provably dead processes have left."""
    for path in output.parent.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and match["state"] == "tmp" and match["output"] == output.name and _writer(match).is_dead():
            yield path


def _writer(match: re.Match[str]) -> WriterProcess:
    return WriterProcess(match["host"], match["boot"], match["namespace"], int(match["pid"]), match["start"])


def _start(pid: int) -> str | None:
    """Return the kernel's tick at which a process started, or None if it is unknown."""
    text = _text(PROC / str(pid) / "stat")
    return text.rpartition(")")[2].split()[19] if text else None  # the process name before it may contain parentheses


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _link(name: str) -> str:
    try:
        return str((PROC / name).readlink())
    except OSError:
        return ""


def _short(text: str) -> str:
    import hashlib  # imported here because most commands do not write

    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest() if text else UNKNOWN
