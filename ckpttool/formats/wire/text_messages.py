"""Parsing protobuf's text format in bounded time and memory."""

import re
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

_Kind = TypeVar("_Kind", bound=Message)
_TOO_LONG = re.compile(r"(?<!\s)\s{65536}|(?<!\\)\\{1000}")
"""Long runs of blanks, for each of which protobuf allocates 200 bytes, and of backslashes, for which it needs quadratic
time. They do not occur in practice."""


def parsed(data: bytes, message: _Kind, allow_unknown: bool = False) -> _Kind:
    """Parse a text into a message.

    Raises:
        DecodeError: the text is not a message of this type, or parsing would take too long.
        UnicodeDecodeError: it is not UTF-8.
        RecursionError: messages are nested too deeply.
    """
    text = data.decode()
    if found := _TOO_LONG.search(text):
        raise DecodeError(f"over {len(found[0]) - 1} blanks or backslashes in a row")
    try:
        return text_format.Parse(text, message, allow_unknown_field=allow_unknown)
    except text_format.ParseError as error:
        raise DecodeError(str(error)) from error
