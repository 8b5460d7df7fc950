"""Landlock: irrevocable restriction of a Linux process and its children to parts of the file system and network.

Source: Linux's `Documentation/userspace-api/landlock.rst` and `include/uapi/linux/landlock.h`. Restrictions that a
kernel does not support are not applied: it needs 5.13 for files, 6.7 for networks, 6.12 for signals to other processes.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System call numbers, the same on all architectures."""
_GET_VERSION, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_IOCTL = 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | _IOCTL
"""Access rights that apply to files; the others apply to folders."""
_KNOWN = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""The number of file system rights by ABI version; later versions have as many as 5."""
_TCP, _SIGNALS_AND_SOCKETS = 0b11, 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Return the kernel's Landlock ABI version, or 0 without Landlock."""
    if sys.platform != "linux":
        return 0
    found: int = _libc().syscall(_CREATE_RULESET, None, 0, _GET_VERSION)
    return max(0, found)


def restrict(readable: Iterable[Path], listed: Iterable[Path], writable: Iterable[Path], network: bool = False) -> None:
    """Restrict this process to files at and below the given paths, and forbid connections; this cannot be undone.

    Folders in `listed` may be listed, but their files not read. Missing paths are skipped. Open files stay usable.

    Raises:
        OSError: the kernel refuses, or has no Landlock.
    """
    known = version()
    rights = (1 << _KNOWN.get(known, 16)) - 1
    net = _TCP if known >= 4 and not network else 0
    attributes = _Ruleset(rights, net, _SIGNALS_AND_SOCKETS if known >= 6 else 0)
    size = 8 if known < 4 else 16 if known < 6 else 24
    rules = _called(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for path in readable:
            _allow(rules, path, rights & (_EXECUTE | _READ_FILE | _READ_DIR))
        for path in listed:
            _allow(rules, path, _READ_DIR)
        for path in writable:
            _allow(rules, path, rights)
        if _libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no_new_privs")
        _called(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: Path, rights: int) -> None:
    """Allow access to a path and everything below it."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # missing, or not accessible to this user
        return
    try:
        allowed = rights if path.is_dir() else rights & _FILE_RIGHTS
        _called(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(_Beneath(allowed, place)), 0)
    finally:
        os.close(place)


def _called(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
