"""The page that lists a catalogue: a card for each entry, with search, filters such as tags, and sorting."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.counts import counted, human_size
from ckpttool.core.pages import page as pages
from ckpttool.core.pages.elements import badge, copy_button
from ckpttool.core.shown_text import as_html
from ckpttool.zoo.index_file import listed
from ckpttool.zoo.kinship import Kinship

FACETS = {"tag": "tags", "task": "task", "licence": "license", "family": "family"}
"""The filters for entries, with their keys in a row of the index."""
MOST_METRICS = 20
"""The maximum number of metrics for sorting, the most common ones."""
ANY = ""


@dataclass(frozen=True)
class Listed:
    """A listed revision: its facts, the tags that refer to it, and related revisions."""

    manifest: Manifest
    named: Sequence[str]
    kinship: Kinship

    @property
    def row(self) -> Mapping[str, Any]:
        """Its row in the index; the tags are those that refer to it, and those of its card."""
        row = listed(self.manifest)
        return {**row, "tags": list(dict.fromkeys([*self.named, *map(str, row["tags"])]))}


def page_name(name: str, revision: int) -> str:
    """Return the file name of a revision's page, relative to that of the listing."""
    return f"entries/{name}@{revision}.html"


def page(entries: Sequence[Listed], problems: Sequence[str]) -> str:
    """Return the page of all entries; `problems` are manifests that cannot be read."""
    rows = [(each, each.row) for each in entries]
    parameters = sum(each.manifest.parameters for each in entries)
    return pages.page(
        "ckpttool.zoo.site",
        "Models",
        summary=f"{counted(len(entries), 'entry', 'entries')}, {_grouped(parameters)} parameters",
        problems="".join(f'<p class="problem">{as_html(each)}</p>' for each in problems),
        choices="".join(_choice(facet, [row[key] for _, row in rows]) for facet, key in FACETS.items()),
        orders="".join(_orders([row for _, row in rows])),
        cards="\n".join(_card(each, row) for each, row in rows),
    )


def _choice(facet: str, values: Iterable[Any]) -> str:
    """Return a selection list for the values of a facet, with their numbers of entries."""
    counts = Counter(
        value for each in values for value in {*map(str, each if isinstance(each, list) else [each or ""])}
    )
    options = "".join(
        f'<option value="{as_html(value)}">{as_html(value)} ({count})</option>'
        for value, count in sorted(counts.items())
        if value
    )
    return (
        f'<label>{facet}<select data-facet="{facet}"><option value="{ANY}">any</option>{options}</select></label>'
        if options
        else ""
    )


def _orders(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    plain = {"name": "name", "-created": "newest", "-parameters": "most parameters", "parameters": "fewest parameters"}
    yield from (f'<option value="{key}">{text}</option>' for key, text in plain.items())
    counts = Counter(str(name) for row in rows for name in row["metrics"])
    for name, _ in counts.most_common(MOST_METRICS):
        yield f'<option value="-metric {as_html(name)}">highest {as_html(name)}</option>'
        yield f'<option value="metric {as_html(name)}">lowest {as_html(name)}</option>'


def _card(entry: Listed, row: Mapping[str, Any]) -> str:
    """Return the card of an entry, with attributes for search and sorting."""
    own = entry.manifest
    facets = {facet: row[key] if isinstance(row[key], list) else [row[key] or ""] for facet, key in FACETS.items()}
    data = {facet: "\n".join(map(str, values)) for facet, values in facets.items()}
    data |= {"name": own.name, "created": own.created, "parameters": str(own.parameters)}
    data |= {"metrics": "\n".join(f"{name}\t{value}" for name, value in row["metrics"].items() if _is_number(value))}
    data |= {
        "words": " ".join([own.name, *(word for values in facets.values() for word in map(str, values)), *_words(row)])
    }
    attributes = "".join(f' data-{key}="{_attribute(value)}"' for key, value in data.items())
    marks = [badge(own.family), *(badge(str(row[key])) for key in ("task", "license") if row[key])]
    marks += [badge(str(tag), "still") for tag in row["tags"]]
    size = f"{_grouped(own.parameters)} parameters in {counted(len(own.layers), 'layer')}, {human_size(own.nbytes)}"
    figures = ", ".join(f"{name} {value:.6g}" for name, value in row["metrics"].items() if _is_number(value))
    kin = next((line for line in entry.kinship.lines() if entry.kinship.kin), "")
    lines = [size, figures, kin, f"added {own.created}"]
    return (
        f'<li class="card"{attributes}><h2><a href="{page_name(own.name, own.revision)}">{as_html(own.name)}</a>'
        f'<span class="soft">@{own.revision}</span></h2><p class="marks">{" ".join(marks)}</p>'
        f"{''.join(f'<p>{as_html(line)}</p>' for line in lines if line)}"
        f"{copy_button('copy zoo:' + own.name, 'zoo:' + own.name)}</li>"
    )


def _words(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield additional search words for an entry."""
    bases = row["base_model"]
    for value in (row["datasets"], row["library"], bases if isinstance(bases, list) else [bases]):
        yield from (str(each) for each in (value if isinstance(value, list) else [value]) if each)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _grouped(number: int) -> str:
    return f"{number:,}"


def _attribute(value: str) -> str:
    """Return an attribute's text, in which line breaks and tabs are preserved."""
    return "\n".join("\t".join(map(as_html, line.split("\t"))) for line in value.split("\n"))
