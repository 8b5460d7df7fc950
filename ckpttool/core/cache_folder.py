"""The user's cache folder: features, staged rows, downloads; all of it is made again if it is removed."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the user's cache folder for this program, by the platform's convention."""
    import platformdirs

    xdg = os.environ.get("XDG_CACHE_HOME")  # followed on macOS too
    return Path(xdg) / "ckpttool" if xdg else platformdirs.user_cache_path("ckpttool", appauthor=False)
