"""Crews whose workers cannot be started, are never ready, or are lost before."""

import pytest

from ckpttool.core.errors import CkptError, MissingDependency
from ckpttool.executors import crew
from ckpttool.executors.crew import Crew
from ckpttool.executors.executor import WorkerLost


class Unable:
    """A worker that never computes."""

    def __init__(self, problem: Exception | None) -> None:
        self._problem = problem

    def ready(self) -> bool:
        if self._problem:
            raise self._problem
        return False

    def stop(self) -> None:
        pass

    join = stop


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "ROOM", 0.2)


@pytest.mark.parametrize(
    ("problem", "kind", "said"),
    [
        (None, WorkerLost, "no worker was ready for 0 seconds: there is no room for any"),
        (WorkerLost("its node is gone"), WorkerLost, "no worker was ready for 0 seconds: its node is gone"),
        (MissingDependency("no ckpttool there"), MissingDependency, "^no ckpttool there$"),
        (ZeroDivisionError("odd"), CkptError, "^no worker can be started: odd$"),
    ],
)
def test_without_a_worker_all_items_fail_and_say_why(problem, kind, said) -> None:
    with Crew("slow", lambda: Unable(problem), 2) as executor:
        for number in range(3):  # later ones too
            with pytest.raises(kind, match=said):
                executor.submit(lambda: abs, number).result(timeout=5)
        with pytest.raises(kind, match=said):
            list(executor.map_in_order(lambda: abs, range(9)))


def test_one_that_cannot_be_started_is_the_same() -> None:
    def start() -> Unable:
        raise OSError("too many processes")

    with Crew("full", start, 2) as executor, pytest.raises(CkptError, match="can be started: too many processes"):
        executor.submit(lambda: abs, 1).result(timeout=5)
