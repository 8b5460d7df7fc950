"""The registry of executors by place: the built-in ones, and those that other packages add.

A place is a name, or an address whose scheme is a name: `ray`, `ray://head:10001`. A package adds one in the entry
point group `ckpttool.executors`: a function that takes the place, the requested number of workers (or None), and the
bytes that a model takes in each, and returns an `Executor`.
"""

from collections.abc import Callable
from importlib import import_module

from ckpttool.core.errors import MissingDependency, UnknownName
from ckpttool.executors.executor import Executor

Open = Callable[[str, int | None, int], Executor]

HERE, PROCESSES = "here", "processes"
BUILTIN = {
    HERE: "ckpttool.executors.here:open_here",
    PROCESSES: "ckpttool.executors.processes:open_processes",
    "ray": "ckpttool.executors.actors:open_ray",
}
GROUP = "ckpttool.executors"


def open_executor(place: str, workers: int | None = None, model_bytes: int = 0) -> Executor:
    """Return the executor of a place, with the requested number of workers, by default as many as it has room for.

    `model_bytes` is the memory that a model takes in each worker.

    >>> with open_executor("here") as executor:
    ...     executor.workers
    1

    Raises:
        UnknownName: no executor has this name.
        MissingDependency: a package that the executor needs is not installed.
    """
    known = BUILTIN | _added()
    scheme = place.partition("://")[0]
    if scheme not in known:
        raise UnknownName(f"no executor is named {scheme!r}: there are {', '.join(known)}")
    return _load(scheme, known[scheme])(place, workers, model_bytes)


def _added() -> dict[str, str]:
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    return {entry.name: entry.value for entry in entry_points(group=GROUP) if entry.name not in BUILTIN}


def _load(name: str, location: str) -> Open:
    module, _, function = location.partition(":")
    try:
        found: Open = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise MissingDependency(f"the executor {name} ({location}) cannot be loaded: {error}") from error
    return found
