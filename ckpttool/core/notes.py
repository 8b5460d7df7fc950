"""One-line notes about many things, such as the tensors that were skipped, kept or newly initialised."""

from collections.abc import Iterable, Sequence


class Note(str):
    """A line for the user that names the first of many things; `lines` has a line for each of them.

    A note is a string, so code that prints notes need not know this class.

    >>> note = Note.of("skipped", ["a", "b", "c"], most=2)
    >>> note, note.lines
    ('skipped: a, b and 1 more', ('skipped: a', 'skipped: b', 'skipped: c'))
    >>> Note.of("skipped", ["a", "b"], most=2)
    'skipped: a, b'
    """

    lines: Sequence[str] = ()
    shortened: bool = False

    @classmethod
    def of(cls, what: str, things: Iterable[str], most: int = 8) -> "Note":
        """Return the note about things, of which the first `most` are named."""
        things = list(things)
        more = len(things) - most
        shown = ", ".join(things[:most])
        note = cls(f"{what}: {shown} and {more} more" if more > 0 else f"{what}: {shown}")
        note.shortened = more > 0
        note.lines = tuple(f"{what}: {thing}" for thing in things)
        return note


def notes_about(what: str, things: Iterable[str], most: int = 8) -> list[str]:
    """Return a list with the note about things, empty if there are none.

    >>> notes_about("skipped", ["a"]), notes_about("skipped", [])
    (['skipped: a'], [])
    """
    things = list(things)
    return [Note.of(what, things, most)] if things else []
