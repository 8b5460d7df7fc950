"""The process executor: its contract when workers are killed, and when its own process is."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from executor_conformance import WorkerTests
from factories import Deadly, Facts, Mistakes, Sleeps, Squares

from ckpttool.executors import machine
from ckpttool.executors.executor import WorkerLost
from ckpttool.executors.processes import processes


class TestProcesses(WorkerTests):
    @pytest.fixture
    def executor(self):
        with processes(2) as executor:
            yield executor


def alive(pid: int) -> bool:
    """Return whether a process exists, and is not a zombie."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def eventually(happened, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not happened() and time.monotonic() < until:
        time.sleep(0.02)
    return happened()


def busy(folder: Path) -> list[int]:
    return [int(mark.name.partition("-")[2]) for mark in folder.glob("busy-*")]


def test_workers_are_other_processes_that_share_the_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with processes(2) as pool:
        assert pool.submit(Facts(), "threads").result() == 3
        assert pool.submit(Facts(), "omp").result() == "3"
        assert pool.submit(Facts(), "sigint").result()
        assert pool.submit(Facts(), "main").result()
        assert pool.submit(Squares(), 1).result()[1] != os.getpid()


def test_items_that_are_near_go_to_one_worker(tmp_path):
    with processes(2) as pool:
        first = [pool.submit(Sleeps(tmp_path), 0.2, near=near) for near in "ab"]
        assert [future.result() for future in first] == [0.2, 0.2]
        who = [pool.submit(Squares(), n, near=near).result()[1] for n in range(10) for near in "ab"]
        assert who == who[:2] * 10
        assert who[0] != who[1]


def test_a_worker_without_items_takes_those_near_to_another(tmp_path):
    with processes(2) as pool:
        pool.submit(Squares(), 1, near="a").result()
        slow = pool.submit(Sleeps(tmp_path), 1.0, near="a")
        assert eventually(lambda: busy(tmp_path))
        assert pool.submit(Squares(), 2, near="a").result(timeout=10)[1] not in busy(tmp_path)
        slow.result()


def test_a_killed_worker_is_replaced_and_its_item_computed_again(tmp_path):
    with processes(2) as pool:
        results = list(pool.map_in_order(Deadly(tmp_path, times=1), [*range(10), "deadly"]))
    assert results == [*((n, 0) for n in range(10)), ("deadly", 1)]


def test_an_item_is_given_up_after_it_ended_two_and_the_others_are_computed(tmp_path):
    with processes(2) as pool:
        futures = {item: pool.submit(Deadly(tmp_path, times=9), item) for item in ["deadly", *range(6)]}
        with pytest.raises(
            WorkerLost, match=r"given up, as it ended 2 workers: process \d+ was ended by SIGKILL; proc"
        ):
            futures["deadly"].result()
        assert [futures[n].result() for n in range(6)] == [(n, 0) for n in range(6)]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_worker_killed_while_it_waits_is_replaced():
    with processes(1) as pool:
        first = pool.submit(Squares(), 2).result()[1]
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: not alive(first))
        assert pool.submit(Squares(), 3).result()[0] == 9


def test_only_an_item_that_was_not_begun_is_taken_back(tmp_path):
    with processes(1) as pool:
        slow = pool.submit(Sleeps(tmp_path), 0.5)
        waiting = pool.submit(Squares(), 2)
        assert eventually(lambda: busy(tmp_path))
        assert pool.cancel(waiting)
        assert not pool.cancel(slow)
        assert slow.result() == 0.5
        assert pool.submit(Squares(), 3).result()[0] == 9


def test_closing_ends_workers_that_compute_and_lets_them_put_away_what_they_have_open(tmp_path):
    pool = processes(2)
    futures = [pool.submit(Sleeps(tmp_path), 60) for _ in range(3)]
    assert eventually(lambda: len(busy(tmp_path)) == 2)
    workers = busy(tmp_path)
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 4
    assert not any(map(alive, workers))
    assert busy(tmp_path) == []
    for future in futures:
        with pytest.raises(CancelledError):
            future.result()


PROGRAM = """
from pathlib import Path
from factories import Sleeps
from ckpttool.executors.processes import processes

pool = processes(2)  # a script without an `if __name__ == "__main__"`
print("once", flush=True)
futures = [pool.submit(Sleeps(Path({folder!r})), {seconds}) for _ in range(2)]
print([future.result() for future in futures], flush=True)
pool.close()
"""


def started(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A program with two workers."""
    script = folder.parent / "program.py"
    script.write_text(PROGRAM.format(folder=str(folder), seconds=seconds))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def marks(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def test_a_script_needs_no_guard(marks):
    with started(marks, 0.01) as program:
        assert program.communicate(timeout=30)[0] == "once\n[0.01, 0.01]\n"


def test_no_worker_outlives_a_program_that_is_killed(marks):
    with started(marks, 60) as program:
        assert eventually(lambda: len(busy(marks)) == 2)
        workers = busy(marks)
        program.kill()
    assert eventually(lambda: not any(map(alive, workers)), 5)
    assert eventually(lambda: busy(marks) == [])


def test_ctrl_c_is_for_the_program_alone(marks):
    with processes(1) as pool:
        slow = pool.submit(Sleeps(marks), 0.5)
        assert eventually(lambda: busy(marks))
        os.kill(busy(marks)[0], signal.SIGINT)
        assert slow.result() == 0.5


def test_what_a_worker_prints_is_not_among_the_data(capfd):
    with processes(1) as pool:
        assert pool.submit(Mistakes(), "print").result() == "print"
    assert capfd.readouterr() == ("", "in the way of data\n")


@pytest.mark.parametrize(
    ("cores", "free", "workers", "note"),
    [
        (8, 64_000, 8, "8 workers (8 cores)"),
        (8, 3_300, 3, "3 workers (memory for 3 of 839 MB, 8 cores)"),
        (8, 100, 1, "1 worker (memory for 1 of 839 MB, 8 cores)"),
        (8, None, 8, "8 workers (8 cores)"),
        (1, 64_000, 1, "1 worker (1 core)"),
    ],
)
def test_there_are_as_many_as_cores_and_memory_allow(monkeypatch, cores, free, workers, note):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "free_memory", lambda: free and free << 20)
    pool = processes(model_bytes=200 << 20)
    assert (pool.workers, pool.notes) == (workers, (note,))
