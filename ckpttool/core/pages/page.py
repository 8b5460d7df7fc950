"""HTML pages: each is one self-contained file that works offline, in a frame that all of them share.

A package has the body in `page.html`, and `page.css` and `page.js` beside it if it needs more than the frame has.
"""

import base64
import hashlib
from importlib import resources
from string import Template

from ckpttool.core.shown_text import as_html

FRAME = "ckpttool.core.pages"


def page(package: str, title: str, **parts: str) -> str:
    """Return the page of a package's templates, filled with parts, which are HTML; the title is plain text.

    A browser runs only the scripts of the frame and the package, whatever the parts contain.
    """
    title, scripts = as_html(title), [_text(FRAME, "page.js"), _text(package, "page.js")]
    return Template(_text(FRAME, "frame.html")).substitute(
        title=title,
        allowed=" ".join(map(_hash, scripts)),
        style=_text(FRAME, "page.css") + _text(package, "page.css"),
        body=Template(_text(package, "page.html")).substitute(parts, title=title),
        scripts="".join(f"<script>{script}</script>\n" for script in scripts if script),
    )


def _text(package: str, name: str) -> str:
    """Return the text of a package's file, empty if it does not exist."""
    file = resources.files(package).joinpath(name)
    return file.read_text("utf-8") if file.is_file() else ""


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
