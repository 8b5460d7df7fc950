r"""Text as it may be shown: what would steer a terminal, a page or an eye is escaped, for strangers write names.

All that a terminal or a page sees of a file passes here: control characters, and those that TensorFlow's files hold as
bytes of no text, become escapes such as `\x1b`; so do characters without a picture, among them the ones that turn the
direction of writing.
"""

import re

LONGEST_WORD = 1000
"""Characters of a word that a terminal is shown; of a longer one its beginning and its end."""
LONGEST_MESSAGE = 8000
"""Characters of a message, likewise."""
MOST_LEVELS = 16
"""Levels of a path that a message is about for its depth, or for how many lead there."""
_HARMLESS = frozenset("\n\t\u00a0\u200c\u200d\ufeff\u2009\u202f\u3000")
"""Characters without a picture that texts of people have: lines, spaces, and what joins letters."""
_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")


def visible(text: str) -> str:
    r"""Return a text in which every character that is not printed is replaced by its escape; line breaks too.

    >>> visible("a\tb\x1b[31m\u202e"), visible("größer")
    ('a\\tb\\x1b[31m\\u202e', 'größer')
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def harmless(text: str) -> str:
    r"""Return a text of many lines in which what steers a terminal, or turns the direction of writing, is escaped.

    >>> harmless("a\tb\n\x1b[31mc\u202e\u200d\u00a0d") == "a\tb\n\\x1b[31mc\\u202e\u200d\u00a0d"
    True
    """
    return "".join(char if char.isprintable() or char in _HARMLESS else visible(char) for char in text)


def shortened(text: str) -> str:
    """Return a text for a person, in which words without end, and the text itself, lack their middle.

    >>> len(shortened("x is not a tensor; nearest: " + "y" * 200_000)) < 1100, shortened("dense/kernel")
    (True, 'dense/kernel')
    """
    return _without_middle(_LONG_WORD.sub(lambda word: _without_middle(word[0], LONGEST_WORD), text), LONGEST_MESSAGE)


def few_levels(path: str, most: int = MOST_LEVELS) -> str:
    """Return a path within a file for a sentence; one of very many levels lacks those in the middle.

    >>> few_levels("a/b/c/d/e/f/g", most=4), few_levels("dense/kernel", most=4)
    ('a/b/[... 3 levels ...]/f/g', 'dense/kernel')
    """
    levels, half = path.split("/"), most // 2
    if len(levels) <= most:
        return path
    return "/".join([*levels[:half], f"[... {len(levels) - 2 * half} levels ...]", *levels[-half:]])


def as_html(text: str) -> str:
    r"""Return a text as it stands in a page.

    >>> as_html("<b>\x1b")
    '&lt;b&gt;\\x1b'
    """
    from html import escape  # which pages alone need

    return escape(visible(text))


def _without_middle(text: str, most: int) -> str:
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}[... {len(text) - 2 * half} characters ...]{text[-half:]}"
