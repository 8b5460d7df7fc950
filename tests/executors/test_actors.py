"""The executor on Ray: clusters of two nodes with one core each, one of which disappears."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from executor_conformance import WorkerTests
from factories import Deadly, Facts, Mistakes, Sleeps, Squares

from ckpttool.core.errors import CkptError, MissingDependency, PlanError
from ckpttool.executors import actors, crew
from ckpttool.executors.executor import WorkerLost
from ckpttool.executors.registry import open_executor

pytestmark = [  # left open by Ray itself
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""How soon a cluster detects the loss of a node."""


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Nodes import the functions through the environment in which they were started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        yield


@pytest.mark.slow
def test_a_cluster_of_this_machine_computes_and_ends(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ray = pytest.importorskip("ray")
    with open_executor("ray", 2) as executor:
        assert executor.notes[0].startswith("2 workers (as asked for; Ray, 1 node with ")
        assert [square for square, _ in executor.map_in_order(Squares(), range(8))] == [n * n for n in range(8)]
        assert type(executor.submit(Mistakes(), "user").exception()) is PlanError
        assert executor.submit(Facts(), "threads").result() == 1
        assert executor.submit(Facts(), "folder").result() == str(tmp_path)
        assert executor.submit(Deadly(Path(), 1), "deadly").result() == ("deadly", 1)
    assert not ray.is_initialized()
    assert capfd.readouterr().out == ""


def test_without_ray_the_package_that_brings_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependency, match=r"needs Ray \(.*\): pip install 'ckpttool\[ray\]'"):
        open_executor("ray")


@pytest.fixture(scope="module")
def client_port():
    """A port that no other cluster uses: when tests run in parallel, each of their processes has one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(client_port):
    """A cluster whose head has one core; `second` is another node with one."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": SOON, "ray_client_server_port": client_port}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def second(cluster):
    node = cluster.add_node(num_cpus=1)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node, allow_graceful=False)


@pytest.fixture
def address(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)


@pytest.mark.slow
@pytest.mark.usefixtures("address", "second")
class TestActors(WorkerTests):
    @pytest.fixture
    def executor(self):
        with open_executor("ray") as executor:
            yield executor


@pytest.mark.slow
@pytest.mark.usefixtures("cluster", "second")
class TestClient(WorkerTests):
    """Through the port for clients, which are not part of the cluster."""

    @pytest.fixture
    def executor(self, client_port):
        with open_executor(f"ray://127.0.0.1:{client_port}", 2) as executor:
            yield executor


@pytest.mark.slow
def test_the_items_of_a_node_that_goes_away_go_to_the_other(cluster, second, address, tmp_path):
    with open_executor("ray") as executor:
        assert executor.notes == ("2 workers (Ray, 2 nodes with 2 cores)",)
        results = executor.map_in_order(Sleeps(tmp_path), [0.5 + n / 1000 for n in range(12)])
        found = [next(results), next(results)]
        cluster.remove_node(second, allow_graceful=False)
        found.extend(results)
    assert found == [0.5 + n / 1000 for n in range(12)]


@pytest.mark.slow
def test_a_node_that_comes_later_is_used(cluster, address, tmp_path):
    with open_executor("ray", 2) as executor:
        results = executor.map_in_order(Squares(), range(400))
        _, first = next(results)
        node = cluster.add_node(num_cpus=1)
        workers, until = {first}, time.monotonic() + 20
        while len(workers) < 2 and time.monotonic() < until:
            workers |= {who for _, who in executor.map_in_order(Squares(), range(100))}
        assert len(workers) == 2
    cluster.remove_node(node, allow_graceful=False)


@pytest.mark.slow
def test_an_item_that_ends_two_actors_is_given_up(cluster, address, tmp_path):
    with open_executor("ray") as executor:
        with pytest.raises(WorkerLost, match="given up, as it ended 2 workers: The actor is dead because its worker"):
            executor.submit(Deadly(tmp_path, 9), "deadly").result()
        assert executor.submit(Squares(), 3).result()[0] == 9


@pytest.mark.slow
def test_a_cluster_without_room_is_not_waited_for_for_ever(cluster, address, monkeypatch, tmp_path):
    monkeypatch.setattr(crew, "ROOM", 2.0)
    with open_executor("ray") as first:
        assert first.submit(Squares(), 2).result()[0] == 4
        others = crew.Crew(
            "ray", lambda: actors.ActorWorker(first._ray, first._ray.remote(num_cpus=1)(actors._Actor)), 1
        )
        with (
            others,
            pytest.raises(WorkerLost, match="ray: no worker was ready for 2 seconds: there is no room for any"),
        ):
            others.submit(Squares(), 2).result()


@pytest.mark.slow
def test_another_version_on_a_node_is_named(cluster, address, monkeypatch):
    monkeypatch.setattr(actors, "__version__", "9.9")
    with open_executor("ray") as executor, pytest.raises(MissingDependency, match=r"has ckpttool 0\.\d.*expected 9\.9"):
        executor.submit(Squares(), 2).result()


@pytest.mark.slow
def test_an_address_where_no_cluster_answers_is_named(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(CkptError, match=r"^ray://127.0.0.1:1: no Ray cluster answers: ray client connection timeout$"):
        open_executor("ray://127.0.0.1:1")
    with open_executor("ray", 1) as executor:  # the failed client does not serve the next cluster
        assert executor.submit(Squares(), 3).result()[0] == 9


PROGRAM = """
from pathlib import Path
from factories import Sleeps
from ckpttool.executors.registry import open_executor

executor = open_executor("ray", 2)
futures = [executor.submit(Sleeps(Path({folder!r})), 100) for _ in range(2)]
print([future.result() for future in futures])
"""


@pytest.mark.slow
def test_no_actor_and_no_cluster_outlives_a_program_that_is_killed(tmp_path):
    pytest.importorskip("ray")
    with subprocess.Popen([sys.executable, "-c", PROGRAM.format(folder=str(tmp_path))]) as program:
        until = time.monotonic() + 60
        while not (marks := list(tmp_path.glob("busy-*"))) and time.monotonic() < until:
            time.sleep(0.1)
        assert marks
        program.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while any(Path(f"/proc/{mark.name[5:]}").exists() for mark in marks) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{mark.name[5:]}").exists() for mark in marks)
