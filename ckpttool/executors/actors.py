"""The executor on a Ray cluster: one that runs, or one of this machine that is started for it.

An actor is a worker of one core; it is never restarted by Ray, since where its node is gone it would wait for room for
ever, and the driver with it. One that is lost is noticed by its error, and its item goes to those that live; another is
asked for, which begins when there is room. Model and data must lie where the nodes see them too.
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
"""Seconds to wait at a time for an actor to begin."""


def open_ray(place: str, workers: int | None, _model_bytes: int) -> Crew:
    """Return a crew of actors, as many as asked for, else as the cluster has cores.

    `ray` is the cluster that RAY_ADDRESS names, or one that is started on this machine; `ray://host:10001` is a
    running one.

    Raises:
        MissingDependency: Ray is not installed, or lacks what an address needs.
        CkptError: no cluster answers, or its nodes have another ckpttool, or none.
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
    """A crew of actors; it lets go of the cluster if it connected to it, and ends one that was started for it."""

    def __init__(self, ray: Any, place: str, workers: int, note: str, connected: bool) -> None:
        """Take the module, and whether it was connected to the cluster for this crew."""
        self._ray, self._connected = ray, connected
        actor_class = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        super().__init__(place, partial(ActorWorker, ray, actor_class), workers, (note,))

    def close(self) -> None:
        """End the actors, and what was begun for them."""
        super().close()
        if self._connected:
            self._ray.shutdown()
            self._connected = False


class _Actor:
    """What runs in an actor's process."""

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
        """Ask for an actor, which begins where and when there is room for it."""
        self._ray, self._actor = ray, actor_class.remote(str(Path.cwd()))
        self._begun = self._actor.version.remote()
        self._ready = False

    def ready(self) -> bool:
        """Wait for a moment until it has begun; say whether it has.

        Raises:
            WorkerLost: its node is gone.
            MissingDependency: its node has another ckpttool, or none.
        """
        if not self._ready and self._ray.wait([self._begun], timeout=WATCH)[0]:
            self._check(self._get(self._begun))
            self._ready = True
        return self._ready

    def compute(self, factory: Factory, item: object) -> Reply:
        """Return what became of an item.

        Raises:
            WorkerLost: the actor, or its node, is gone.
        """
        reply: Reply = self._get(self._actor.compute.remote(factory, item))
        return reply

    def stop(self) -> None:
        """End its process, where that and the cluster are still there."""
        with suppress(self._ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError):
            self._ray.kill(self._actor)

    def join(self) -> None:
        """Nothing is left to wait for."""

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
    """Return the first sentence of the last line of a message, in which Ray says what it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split(". ")[0].removesuffix(".") if lines else type(error).__name__


def _connect(ray: Any, place: str) -> bool:
    """Connect this process to the cluster that is meant, unless the program has done so; say whether it was done here.

    Raises:
        CkptError: no cluster answers.
        MissingDependency: Ray lacks what an address needs.
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
        raise CkptError(f"{address or place}: no Ray cluster answers: {_in_short(error)}") from error
    ray._private.worker._worker_logs_enabled = False  # what it says of lost workers goes to the output for data
    return True


def _ray() -> Any:
    """Return the `ray` module, which reports no use to anybody unless the user's environment says so."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingDependency(f"`on` ray needs Ray ({error}): pip install 'ckpttool[ray]'") from error
    return ray
