"""Pictures on pages: pixels as PNG, embedded in the page (RFC 2083, 2397)."""

import base64
import struct
import zlib

import numpy as np

from ckpttool.core.shown_text import as_html
from ckpttool.core.tensors import Array

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""PNG's colour types by the number of channels: grey, RGB and RGBA."""


def picture(pixels: Array, text: str, scale: int = 1) -> str:
    """Return an image of pixels `[height, width, 1, 3 or 4]`, uint8; `text` is its alternative text.

    >>> picture(np.zeros((2, 3, 1), np.uint8), "nothing", scale=4)[:30]
    '<img width="12" height="8" alt'
    """
    height, width, _ = pixels.shape
    data = base64.b64encode(png(pixels)).decode()
    size = f'width="{width * scale}" height="{height * scale}"'
    return f'<img {size} alt="{as_html(text)}" src="data:image/png;base64,{data}">'


def png(pixels: Array) -> bytes:
    r"""Return pixels `[height, width, 1, 3 or 4]`, uint8, as a PNG file.

    >>> png(np.zeros((1, 1, 3), np.uint8))[:4]
    b'\x89PNG'
    """
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row starts with its filter type, none
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*chunks, strict=True)))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
