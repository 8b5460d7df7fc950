"""Pages for a browser: one file each that needs nothing else, and no network, under a head that all of them share."""

from importlib import resources
from string import Template

from ckpttool.core.shown_text import as_html


def page(package: str, title: str, **parts: str) -> str:
    """Return the page that the template `page.html` of a package is of parts, which are HTML; the title is text."""
    title = as_html(title)
    head = _template("ckpttool.core", "page_head.html").substitute(title=title)
    return _template(package, "page.html").substitute(parts, head=head, title=title)


def _template(package: str, name: str) -> Template:
    return Template(resources.files(package).joinpath(name).read_text("utf-8"))
