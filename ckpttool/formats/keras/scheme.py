"""`keras:NAME`: names of `keras.applications` architectures in place of paths."""

from pathlib import Path

SCHEME = "keras:"


def is_application(path: Path | str) -> bool:
    """Return whether this is not a path but the name of an architecture.

    >>> is_application("keras:MobileNetV2"), is_application(Path("model.keras"))
    (True, False)
    """
    return str(path).startswith(SCHEME)
