"""What runs in a worker: functions are made once each, items come in, results or exceptions go out.

A process of a pool runs `serve`. It ends when the pool's process does, however that ended: their connection is closed
then, which a thread notices while an item is computed. Ctrl-C is for the pool's process alone.
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
"""Whether an item was computed, and the result; else the exception."""

_share: list[int] = []


def threads() -> int | None:
    """Return how many threads a worker may compute with; None outside of workers, where it is not shared."""
    return _share[-1] if _share else None


def share_cores(count: int) -> None:
    """Say how many threads this process, which is a worker, may compute with."""
    _share[:] = [count]


class Functions:
    """The functions of a worker by the factories that made them."""

    def __init__(self) -> None:
        """Begin without any."""
        self._made: dict[Factory, Function] = {}

    def of(self, factory: Factory) -> Function:
        """Return the function of a factory, made at the first call."""
        if factory not in self._made:
            self._made[factory] = factory()
        return self._made[factory]

    def reply(self, factory: Factory, item: object) -> Reply:
        """Compute an item; an exception is returned as one that can be pickled."""
        try:
            return True, self.of(factory)(item)
        except Exception as error:  # noqa: BLE001 - it belongs to the item, and the worker goes on
            return False, portable(error)

    def reply_to(self, message: bytes) -> Reply:
        """Compute the item of a message, which the pool's process has pickled with its factory."""
        try:
            factory, item = ForkingPickler.loads(message)
        except Exception as error:  # noqa: BLE001 - of an item that cannot be made again here
            return False, portable(error)
        return self.reply(factory, item)


def portable(error: Exception) -> Exception:
    """Return an exception that can be made again from its arguments; with what was where, if it is no user's mistake.

    >>> class Odd(Exception):
    ...     def __init__(self, one, two):
    ...         super().__init__(one)
    >>> portable(Odd("a", "b"))
    RuntimeError('Odd: a')
    """
    try:
        copy.copy(error)
    except Exception:  # noqa: BLE001 - whatever its constructor makes of other arguments
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    if not isinstance(error, CkptError):
        error.add_note("In a worker:\n" + "".join(traceback.format_tb(error.__traceback__)))
    return error


def serve(descriptor: int, cores: int) -> None:
    """Compute the items that come through a connection until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    os.set_inheritable(descriptor, False)
    os.dup2(2, 1)  # standard output is for the data of the pool's process
    share_cores(cores)
    connection, items, functions = Connection(descriptor), SimpleQueue[bytes](), Functions()
    threading.Thread(target=_receive, args=(connection, items), daemon=True).start()
    while True:
        reply = functions.reply_to(items.get())
        try:
            connection.send(reply)
        except OSError:
            _end()
        except Exception as error:  # noqa: BLE001 - what was returned, or raised, cannot be pickled
            connection.send((False, RuntimeError(f"{reply[1]!r:.200} cannot be sent from a worker: {error}")))


def _receive(connection: Connection, items: "SimpleQueue[bytes]") -> None:
    """Pass items on; when the other end is closed, end this process, by force where it does not end by itself."""
    try:
        while True:
            items.put(connection.recv_bytes())
    except (OSError, EOFError):
        signal.alarm(GRACE)
        os.kill(os.getpid(), signal.SIGTERM)


def _end(_number: int = 0, _frame: FrameType | None = None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)
