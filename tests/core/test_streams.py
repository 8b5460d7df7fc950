"""Streams with their own position."""

import io

from ckpttool.core.streams import StreamAt

DATA = bytes(range(10))


def in_pieces(buffer: memoryview, place: int) -> int:
    """Return at most three bytes, as a system may."""
    piece = DATA[place : min(place + 3, place + len(buffer))]
    buffer[: len(piece)] = piece
    return len(piece)


def test_a_buffer_is_filled_however_many_bytes_come_at_once() -> None:
    stream = StreamAt(10, in_pieces)
    assert (stream.read(7), stream.read(7), stream.read(7)) == (DATA[:7], DATA[7:], b"")


def test_places_count_from_each_end_and_none_is_past_the_last_byte() -> None:
    stream = io.BufferedReader(StreamAt(8, in_pieces), 4)
    assert (stream.seek(-3, io.SEEK_END), stream.read()) == (5, DATA[5:8])
    assert (stream.seek(99), stream.read()) == (99, b"")


def test_a_source_that_ends_early_gives_what_it_has() -> None:
    assert StreamAt(99, in_pieces).read() == DATA


def test_what_is_read_from_is_closed_once() -> None:
    closed: list[bool] = []
    with StreamAt(10, in_pieces, lambda: closed.append(True)) as stream:
        pass
    stream.close()
    assert closed == [True]
