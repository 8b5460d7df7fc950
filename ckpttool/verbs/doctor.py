"""Doctor: versions, missing extras and the commands that need them, devices, and folders."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from ckpttool import __version__
from ckpttool.catalogue.layout import default_root as catalogue_root
from ckpttool.confinement import landlock
from ckpttool.core.cache_folder import cache_folder
from ckpttool.core.counts import counted, human_size
from ckpttool.core.errors import CkptError
from ckpttool.data.feature_store import FeatureStore
from ckpttool.remote.paths import is_url
from ckpttool.runtime.devices import devices

State = Literal["ok", "missing", "old", "wrong", "none"]
NEEDED = ("click", "numpy", "protobuf", "h5py", "google-crc32c", "ml_dtypes", "rich", "safetensors", "cramjam")
"""Packages that all commands need."""
TENSORFLOWS = ("tensorflow", "tensorflow-cpu")
"""Packages that provide the module `tensorflow`, the one with an extra first."""
EXTRAS = {
    "tensorflow": "what runs or builds a graph: new, reuse with a head, finetune, evaluate, predict, search, ...",
    "keras": "Keras's models as graphs, and written back",
    "pillow": "folders of images, images in records",
    "pyarrow": "rows in .parquet",
    "fsspec": "models and caches at s3://, gs:// and other servers",
    "matplotlib": "curves and pictures of filters",
    "huggingface_hub": "zoo pull and zoo push of hf://",
    "ray": "long jobs on several machines",
    "optuna": "searches mirrored for optuna-dashboard",
}
"""Packages that some commands need, and what for."""
OF_EXTRA = {
    "pillow": "images",
    "pyarrow": "parquet",
    "fsspec": "remote",
    "matplotlib": "plot",
    "huggingface_hub": "hub",
}
"""The extra of a package, if its name differs; Keras comes with TensorFlow."""


@dataclass(frozen=True)
class Finding:
    """A finding: the subject, its state, whether it is fine, and its purpose or the remedy."""

    what: str
    found: str
    state: State
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"what": self.what, "found": self.found, "state": self.state, "note": self.note}


@dataclass(frozen=True)
class Examined:
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing required is missing, too old or wrong; extras may be missing."""
        return not any(each.state in ("old", "wrong") or _is_needed(each) for each in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"version": __version__, "holds": self.holds, "findings": [each.as_json() for each in self.findings]}


def doctor() -> Examined:
    """Check versions, extras, devices and folders; TensorFlow is imported, if installed."""
    return Examined((*_versions(), *_packages(), *_devices(), *_folders(), _confinement()))


def _is_needed(finding: Finding) -> bool:
    return finding.state == "missing" and finding.what in NEEDED


def _versions() -> Iterator[Finding]:
    yield Finding("ckpttool", __version__, "ok", str(Path(__file__).parents[1]))
    yield Finding("python", platform.python_version(), "ok", platform.platform(terse=True))


def _packages() -> Iterator[Finding]:
    asked = _asked()
    for name in (*NEEDED, *EXTRAS):
        found = _version(name)
        bound = asked.get(_plain(name))
        what_for = EXTRAS.get(name, "")
        if found is None:
            command = f"pip install '{name}'" if name in NEEDED else f"pip install 'ckpttool[{_extra(name)}]'"
            yield Finding(name, "", "missing", f"{what_for}: {command}" if what_for else command)
        elif bound is not None and not bound.specifier.contains(found, prereleases=True):
            yield Finding(
                name, found, "old", f"needs {bound.specifier}: pip install -U '{bound.name}{bound.specifier}'"
            )
        else:
            yield Finding(name, found, "ok", what_for)


def _asked() -> dict[str, Requirement]:
    """Return the package's requirements by name; empty if it runs without being installed."""
    try:
        texts = metadata.requires("ckpttool") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, Requirement] = {}
    for text in texts:
        each = Requirement(text)
        if each.specifier:
            found.setdefault(_plain(each.name), each)
    return found


def _version(name: str) -> str | None:
    for each in TENSORFLOWS if name == "tensorflow" else (name,):
        try:
            return metadata.version(each)
        except metadata.PackageNotFoundError:
            continue
    return None


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _extra(name: str) -> str:
    return "tensorflow" if name == "keras" else OF_EXTRA.get(name, name)


def _devices() -> Iterator[Finding]:
    cores = f"{counted(os.cpu_count() or 1, 'core')}, {platform.machine()}"
    yield Finding("processor", cores, "ok")
    if _version("tensorflow") is None:
        yield Finding("devices", "", "none", "TensorFlow tells")
        return
    try:
        yield Finding("devices", ", ".join(devices()), "ok", "what graphs are computed on")
    except CkptError as error:
        yield Finding("devices", "", "wrong", str(error))


def _folders() -> Iterator[Finding]:
    root = cache_folder()
    entries = FeatureStore(root).entries()
    size = human_size(sum(each.on_disk for each in entries))
    held = f"features of frozen layers: {counted(len(entries), 'entry', 'entries')}, {size}"
    yield _folder("cache folder", root, held, root.is_dir)
    zoo = catalogue_root()
    if is_url(zoo):
        yield Finding("zoo folder", str(zoo), "ok", "the catalogue of models, on a server")
    else:
        yield _folder("zoo folder", zoo, "the catalogue of models", zoo.is_dir)


def _folder(what: str, path: Path, held: str, is_there: Callable[[], bool]) -> Finding:
    """Return the finding for a folder: whether it can be written to, or created."""
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return Finding(what, str(path), "wrong", f"{nearest} cannot be written to")
    return Finding(what, str(path), "ok", held if is_there() else f"{held}; it is not there yet")


def _confinement() -> Finding:
    """Return the finding on whether untrusted models are confined when they run."""
    version = landlock.version()
    if version:
        return Finding("confinement", f"Landlock {version}", "ok", "models that others made run without other files")
    return Finding(
        "confinement", "", "none", "this system confines no process: models that others made run as yours do"
    )
