"""Messages of protobuf written as text: read in bounded time and memory."""

import re
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

_Kind = TypeVar("_Kind", bound=Message)
_TOO_LONG = re.compile(r"(?<!\s)\s{65536}|(?<!\\)\\{1000}")
"""Runs of blanks, for each of which protobuf takes 200 bytes, and of backslashes, for which it takes time by their
square. Nobody writes such ones."""


def parsed(data: bytes, message: _Kind, allow_unknown: bool = False) -> _Kind:
    """Read a text into a message.

    Raises:
        DecodeError: it is none of this kind, or has what would take too long.
        UnicodeDecodeError: it is not a text.
        RecursionError: it has messages within messages without end.
    """
    text = data.decode()
    if found := _TOO_LONG.search(text):
        raise DecodeError(f"over {len(found[0]) - 1} blanks or backslashes in a row")
    try:
        return text_format.Parse(text, message, allow_unknown_field=allow_unknown)
    except text_format.ParseError as error:
        raise DecodeError(str(error)) from error
