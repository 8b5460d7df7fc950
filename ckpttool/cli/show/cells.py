"""Fields as text: six significant digits in formats for programs, four in tables, and all in JSON.

Names come from untrusted files, so `core.shown_text` escapes them for terminals, and JSON as JSON does. Very long words
are shortened in the middle in tables, and complete in other formats.
"""

import json
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

from ckpttool.core.counts import human_size
from ckpttool.core.shown_text import shortened, visible
from ckpttool.remote.paths import with_urls

_UNPRINTED = re.compile(r"[^\x20-\x7e]")
"""Characters that may need an escape: all except printable ASCII."""
_WHOLE = 1e4, 1e7
"""Numbers between these have more than four digits before the point, and are shown as integers."""


def cell(value: Any) -> str:
    """Return the text of a field: a shape in brackets, names joined by commas.

    >>> cell([784, 300]), cell(("hidden1/kernel", "hidden1/bias")), cell(None), cell(True), cell(0.25)
    ('[784, 300]', 'hidden1/kernel, hidden1/bias', '', 'yes', '0.25')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        names = value and all(isinstance(each, str) for each in value)
        return cell(", ".join(value)) if names else str(list(value))
    return visible(with_urls(str(value)))


def shown_cell(value: Any, column: str = "") -> str:
    """Return the text of a field in a table: numbers with four significant digits, those in a column `bytes` as sizes.

    >>> shown_cell(0.123456), shown_cell(12345.678), shown_cell(1.5e-7), shown_cell(940_800, "bytes"), shown_cell(60000)
    ('0.1235', '12346', '1.5e-07', '941 kB', '60000')
    """
    if isinstance(value, float):
        return f"{value:.0f}" if _WHOLE[0] <= abs(value) < _WHOLE[1] else f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool) and column == "bytes":
        return human_size(value)
    return shortened(cell(value))


def plain(value: Any) -> Any:
    """Return a value that JSON can represent: non-finite numbers become the texts NaN, Infinity, -Infinity.

    >>> plain((1.5, float("-inf"), b"ab"))
    [1.5, '-Infinity', 'ab']
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return with_urls(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def dumps(value: Any) -> str:
    """Return JSON without terminal control sequences; in ASCII if the encoding of stdout is not UTF-8."""
    text = json.dumps(plain(value), ensure_ascii=not _takes_any_character(), allow_nan=False)
    return text if text.isprintable() else _UNPRINTED.sub(_json_escape, text)


def _takes_any_character() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _json_escape(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]
