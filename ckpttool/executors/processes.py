"""The executor of processes beside this one, as many as cores and memory allow.

A process is started afresh with this one's import path, and runs `worker.serve` on its end of a socket: nothing is
forked, and no program of the user's is imported again, so a script needs no `if __name__ == "__main__"`.
"""

import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from ckpttool.core.counts import counted, human_size
from ckpttool.executors import machine
from ckpttool.executors.crew import Crew
from ckpttool.executors.executor import Factory, WorkerLost
from ckpttool.executors.worker import GRACE, Reply

WORKER_BYTES = 600 << 20
"""What a process with TensorFlow takes, without a model."""
SPARED = 512 << 20
"""Bytes of free memory that are left to everything else."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries of linear algebra start as many threads as."""


def processes(workers: int | None = None, model_bytes: int = 0) -> Crew:
    """Return a crew of processes: as many as asked for, else as many as there are cores and memory for.

    `model_bytes` is what a worker needs besides TensorFlow.
    """
    cores, memory = machine.cores(), machine.free_memory()
    each = WORKER_BYTES + model_bytes
    fitting = cores if memory is None else max(1, (memory - SPARED) // each)
    count = workers or min(cores, fitting)
    share = max(1, cores // count)
    why = counted(cores, "core")
    if fitting < cores:
        why = f"memory for {fitting} of {human_size(each)}, {why}"
    note = f"{counted(count, 'worker')} ({'as asked for; ' * bool(workers)}{why})"
    return Crew("processes", lambda: ProcessWorker(share), count, (note,))


def open_processes(_place: str, workers: int | None, model_bytes: int) -> Crew:
    """Return a crew of processes."""
    return processes(workers, model_bytes)


class ProcessWorker:
    """A process that computes one item at a time."""

    def __init__(self, cores: int) -> None:
        """Start it; it may compute with as many threads."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # of a group of its own: Ctrl-C of the terminal is not for it
                [sys.executable, "-P", "-c", _program(theirs.fileno(), cores)],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
                env={**dict.fromkeys(_THREADS, str(cores)), **os.environ},
            )
        self._connection = Connection(ours.detach())

    def ready(self) -> bool:
        """Say that it can compute; what it is sent while it starts waits for it."""
        return True

    def compute(self, factory: Factory, item: object) -> Reply:
        """Return what became of an item.

        Raises:
            WorkerLost: the process has ended.
        """
        try:
            self._connection.send((factory, item))
            reply: Reply = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise WorkerLost(f"process {self._process.pid} {self._ending()}") from error
        return reply

    def stop(self) -> None:
        """Have it end."""
        self._process.terminate()

    def join(self) -> None:
        """Wait until it has ended, and end it by force where it does not."""
        self._connection.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ending(self) -> str:
        """Return how it ended; its connection closes just before."""
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def _program(descriptor: int, cores: int) -> str:
    return (
        f"import sys; sys.path[:] = {[entry or str(Path.cwd()) for entry in sys.path]!r}\n"
        f"from ckpttool.executors.worker import serve; serve({descriptor}, {cores})"
    )
