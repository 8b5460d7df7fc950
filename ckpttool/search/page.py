"""A search as a page for a browser: one file that needs nothing else, and no network."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpttool.core import page as pages
from ckpttool.core.shown_text import as_html
from ckpttool.search.chart import chart


def page(facts: Mapping[str, Any]) -> str:
    """Return the page of a search, of what its JSON has."""
    recommended = facts["recommended"]
    configurations = [
        {
            **each,
            "recommended": recommended is not None and _key(each) == _key(recommended),
            "tied": _key(each) in {_key(other) for other in facts["tied"]},
            "stopped": each["state"] != "done",
        }
        for each in facts["configurations"]
    ]
    return pages.page(
        "ckpttool.search",
        f"How much of {facts['model']} to reuse",
        answer="".join(f"<p>{as_html(line)}</p>" for line in facts["answer"]),
        chart=chart(configurations, facts["scores"]),
        rows="\n".join(_rows(configurations)),
        classes=_classes(facts["classes"]),
        curve=_curve(facts["curve"]),
        depths="".join(
            f"<tr><td class=number>{each['depth']}</td><td>{as_html(each['layers'])}</td></tr>"
            for each in facts["depths"]
        ),
        design=as_html(facts["design"]),
    )


def _key(each: Mapping[str, Any]) -> tuple[int, int]:
    return each["keep"], each["freeze"]


def _rows(configurations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a row for each configuration, the best first, with the commands that make it."""
    for each in sorted(configurations, key=lambda each: -(each["accuracy"] or 0)):
        badges = [name for name in ("recommended", "tied", "stopped") if each[name]]
        badges = ["recommended"] if each["recommended"] else badges
        interval = "" if each["accuracy"] is None else f"{each['low']:.1%} to {each['high']:.1%}"
        accuracy = "" if each["accuracy"] is None else f"{each['accuracy']:.1%}"
        behind = "" if each["behind"] is None else f"{100 * each['behind']:+.1f} points"
        commands = "\n".join(map(as_html, each["commands"]))
        copy = f'<button type="button" data-copy="{commands}">copy commands</button>' if each["commands"] else ""
        kept = str(each["keep"]) if each["keep"] else "scratch"
        numbers = [kept, each["freeze"], each["keep"] - each["freeze"] if each["keep"] else "all", accuracy]
        marks = "".join(f"<span class=badge>{badge}</span> " for badge in badges)
        cells = [
            *map(_number, numbers),
            _cell(interval),
            *map(_number, (behind, each["blocks"], f"{each['seconds']:.1f}")),
        ]
        yield _row(*cells, f"<td>{marks}{copy}</td>", key=f"row-{each['keep']}-{each['freeze']}")


def _row(*cells: str, key: str = "") -> str:
    return f"<tr{f' id={key}' if key else ''}>{''.join(cells)}</tr>"


def _cell(value: Any) -> str:
    return f"<td>{as_html(str(value))}</td>"


def _number(value: Any) -> str:
    return f"<td class=number>{as_html(str(value))}</td>"


def _classes(classes: Sequence[Mapping[str, Any]]) -> str:
    """Return how well each class is recognised: as recommended, and from scratch."""
    if not classes:
        return ""
    heads = [name for name in classes[0] if name not in ("class", "rows")]
    head = "".join(f"<th>{as_html(name)}</th>" for name in heads)
    lines = [
        _row(_cell(each["class"]), _number(each["rows"]), *(_bar(each[name]) for name in heads)) for each in classes
    ]
    return (
        "<h2>Classes</h2><div class=wide><table><thead><tr><th>class</th><th class=number>rows</th>"
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _bar(share: float | None) -> str:
    if share is None:
        return "<td></td>"
    return f'<td class="bar"><i style="width:{share:.1%}"></i><span>{share:.1%}</span></td>'


def _curve(curve: Sequence[Mapping[str, Any]]) -> str:
    """Return what is recommended for less and for more rows."""
    if not curve:
        return ""
    lines = [
        _row(
            _number(each["rows"]),
            _cell(each["recommended"]),
            _number(f"{each['accuracy']:.1%}"),
            _cell(f"{each['low']:.1%} to {each['high']:.1%}"),
        )
        for each in curve
    ]
    return (
        "<h2>With fewer rows, and with more</h2><div class=wide><table><thead><tr><th class=number>rows</th>"
        "<th>recommended</th><th class=number>accuracy</th><th>95 % interval</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
