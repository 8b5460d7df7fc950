"""Landlock: what a process of Linux gives up of the file system and the network, for good; its children with it.

Source: Linux's `Documentation/userspace-api/landlock.rst` and `include/uapi/linux/landlock.h`. What a kernel does not
know yet stays as it was: all of it before 5.13, networks before 6.7, signals to other processes before 6.12.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same on all machines."""
_GET_VERSION, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_IOCTL = 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | _IOCTL
"""Rights that a file can have; the others are those of a folder."""
_KNOWN = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights on files and folders a version of the interface knows; later ones know as many as 5."""
_TCP, _SIGNALS_AND_SOCKETS = 0b11, 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Return the version of the interface that the kernel has; 0 without one."""
    if sys.platform != "linux":
        return 0
    found: int = _libc().syscall(_CREATE_RULESET, None, 0, _GET_VERSION)
    return max(0, found)


def restrict(readable: Iterable[Path], listed: Iterable[Path], writable: Iterable[Path], network: bool = False) -> None:
    """Keep this process from all files but those at and below some paths, and from connections; it cannot be undone.

    What lies in folders that are `listed` may be named, not read. Paths that are not there are left out. Files that are
    open stay so.

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
    """Allow what is at a path, and below it."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it is not there, or another user's
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
