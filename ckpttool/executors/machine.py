"""The machine's cores and memory that this process may use."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """Return the number of cores that this process may use, by its affinity and its container's quota."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _words(CGROUP / "cpu.max")
    if len(quota) == 2 and all(map(str.isdigit, quota)):
        own = min(own, -(-int(quota[0]) // int(quota[1])))
    return max(1, own)


def free_memory() -> int | None:
    """Return the bytes of free memory on the machine and in its container; None if they cannot be determined."""
    lines = [line.split() for line in _text(MEMINFO).splitlines()]
    known = [int(line[1]) << 10 for line in lines if line[:1] == ["MemAvailable:"]]
    most, used = _words(CGROUP / "memory.max"), _words(CGROUP / "memory.current")
    if most and used and most[0].isdigit() and used[0].isdigit():
        known.append(max(0, int(most[0]) - int(used[0])))
    return min(known, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _words(path: Path) -> list[str]:
    return _text(path).split()
