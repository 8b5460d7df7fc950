"""The versions of what a result depends on."""

import platform
import sys

import ckpttool

COMPUTING = ("numpy", "tensorflow")
"""The packages that compute; one that was not imported had no part in a result."""


def versions() -> dict[str, str]:
    """Return the versions of this program, of Python, and of the packages that compute, as far as they are in use."""
    used = {name: sys.modules[name].__version__ for name in COMPUTING if name in sys.modules}
    return {"ckpttool": ckpttool.__version__, "python": platform.python_version(), **used}
