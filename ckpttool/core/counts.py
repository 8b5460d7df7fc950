"""Counts in sentences."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun in the number that goes with it; the `plural` is given where more than an s changes.

    >>> counted(1, "tensor"), counted(0, "tensor"), counted(2, "class", "classes"), counted(1, "row is", "rows are")
    ('1 tensor', '0 tensors', '2 classes', '1 row is')
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
