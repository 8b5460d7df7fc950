"""The code that runs in a worker: it makes each function once, receives items, and sends results or exceptions.

A worker process runs `serve`. It ends when its parent does, however that ended: the connection is then closed, which a
thread notices even while an item is computed. Only the parent handles Ctrl-C.
"""

import copy
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from types import FrameType
from typing import Any, NoReturn

from ckpttool.core.errors import CkptError
from ckpttool.executors.executor import Factory, Function

GRACE = 5
"""Seconds that a worker has to leave its `with` blocks, which remove unfinished files."""

Reply = tuple[bool, Any]
"""True and the result of an item, or False and its exception."""

_share: list[int] = []


def threads() -> int | None:
    """Return the number of threads that this worker may compute with; None in a process that is no worker."""
    return _share[-1] if _share else None


def share_cores(count: int) -> None:
    """Set the number of threads that this worker process may compute with."""
    _share[:] = [count]


class Functions:
    """The functions of a worker by the factories that made them."""

    def __init__(self) -> None:
        """Start without any."""
        self._made: dict[Factory, Function] = {}

    def of(self, factory: Factory) -> Function:
        """Return the function of a factory, which is made at the first call."""
        if factory not in self._made:
            self._made[factory] = factory()
        return self._made[factory]

    def reply(self, factory: Factory, item: object) -> Reply:
        """Compute an item; an exception is returned in a form that can be pickled."""
        try:
            return True, self.of(factory)(item)
        except Exception as error:  # noqa: BLE001 - it belongs to the item, and the worker continues
            return False, portable(error)

    def reply_to(self, message: bytes) -> Reply:
        """Compute the item of a message, which the parent process has pickled with its factory."""
        try:
            factory, item = ForkingPickler.loads(message)
        except Exception as error:  # noqa: BLE001 - the item cannot be unpickled here
            return False, portable(error)
        return self.reply(factory, item)


def portable(error: Exception) -> Exception:
    """Return an exception that can be rebuilt from its arguments; unless a `CkptError`, it has the traceback as a note.

    >>> class Odd(Exception):
    ...     def __init__(self, one, two):
    ...         super().__init__(one)
    >>> portable(Odd("a", "b"))
    RuntimeError('Odd: a')
    """
    try:
        copy.copy(error)
    except Exception:  # noqa: BLE001 - its constructor may raise anything for these arguments
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    if not isinstance(error, CkptError):
        error.add_note("In a worker:\n" + "".join(traceback.format_tb(error.__traceback__)))
    return error


def serve(descriptor: int, cores: int) -> None:
    """Compute the items that come through a connection until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    os.set_inheritable(descriptor, False)
    os.dup2(2, 1)  # standard output is for the parent process's data
    share_cores(cores)
    connection, items, functions = Connection(descriptor), SimpleQueue[bytes](), Functions()
    threading.Thread(target=_receive, args=(connection, items), daemon=True).start()
    while True:
        reply = functions.reply_to(items.get())
        try:
            connection.send(reply)
        except OSError:
            _end()
        except Exception as error:  # noqa: BLE001 - the result or exception cannot be pickled
            connection.send((False, RuntimeError(f"{reply[1]!r:.200} cannot be sent from a worker: {error}")))


def _receive(connection: Connection, items: "SimpleQueue[bytes]") -> None:
    """Put received items into the queue; when the other end is closed, end this process, by SIGALRM if need be."""
    try:
        while True:
            items.put(connection.recv_bytes())
    except (OSError, EOFError):
        signal.alarm(GRACE)
        os.kill(os.getpid(), signal.SIGTERM)


def _end(_number: int = 0, _frame: FrameType | None = None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)
