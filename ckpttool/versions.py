"""The versions of what a result depends on."""

import platform

import ckpttool


def versions() -> dict[str, str]:
    """Return the versions of this program, of Python, and of the packages that compute."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and wanted only by what writes

    found = {"ckpttool": ckpttool.__version__, "python": platform.python_version()}
    for package in ("numpy", "tensorflow", "tensorflow-cpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
