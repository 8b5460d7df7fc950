"""Notes of one line that stand for many things: what was left out, kept or started fresh."""

from collections.abc import Iterable, Sequence


class Note(str):
    """One line for a user that names the first of many things; `lines` has a line for each.

    A note is a text, so whoever lists notes need not know of it.

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
        """Return the note on what became of things, of which the first ones are named: at most `most`."""
        things = list(things)
        more = len(things) - most
        shown = ", ".join(things[:most])
        note = cls(f"{what}: {shown} and {more} more" if more > 0 else f"{what}: {shown}")
        note.shortened = more > 0
        note.lines = tuple(f"{what}: {thing}" for thing in things)
        return note


def notes_about(what: str, things: Iterable[str], most: int = 8) -> list[str]:
    """Return the note on things, or none where there are no things.

    >>> notes_about("skipped", ["a"]), notes_about("skipped", [])
    (['skipped: a'], [])
    """
    things = list(things)
    return [Note.of(what, things, most)] if things else []
