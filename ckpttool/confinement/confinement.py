"""The limits of a confined process: files, network, memory, and time without progress."""

import os
import resource
import shutil
import site
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ckpttool.confinement import landlock

SYSTEM = tuple(map(Path, ("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/proc", "/sys", "/run", "/dev", "/nix")))
"""Folders with programs and libraries rather than user data."""
DEVICES = tuple(map(Path, ("/dev/null", "/dev/shm", "/dev/tty", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm")))
"""Devices that programs write to."""
LEAST_MEMORY = 16 << 30
"""The minimum limit of address space in bytes: TensorFlow reserves far more than it uses."""


@dataclass(frozen=True)
class Confinement:
    """Files and folders that may be read, listed or written, and whether network connections are allowed.

    `patience` is the number of seconds without progress after which the process is killed.
    """

    readable: tuple[Path, ...] = ()
    listed: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    network: bool = False
    patience: float = 600.0

    def enter(self, temporary: Path) -> None:
        """Confine this process irrevocably; the folder `temporary` takes its temporary files.

        Raises:
            OSError: the system refuses.
        """
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        readable, listed, writable = ([Path(os.path.realpath(path)) for path in paths] for paths in self._paths)
        free = min((shutil.disk_usage(path).free for path in writable if path.is_dir()), default=None)
        _limit(resource.RLIMIT_CORE, 0)
        if not Path("/dev/nvidiactl").exists():  # NVIDIA's driver maps the memory of all devices
            _limit(resource.RLIMIT_AS, max(LEAST_MEMORY, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
        if free is not None:
            _limit(resource.RLIMIT_FSIZE, free)
        if landlock.version():
            landlock.restrict([*programs(), *readable], listed, [*DEVICES, *writable, temporary], self.network)

    @property
    def _paths(self) -> tuple[tuple[Path, ...], ...]:
        return self.readable, self.listed, self.writable


def programs() -> Iterator[Path]:
    """Yield the folders of Python, of installed packages, and of the system's libraries."""
    yield from SYSTEM
    yield from map(Path, (sys.prefix, sys.base_prefix, *site.getsitepackages()))
    yield from (Path(entry).resolve() for entry in sys.path if entry)
    if sys.pycache_prefix:  # otherwise modules would be compiled again
        yield Path(sys.pycache_prefix)


def _limit(which: int, value: int) -> None:
    """Lower a resource limit of this process."""
    _, most = resource.getrlimit(which)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(which, (value, value))
