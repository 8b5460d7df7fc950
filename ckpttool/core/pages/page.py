"""Pages for a browser: one file each that needs nothing else, and no network, in a frame that all of them share.

A package has a `page.html`, the body, with `page.css` and `page.js` beside it, where it needs more than the frame has.
"""

import base64
import hashlib
from importlib import resources
from string import Template

from ckpttool.core.shown_text import as_html

FRAME = "ckpttool.core.pages"


def page(package: str, title: str, **parts: str) -> str:
    """Return the page that the templates of a package are of parts, which are HTML; the title is text.

    A browser runs no script but those of the frame and of the package, whatever a part may hold.
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
    """Return a file of a package, nothing where it has none of that name."""
    file = resources.files(package).joinpath(name)
    return file.read_text("utf-8") if file.is_file() else ""


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
