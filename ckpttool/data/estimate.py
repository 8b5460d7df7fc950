"""Sizes for people."""

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def human_size(count: float) -> str:
    """Return a number of bytes as a person would say it, in powers of a thousand.

    >>> human_size(34_320_000), human_size(999), human_size(999_960)
    ('34.3 MB', '999 bytes', '1.0 MB')
    """
    unit = 0
    while unit < len(UNITS) - 1 and round(count, 1 if unit else 0) >= 1000:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {UNITS[unit]}" if unit else f"{count:.0f} {UNITS[0]}"
