"""Names of unfinished outputs, and the removal of those whose process is provably dead.

A folder may be shared: by hosts on a network disk, by containers that each have a process 7. So the name of an
unfinished output has its writer in it: `.NAME.ckpttool-HOST-BOOT-NAMESPACE-PID-START-RANDOM.tmp`, the first three as
short hashes, START as the kernel's tick at which the process began. Removed is only what this machine can vouch for:

- the writer ran on this boot of this host in this process's namespaces, and no process has its number now, or one that
  began at another tick;
- the writer ran on an earlier boot of this host. Only outside of containers: those of two hosts may be named alike.

Everything else stays, and so does all of it where there is no `/proc` to ask, as on macOS. `.old` in place of `.tmp`
is a folder that was set aside to be replaced; it goes only once its replacement is there.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

PROC, MACHINE_ID = Path("/proc"), Path("/etc/machine-id")
INITIAL_NAMESPACE = "pid:[4026531836]"
"""What Linux calls the process namespace that is not a container's (`PROC_PID_INIT_INO`)."""
UNKNOWN = "0"
LONGEST = 140
"""Bytes of the output's own name that are kept: names have at most 255."""
_NAME = re.compile(
    r"\.(?P<output>.*)\.ckpttool-(?P<host>\w+)-(?P<boot>\w+)-(?P<namespace>\w+)-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]+"
    r"\.(?P<state>tmp|old)",
    re.DOTALL,
)
_log = logging.getLogger(__name__)


class WriterProcess(NamedTuple):
    """The process that writes an output; `UNKNOWN` for what the system does not tell."""

    host: str
    boot: str
    namespace: str
    pid: int
    start: str

    @classmethod
    def current(cls) -> Self:
        """Return this process."""
        pid = os.getpid()
        namespaces = _link("self/ns/pid") + _link("self/ns/time")  # start times are told by the clock of the latter
        machine = _text(MACHINE_ID)
        return cls(
            host=_short(machine and machine + os.uname().nodename),
            boot=_short(_text(PROC / "sys/kernel/random/boot_id")),
            namespace=_short(namespaces if _link("self") == str(pid) else ""),  # else /proc is that of another one
            pid=pid,
            start=_start(pid) or UNKNOWN,
        )

    def is_dead(self) -> bool:
        """Return whether it is certain that the process has ended."""
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
            pass  # somebody else's process, or a number that none has
        start = _start(self.pid)
        return start is not None and start != self.start


def temporary_name(path: Path) -> Path:
    """Return a new name beside an output for what is not finished, that says which process writes it."""
    output = os.fsencode(path.name)[:LONGEST].decode(errors="ignore")
    writer = "-".join(map(str, WriterProcess.current()))
    return path.with_name(f".{output}.ckpttool-{writer}-{os.urandom(6).hex()}.tmp")


def is_temporary(name: str) -> bool:
    """Say whether a name is that of an unfinished output."""
    return name.endswith(".tmp") and _NAME.fullmatch(name) is not None


def output_of(path: Path) -> Path:
    """Return the output that will be made of an unfinished one; another path as it is.

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


def left_behind(output: Path) -> Iterator[Path]:
    """Yield what processes that are provably dead have left unfinished of an output."""
    for path in output.parent.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and match["state"] == "tmp" and match["output"] == output.name and _writer(match).is_dead():
            yield path


def _writer(match: re.Match[str]) -> WriterProcess:
    return WriterProcess(match["host"], match["boot"], match["namespace"], int(match["pid"]), match["start"])


def _start(pid: int) -> str | None:
    """Return the kernel's tick at which a process began, or None where the system does not tell."""
    text = _text(PROC / str(pid) / "stat")
    return text.rpartition(")")[2].split()[19] if text else None  # the name before it may contain anything


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
    import hashlib  # late: commands that only look write nothing

    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest() if text else UNKNOWN
