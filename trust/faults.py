"""Faults at file-system calls: the process is killed, or the call fails, at the Nth call.

Every call that changes a file system is counted where Python makes it: through `os`, files that are opened to be
written, and the exchange of folders. So a run is deterministic, a fault costs a fork, and no tracer is needed.
"""

import builtins
import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Self

CALLS = (
    "open", "write", "pwrite", "fsync", "rename", "replace", "unlink", "remove", "mkdir", "rmdir", "link", "symlink",
    "chmod", "fchmod", "chown", "truncate", "ftruncate", "copy_file_range", "sendfile", "setxattr", "utime",
)  # fmt: skip
WRITES = ("write", "pwrite")
KINDS = ("kill", "torn", "ENOSPC", "EIO", "short")
"""Killed before the call; killed in the middle of a write; the call fails; a write stops after half of its bytes."""
IN_WRITES = ("torn", "short")
"""The kinds that occur only in writes."""


class Faults:
    """The calls of a run so far, and the fault at one of them."""

    def __init__(self, number: int = 0, kind: str = "kill", seen: Callable[[str], None] | None = None) -> None:
        """Set a fault of this kind at the given call; 0 is none. `seen` is called with the name of each call."""
        self.number, self.kind, self.count, self._seen, self.met = number, kind, 0, seen, False

    def before(self, name: str, size: int = 0, whole: Callable[[int], int] | None = None) -> int | None:
        """Count a call; if a number is returned, the call is done and has written that many bytes."""
        self.count += 1
        if self._seen:
            self._seen(name)
        if self.count != self.number:
            return None
        self.met = True
        if whole is not None and self.kind in ("torn", "short") and size > 1:
            written = whole(size // 2)
            if self.kind == "short":
                return written
        if self.kind in ("kill", "torn"):
            os._exit(9)
        if self.kind in ("ENOSPC", "EIO") and not (self.kind == "ENOSPC" and name in ("unlink", "rmdir", "remove")):
            number = getattr(errno, self.kind)
            raise OSError(number, os.strerror(number))
        return None

    @contextlib.contextmanager
    def active(self) -> Iterator[Self]:
        """Count calls and cause the fault within the block."""
        with contextlib.ExitStack() as undo:
            for name in (name for name in CALLS if hasattr(os, name)):
                self._put(undo, os, name, self._counted(getattr(os, name), name))
            self._put(undo, os, "fdopen", self._opening(os.fdopen))
            opening = self._opening(io.open)
            self._put(undo, io, "open", opening)
            self._put(undo, builtins, "open", opening)
            for module in ("staging", "files"):
                known = sys.modules.get(f"ckpttool.formats.writing.{module}")
                if known is not None:
                    self._put(undo, known, "exchange", self._counted(known.exchange, "exchange"))
            yield self

    @staticmethod
    def _put(undo: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
        undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def _counted(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not (len(args) > 1 and args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return function(*args, **kwargs)
            half = None
            if name in WRITES:
                half = lambda count: function(args[0], bytes(args[1])[:count], *args[2:])  # noqa: E731
            done = self.before(name, len(args[1]) if name in WRITES else 0, half)
            return function(*args, **kwargs) if done is None else done

        return call

    def _opening(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap files that are opened for writing in `_File`, which counts their writes."""

        def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wxa+"):
                return function(file, mode, buffering, *args, **kwargs)
            if not isinstance(file, int):
                self.before("open")
            raw = _File(file, mode.replace("b", "").replace("t", ""), opener=kwargs.pop("opener", None))
            raw.faults = self
            if buffering == 0:
                return raw
            binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return binary if "b" in mode else io.TextIOWrapper(binary, *args, **kwargs)

        return opened


class _File(io.FileIO):
    faults: Faults

    def write(self, data: Any) -> int:
        whole = super().write
        done = self.faults.before("write", len(data), lambda count: whole(bytes(data)[:count]))
        return whole(data) if done is None else done


def in_child(work: Callable[[], int]) -> int:
    """Run a function in a fork of this process, which it cannot change, and return the exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 99
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)
