"""The executor of worker processes on this machine, as many as its cores and memory allow.

Each process is a new interpreter with this one's import path, and runs `worker.serve` on its end of a socket. Nothing
is forked, and the user's program is not imported again, so a script needs no `if __name__ == "__main__"`.
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
"""Bytes of memory of a process with TensorFlow, without a model."""
SPARED = 512 << 20
"""Bytes of free memory left for everything else."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables with the number of threads of linear algebra libraries."""


def processes(workers: int | None = None, model_bytes: int = 0) -> Crew:
    """Return a crew of processes: the requested number, by default as many as cores and memory allow.

    `model_bytes` is the memory that each worker needs besides TensorFlow.
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
        """Start the process, which computes with `cores` threads."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # in its own process group, which the terminal's Ctrl-C does not reach
                [sys.executable, "-P", "-c", _program(theirs.fileno(), cores)],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
                env={**dict.fromkeys(_THREADS, str(cores)), **os.environ},
            )
        self._connection = Connection(ours.detach())

    def ready(self) -> bool:
        """Return True: items that are sent while it starts wait in its socket."""
        return True

    def compute(self, factory: Factory, item: object) -> Reply:
        """Return the result of an item, or its exception.

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
        """End the process."""
        self._process.terminate()

    def join(self) -> None:
        """Wait for it to end, and kill it if it does not."""
        self._connection.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ending(self) -> str:
        """Return a description of how it ended; its connection closes just before that."""
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
