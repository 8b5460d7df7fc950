"""A search as a self-contained HTML page, which loads nothing from the network."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpttool.core.pages import page as pages
from ckpttool.core.pages.elements import badge, bar_cell, cell, copy_button, plain_table, row
from ckpttool.core.shown_text import as_html
from ckpttool.searching.chart import chart

BADGES = {"recommended": ("recommended", "good"), "tied": ("tied", "good"), "stopped": ("given up", "")}
"""The text and kind of the badge for each property of a configuration."""


def page(facts: Mapping[str, Any]) -> str:
    """Return the page of a search, from its JSON."""
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
        "ckpttool.searching",
        f"How much of {facts['model']} to reuse",
        answer="".join(f"<p>{as_html(line)}</p>" for line in facts["answer"]),
        chart=chart(configurations, facts["scores"]),
        rows="\n".join(_rows(configurations)),
        classes=_classes(facts["classes"]),
        curve=_curve(facts["curve"]),
        depths="".join(row(_number(each["depth"]), cell(each["layers"])) for each in facts["depths"]),
        design=as_html(facts["design"]),
    )


def _key(each: Mapping[str, Any]) -> tuple[int, int]:
    return each["keep"], each["freeze"]


def _rows(configurations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a row for each configuration, the best first, with the commands that reproduce it."""
    for each in sorted(configurations, key=lambda each: -(each["accuracy"] or 0)):
        badges = [name for name in BADGES if each[name]]
        badges = ["recommended"] if each["recommended"] else badges
        interval = "" if each["accuracy"] is None else f"{each['low']:.1%} to {each['high']:.1%}"
        accuracy = "" if each["accuracy"] is None else f"{each['accuracy']:.1%}"
        behind = "" if each["behind"] is None else f"{100 * each['behind']:+.1f} points"
        copy = copy_button("copy commands", "\n".join(each["commands"])) if each["commands"] else ""
        kept = str(each["keep"]) if each["keep"] else "scratch"
        numbers = [kept, each["freeze"], each["keep"] - each["freeze"] if each["keep"] else "all", accuracy]
        marks = "".join(f"{badge(*BADGES[name])} " for name in badges)
        cells = [
            *map(_number, numbers),
            cell(interval),
            *map(_number, (behind, each["blocks"], f"{each['seconds']:.1f}")),
        ]
        yield row(*cells, f"<td>{marks}{copy}</td>", key=f"row-{each['keep']}-{each['freeze']}")


def _number(value: Any) -> str:
    return cell(value, "number")


def _classes(classes: Sequence[Mapping[str, Any]]) -> str:
    """Return the accuracy of each class, of the recommended configuration and from scratch, as HTML."""
    if not classes:
        return ""
    heads = [name for name in classes[0] if name not in ("class", "rows") and any(each[name] for each in classes)]
    lines = [
        row(cell(each["class"]), _number(each["rows"]), *(bar_cell(each[name]) for name in heads)) for each in classes
    ]
    return f"<h2>Classes</h2>{plain_table(['class', 'rows', *heads], lines, ['rows'])}"


def _curve(curve: Sequence[Mapping[str, Any]]) -> str:
    """Return the recommendations for fewer and more rows, as HTML."""
    if not curve:
        return ""
    lines = [
        row(
            _number(each["rows"]),
            cell(each["recommended"]),
            _number(f"{each['accuracy']:.1%}"),
            cell(f"{each['low']:.1%} to {each['high']:.1%}"),
        )
        for each in curve
    ]
    heads = ["rows", "recommended", "accuracy", "95 % interval"]
    return f"<h2>With fewer rows, and with more</h2>{plain_table(heads, lines, ['rows', 'accuracy'])}"
