"""Entries of a graph's collections: serialised messages, which may be damaged."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from ckpttool.core.errors import GraphError

Entry = TypeVar("Entry", bound=Message)


def entry_of(kind: type[Entry], raw: bytes) -> Entry:
    """Return an entry, parsed as a message.

    Raises:
        GraphError: the bytes are not a message of this type.
    """
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise GraphError(
            f"a collection of the graph has an entry that is not a {kind.__name__}: it is damaged"
        ) from error
