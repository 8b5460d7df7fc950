"""Elements of pages: cells and rows of tables, badges, copy buttons. They take texts and return escaped HTML."""

from collections.abc import Iterable, Sequence
from math import isfinite

from ckpttool.core.shown_text import as_html


def cell(value: object, kind: str = "") -> str:
    """Return a cell with a text; `kind` is its CSS class.

    >>> cell("<b>"), cell(12, "number")
    ('<td>&lt;b&gt;</td>', '<td class="number">12</td>')
    """
    return f"<td{_class(kind)}>{as_html(str(value))}</td>"


def name_cell(name: str) -> str:
    """Return a cell with a name from a file."""
    return f'<td class="name"><code>{as_html(name)}</code></td>'


def figure_cell(value: float | None, shown: str | None = None) -> str:
    """Return a cell with a formatted number, and the exact number for sorting.

    >>> figure_cell(0.123456789), figure_cell(None)
    ('<td class="number" data-value="0.123456789">0.1235</td>', '<td class="number"></td>')
    """
    if value is None:
        return '<td class="number"></td>'
    exact = repr(value).replace("inf", "Infinity")  # in JavaScript's notation
    return f'<td class="number" data-value="{exact}">{as_html(figure(value) if shown is None else shown)}</td>'


def figure(value: float) -> str:
    """Return a number with four significant digits.

    >>> figure(0.00012345), figure(25450), figure(float("inf")), figure(1234567.8)
    ('0.0001234', '25450', '∞', '1.235e+06')
    """
    if isinstance(value, int):
        return f"{value}"
    return f"{value:.4g}" if isfinite(value) else str(value).replace("inf", "∞").replace("nan", "NaN")


def row(*cells: str, kind: str = "", key: str = "") -> str:
    """Return a row of cells; `key` is its id on the page."""
    return f"<tr{f' id={_quoted(key)}' if key else ''}{_class(kind)}>{''.join(cells)}</tr>"


def table(identity: str, heads: Sequence[str], rows: Iterable[str], numbers: Iterable[str] = ()) -> str:
    """Return a table that is sorted by a click on a column head, with a field to search for names.

    Args:
        identity: Its id on the page.
        heads: The head of each column; the first column has the names.
        rows: The rows as HTML.
        numbers: The heads of columns of numbers.
    """
    right = set(numbers)
    titles = "".join(
        f'<th{_class("number" * (head in right))}><button type="button">{as_html(head)}</button></th>' for head in heads
    )
    body = "\n".join(rows)
    return (
        f'<input type="search" data-rows={_quoted(identity)} placeholder="find a name" '
        f'aria-label="find a name in {as_html(identity)}"><div class="wide"><table class="sortable" '
        f"id={_quoted(identity)}><thead><tr>{titles}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def plain_table(heads: Sequence[str], rows: Iterable[str], numbers: Iterable[str] = (), identity: str = "") -> str:
    """Return a static table."""
    right = set(numbers)
    titles = "".join(f"<th{_class('number' * (head in right))}>{as_html(head)}</th>" for head in heads)
    own, body = f" id={_quoted(identity)}" if identity else "", "\n".join(rows)
    return f'<div class="wide"><table{own}><thead><tr>{titles}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def bar_cell(share: float | None) -> str:
    """Return a cell with a fraction as a percentage and a bar.

    >>> bar_cell(0.5)
    '<td class="bar"><i style="width:50.0%"></i><span>50.0%</span></td>'
    """
    if share is None:
        return "<td></td>"
    return f'<td class="bar"><i style="width:{share:.1%}"></i><span>{share:.1%}</span></td>'


def badge(text: str, kind: str = "") -> str:
    """Return a highlighted word; `kind` is one of still, moved, bad, good."""
    return f'<span class="badge{f" {kind}" if kind else ""}">{as_html(text)}</span>'


def copy_button(label: str, copied: str) -> str:
    r"""Return a button that copies a text, including its line breaks.

    >>> copy_button("copy", "a\n'b'")
    '<button type="button" data-copy="a\n&#x27;b&#x27;">copy</button>'
    """
    lines = "\n".join(map(as_html, copied.split("\n")))
    return f'<button type="button" data-copy="{lines}">{as_html(label)}</button>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _quoted(text: str) -> str:
    return f'"{as_html(text)}"'
