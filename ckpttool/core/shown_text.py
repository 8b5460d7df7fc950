r"""Text that is safe to show: names come from untrusted files, so characters that control a terminal are escaped.

All text of a file that a terminal or a page shows passes through here. Control characters, and bytes of TensorFlow's
files that are not valid text, become escapes such as `\x1b`; so do invisible characters, including those that change
the direction of writing.
"""

import re

LONGEST_WORD = 1000
"""The length of the longest word that is shown whole; the middle of longer ones is cut out."""
LONGEST_MESSAGE = 8000
"""The length of the longest message that is shown whole, likewise."""
MOST_LEVELS = 16
"""Levels of a path that are shown in messages about paths of extreme depth."""
_HARMLESS = frozenset("\n\t\u00a0\u200c\u200d\ufeff\u2009\u202f\u3000")
"""Invisible characters that ordinary text has: line breaks, spaces, and joiners of letters."""
_MARKS = re.compile(r"[!\"#$&'*<>?@\[\\\]^`{|}~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Characters that may have a meaning in Markdown or HTML."""
_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")


def visible(text: str) -> str:
    r"""Return the text with every unprintable character, including line breaks, replaced by its escape.

    >>> visible("a\tb\x1b[31m\u202e"), visible("größer")
    ('a\\tb\\x1b[31m\\u202e', 'größer')
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def harmless(text: str) -> str:
    r"""Return a text of many lines in which characters that control a terminal or the direction of writing are escaped.

    >>> harmless("a\tb\n\x1b[31mc\u202e\u200d\u00a0d") == "a\tb\n\\x1b[31mc\\u202e\u200d\u00a0d"
    True
    """
    return "".join(char if char.isprintable() or char in _HARMLESS else visible(char) for char in text)


def shortened(text: str) -> str:
    """Return a text for people: the middle of very long words, and of a very long text, is cut out.

    >>> len(shortened("x is not a tensor; nearest: " + "y" * 200_000)) < 1100, shortened("dense/kernel")
    (True, 'dense/kernel')
    """
    return _without_middle(_LONG_WORD.sub(lambda word: _without_middle(word[0], LONGEST_WORD), text), LONGEST_MESSAGE)


def few_levels(path: str, most: int = MOST_LEVELS) -> str:
    """Return a path within a file for a message; of very many levels the middle ones are cut out.

    >>> few_levels("a/b/c/d/e/f/g", most=4), few_levels("dense/kernel", most=4)
    ('a/b/[... 3 levels ...]/f/g', 'dense/kernel')
    """
    levels, half = path.split("/"), most // 2
    if len(levels) <= most:
        return path
    return "/".join([*levels[:half], f"[... {len(levels) - 2 * half} levels ...]", *levels[-half:]])


def as_html(text: str) -> str:
    r"""Return a text for HTML, with unsafe characters escaped.

    >>> as_html("<b>\x1b")
    '&lt;b&gt;\\x1b'
    """
    from html import escape  # only needed by pages

    return escape(visible(text))


def as_markdown(text: str) -> str:
    r"""Return a text escaped for Markdown, including tables.

    >>> print(as_markdown("a|b <i> `c` conv_1/kernel _x_"))
    a\|b \<i\> \`c\` conv_1/kernel \_x\_
    """
    return _MARKS.sub(lambda found: f"\\{found[0]}", visible(text))


def _without_middle(text: str, most: int) -> str:
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}[... {len(text) - 2 * half} characters ...]{text[-half:]}"
