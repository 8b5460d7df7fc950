"""Decompression of .xz in bounded memory."""

import io
import lzma
from typing import IO, Any

_MOST_MEMORY = 160 << 20
"""The memory limit in bytes for .xz: the file itself declares its dictionary size, up to 4 GiB.

`xz -9` needs 65 MiB.
"""
_PIECE = 1 << 20
"""The number of compressed bytes that are read at a time."""


def open_xz(file: IO[bytes]) -> IO[bytes]:
    """Return the decompressed bytes of an .xz file; reading raises an `EOFError` or an `LZMAError` if it is damaged."""
    return io.BufferedReader(_Xz(file))


class _Xz(io.RawIOBase):
    """Decompression of .xz in bounded memory; `lzma.open` has no limit."""

    def __init__(self, file: IO[bytes]) -> None:
        self._packed = file
        self._rewind()

    def _rewind(self) -> None:
        self._packed.seek(0)
        self._at, self._stream = 0, _xz_stream()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        piece = b""
        while not piece:
            if self._stream.eof:  # another stream may follow, after zeros
                rest = self._stream.unused_data
                while not (rest := rest.lstrip(b"\0")):
                    if not (rest := self._packed.read(_PIECE)):
                        return 0
                self._stream = _xz_stream()
            elif self._stream.needs_input and not (rest := self._packed.read(_PIECE)):
                raise EOFError("the compressed bytes end early")
            elif not self._stream.needs_input:
                rest = b""
            piece = self._stream.decompress(rest, len(view))
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("its length is unknown")
        if position < self._at:
            self._rewind()
        while self._at < position and self.read(min(position - self._at, _PIECE)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at


def _xz_stream() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_MEMORY)
