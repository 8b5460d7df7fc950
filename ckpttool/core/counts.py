"""Counts and sizes as text for people."""

_COUNTS = ("", "K", "M", "B", "T")
_SIZES = ("bytes", "kB", "MB", "GB", "TB", "PB")


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun in the singular or plural; `plural` is needed if it is not the noun with an s.

    >>> counted(1, "tensor"), counted(0, "tensor"), counted(2, "class", "classes"), counted(1, "row is", "rows are")
    ('1 tensor', '0 tensors', '2 classes', '1 row is')
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def short_count(count: int) -> str:
    """Return a count with three significant digits.

    >>> short_count(999), short_count(25_450), short_count(109_482_240), short_count(999_999)
    ('999', '25.4K', '109M', '1M')
    """
    number, unit = float(count), 0
    while unit < len(_COUNTS) - 1 and float(f"{number:.3g}") >= 1000:
        number, unit = number / 1000, unit + 1
    return f"{float(f'{number:.3g}'):g}{_COUNTS[unit]}"


def human_size(count: float) -> str:
    """Return a number of bytes as text, in powers of a thousand.

    >>> human_size(34_320_000), human_size(940_800), human_size(999), human_size(999_960)
    ('34.3 MB', '941 kB', '999 bytes', '1.0 MB')
    """
    unit = 0
    while unit < len(_SIZES) - 1 and round(count) >= 1000:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {_SIZES[unit]}" if unit and count < 99.95 else f"{count:.0f} {_SIZES[unit]}"
