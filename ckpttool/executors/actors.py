"""The executor on a Ray cluster: a running one, or one that is started on this machine for the job.

An actor is a worker with one core. Ray never restarts it: if its node is gone, it would wait for free cores forever,
and so would the driver. The loss of an actor shows as an error; its item is computed by another worker, and a new actor
is requested, which starts once there are free cores. The nodes must see the model and the data under the same paths.
"""

import logging
import os
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ckpttool import __version__
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, MissingDependency
from ckpttool.executors import machine
from ckpttool.executors.crew import Crew
from ckpttool.executors.executor import Factory, WorkerLost
from ckpttool.executors.worker import Functions, Reply, share_cores

WATCH = 0.5
"""Seconds of one wait for an actor to start."""


def open_ray(place: str, workers: int | None, _model_bytes: int) -> Crew:
    """Return a crew of actors: the requested number, by default one per core of the cluster.

    The place `ray` is the cluster at RAY_ADDRESS, or one that is started on this machine; `ray://host:10001` is a
    running one.

    Raises:
        MissingDependency: Ray is not installed, or lacks what an address needs.
        CkptError: no cluster answers, or ckpttool is missing on its nodes or has another version.
    """
    ray = _ray()
    connected = _connect(ray, place)
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    count = workers or cores
    nodes = sum(node["Alive"] for node in ray.nodes())
    where = f"Ray, {counted(nodes, 'node')} with {counted(cores, 'core')}"
    note = f"{counted(count, 'worker')} ({'as asked for; ' * bool(workers)}{where})"
    return RayCrew(ray, place, count, note, connected)


class RayCrew(Crew):
    """A crew of actors; if it connected to the cluster, closing disconnects, and ends one that was started for it."""

    def __init__(self, ray: Any, place: str, workers: int, note: str, connected: bool) -> None:
        """Store the `ray` module, and whether it was connected to the cluster for this crew."""
        self._ray, self._connected = ray, connected
        actor_class = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        super().__init__(place, partial(ActorWorker, ray, actor_class), workers, (note,))

    def close(self) -> None:
        """End the actors, and the connection or cluster that was started for them."""
        super().close()
        if self._connected:
            self._ray.shutdown()
            self._connected = False


class _Actor:
    """The class that runs in an actor's process."""

    def __init__(self, folder: str) -> None:
        share_cores(1)
        if Path(folder).is_dir():  # relative paths are the command's, where the node has its folder
            os.chdir(folder)
        self._functions = Functions()

    def version(self) -> str:
        return __version__

    def compute(self, factory: Factory, item: object) -> Reply:
        return self._functions.reply(factory, item)


class ActorWorker:
    """An actor that computes one item at a time."""

    def __init__(self, ray: Any, actor_class: Any) -> None:
        """Request an actor; Ray starts it once a node has a free core."""
        self._ray, self._actor = ray, actor_class.remote(str(Path.cwd()))
        self._begun = self._actor.version.remote()
        self._ready = False

    def ready(self) -> bool:
        """Wait briefly for the actor to start; return whether it has.

        Raises:
            WorkerLost: its node is gone.
            MissingDependency: ckpttool is missing on its node, or has another version.
        """
        if not self._ready and self._ray.wait([self._begun], timeout=WATCH)[0]:
            self._check(self._get(self._begun))
            self._ready = True
        return self._ready

    def compute(self, factory: Factory, item: object) -> Reply:
        """Return the result of an item, or its exception.

        Raises:
            WorkerLost: the actor, or its node, is gone.
        """
        reply: Reply = self._get(self._actor.compute.remote(factory, item))
        return reply

    def stop(self) -> None:
        """End its process, if it and the cluster still exist."""
        with suppress(self._ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError):
            self._ray.kill(self._actor)

    def join(self) -> None:
        """Do nothing: Ray cleans up."""

    def _check(self, version: str) -> None:
        if version != __version__:
            raise MissingDependency(
                f"a node of the Ray cluster has ckpttool {version}, expected {__version__} on all of them"
            )

    def _get(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            raise CkptError(f"an actor of the Ray cluster: {_in_short(error)}") from error
        except errors.RayError as error:
            raise WorkerLost(_in_short(error)) from error


def _in_short(error: Exception) -> str:
    """Return the first sentence of the last line of a message, where Ray states the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split(". ")[0].removesuffix(".") if lines else type(error).__name__


def _connect(ray: Any, place: str) -> bool:
    """Connect this process to the cluster, unless the program has done so; return whether it was done here.

    Raises:
        CkptError: no cluster answers.
        MissingDependency: Ray's client, which an address needs, is not installed.
    """
    if ray.is_initialized():
        return False
    address = place if "://" in place else os.environ.get("RAY_ADDRESS")
    how: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if not address:
        how |= {"address": "local", "num_cpus": machine.cores(), "include_dashboard": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**{"address": address, **how})
    except ImportError as error:
        raise MissingDependency(f"{place} needs Ray's client ({error}): pip install 'ckpttool[ray]'") from error
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        ray.shutdown()  # a client that did not connect would answer for every later cluster of this process
        raise CkptError(f"{address or place}: no Ray cluster answers: {_in_short(error)}") from error
    ray._private.worker._worker_logs_enabled = False  # its messages about lost workers would go to stdout
    return True


def _ray() -> Any:
    """Return the `ray` module, with its usage statistics off unless the user's environment turns them on."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingDependency(f"`on` ray needs Ray ({error}): pip install 'ckpttool[ray]'") from error
    return ray
