"""`keras:NAME`: what stands for an architecture of `keras.applications` where a path is expected."""

from pathlib import Path

SCHEME = "keras:"


def is_application(path: Path | str) -> bool:
    """Return whether a path is not a path, but names an architecture.

    >>> is_application("keras:MobileNetV2"), is_application(Path("model.keras"))
    (True, False)
    """
    return str(path).startswith(SCHEME)
