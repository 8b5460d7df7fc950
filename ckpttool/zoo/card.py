"""Model cards, with the same fields as those of Hugging Face.

A card is Markdown with YAML front matter between two lines of `---`. In a file, metrics are in `model-index`; in a
manifest they are rows, `{"name", "value"}`, and the Markdown is the field `text`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckpttool.catalogue.manifest import CARD_LISTS, CARD_TEXTS, Manifest, Row, is_measure
from ckpttool.core import plain_files, yaml_text
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, FormatError
from ckpttool.core.shown_text import as_markdown, visible
from ckpttool.zoo.licences import licence_fields
from ckpttool.zoo.tasks import require_task

LONGEST = 1 << 20
"""The maximum size of a card in bytes."""
_FENCE = "---"
_OWN = ("metrics", "text", "model-index")
_UNKNOWN = "unknown"
"""The dataset name of metrics without one, since the Hub requires a name."""


@dataclass(frozen=True)
class Said:
    """Information about a model given as options; it takes precedence over the card's file."""

    licence: str | None = None
    metrics: Sequence[str] = ()
    task: str | None = None
    tags: Sequence[str] = ()
    datasets: Sequence[str] = ()
    base_model: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a card.

        Raises:
            CkptError: the licence is not an SPDX expression, the Hub has no such task, or a metric is not a number.
        """
        found = {
            **(licence_fields(self.licence) if self.licence else {}),
            "pipeline_tag": require_task(self.task) if self.task else None,
            "tags": list(self.tags),
            "datasets": list(self.datasets),
            "base_model": self.base_model,
            "metrics": [metric(text) for text in self.metrics],
        }
        return {key: value for key, value in found.items() if value}


def card_of(said: Said, file: Path | None = None, library: str | None = None) -> dict[str, Any]:
    """Return a model's card: the fields of its file, overridden by the options.

    Raises:
        CkptError: a value is invalid.
        FormatError: the file is not text, or its front matter cannot be parsed.
    """
    read = parsed(_text(file), str(file)) if file else {}
    for key in CARD_TEXTS:
        if not isinstance(read.get(key, ""), str):
            raise FormatError(f"{file}: {key} is {read[key]!r:.80}, which is not text: write it in quotes")
    card = {"library_name": library, **read, **said.fields()}
    for key in ("tags", "datasets"):
        card[key] = list(dict.fromkeys([*read.get(key, ()), *said.fields().get(key, ())]))
    named = {each["name"]: each for each in [*read.get("metrics", ()), *card.get("metrics", ())]}
    return {**card, "metrics": list(named.values())}


def metric(text: str) -> dict[str, Any]:
    """Parse a metric.

    >>> metric("accuracy=0.97")
    {'name': 'accuracy', 'value': 0.97}

    Raises:
        CkptError: it has another form, or the value is not finite.
    """
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name.strip() or not math.isfinite(value):
        raise CkptError(f"`metrics`: {text!r} is not a metric: specify NAME=NUMBER, such as accuracy=0.97")
    return {"name": name.strip(), "value": value}


def parsed(text: str, where: str) -> dict[str, Any]:
    r"""Parse a card into the fields of its front matter and the Markdown below.

    >>> parsed("---\nlicense: mit\n---\n# Digits\n", "card.md")
    {'license': 'mit', 'text': '# Digits\n'}

    Raises:
        FormatError: the front matter does not end, or uses YAML features beyond the supported subset.
    """
    head, body = _parts(text.removeprefix("\ufeff").replace("\r\n", "\n"), where)
    try:
        fields = yaml_text.loads(head)
        if not isinstance(fields, dict):
            raise ValueError("it is not a list of `key: value`")
        return {**_fields(fields), **({"text": body} if body.strip() else {})}
    except ValueError as error:
        raise FormatError(f"{where}: the header between the lines {_FENCE}: {error}") from error


def _parts(text: str, where: str) -> tuple[str, str]:
    """Return the front matter of a card and the Markdown below."""
    if text.split("\n", 1)[0].rstrip() != _FENCE:
        return "", text
    lines = text.split("\n")
    end = next((place for place, line in enumerate(lines[1:], start=1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise FormatError(f"{where}: its header begins with a line {_FENCE}, but has no such line at its end")
    return "\n".join(lines[1:end]), "\n".join(lines[end + 1 :]).lstrip("\n")


def _fields(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the front matter in the form of a manifest."""
    kept = {key: value for key, value in head.items() if key not in _OWN and value not in (None, [], {})}
    for key in CARD_LISTS:  # a string may stand for a list of one
        if key in kept:
            kept[key] = list(map(str, kept[key] if isinstance(kept[key], list) else [kept[key]]))
    metrics = {str(name): {"name": str(name), "value": None} for name in _rows(head.get("metrics"))}
    metrics |= {each["name"]: each for each in _measured(head.get("model-index"))}
    if metrics:
        kept["metrics"] = list(metrics.values())
    if head.get("model-index"):
        kept["model-index"] = head["model-index"]
    return kept


def _measured(index: Any) -> Iterator[dict[str, Any]]:
    """Yield the numeric metrics of a `model-index`."""
    for model in _rows(index):
        for result in _rows(model.get("results") if isinstance(model, Mapping) else None):
            for each in _rows(result.get("metrics") if isinstance(result, Mapping) else None):
                if isinstance(each, Mapping) and is_measure(each.get("value")):
                    yield {"name": str(each.get("type") or each.get("name")), "value": each["value"]}


def _rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def readme(manifest: Manifest) -> str:
    """Return the card of an entry as the `README.md` of the Hub."""
    return card_text(manifest.name, manifest.card)


def card_text(name: str, card: Row) -> str:
    """Return a model's card as Markdown with front matter, as on the Hub."""
    head = {key: value for key, value in card.items() if key not in _OWN and value not in (None, [], {})}
    names = [each["name"] for each in card.get("metrics") or ()]
    head |= {"metrics": names} if names else {}
    head |= {"model-index": index} if (index := list(_index(name, card))) else {}
    top = f"{_FENCE}\n{yaml_text.dumps(head)}{_FENCE}\n" if head else ""
    return f"{top}\n{card.get('text') or f'# {name}'}".rstrip("\n") + "\n"


def with_text(manifest: Manifest, name: str | None = None, address: str | None = None) -> Manifest:
    """Return a manifest whose card has a text, generated from the manifest if the user gave none.

    `name` and `address` are the model's name and location at the card's destination.
    """
    if manifest.card.get("text"):
        return manifest
    rows = [
        f"| {_cell(each.get('name'))} | {_cell(each.get('kind'))} | {each.get('parameters')} |"
        for each in manifest.layers
    ]
    steps, classes = (
        visible(manifest.preprocess or "").replace("`", "'"),
        [as_markdown(str(each)) for each in manifest.classes or ()],
    )
    lines = [
        f"# {as_markdown(name or manifest.name)}",
        f"{counted(manifest.parameters, 'parameter')} in {counted(len(manifest.layers), 'layer')}.",
        *([f"Preprocessing: `{steps}`."] if steps else []),
        *([f"Classes: {', '.join(classes)}."] if manifest.classes else []),
        "\n".join(["| layer | kind | parameters |", "| --- | --- | --- |", *rows]),
        *([f"`ckpttool zoo pull {address}` copies it to your own catalogue."] if address else []),
    ]
    return replace(manifest, card={**manifest.card, "text": "\n\n".join(lines)})


def _cell(value: Any) -> str:
    """Return a string escaped for a cell of a Markdown table."""
    return as_markdown(str(value or ""))


def _index(name: str, card: Row) -> Iterator[dict[str, Any]]:
    """Yield the entries of `model-index`: those of the card's file, and a result with the other metrics."""
    read = _rows(card.get("model-index"))
    had = {each["name"]: each["value"] for each in _measured(read)}
    yield from read
    new = [each for each in card.get("metrics") or () if each["value"] is not None]
    new = [each for each in new if had.get(each["name"]) != each["value"]]
    if new:
        data = next(iter(card.get("datasets") or ()), _UNKNOWN)
        rows = [{"type": each["name"], "value": each["value"]} for each in new]
        task, of = {"type": card.get("pipeline_tag") or "other"}, {"name": data, "type": data}
        yield {"name": name, "results": [{"task": task, "dataset": of, "metrics": rows}]}


def card_lines(card: Row) -> Iterable[str]:
    """Yield lines for display with the fields of a card other than its text."""
    for key, value in card.items():
        if key == "license_name" or value in (None, [], {}) or key in ("text", "model-index"):
            continue
        if key == "license" and (name := card.get("license_name")):
            yield f"license: {value} ({name})"
        elif key == "metrics":
            yield f"metrics: {', '.join(_measure(each) for each in value)}"
        else:
            yield f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _measure(each: Row) -> str:
    return str(each["name"]) if each["value"] is None else f"{each['name']} {each['value']:g}"


def _text(file: Path) -> str:
    with plain_files.opened(file) as opened:
        text = opened.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise FormatError(f"{file} has more than {LONGEST} bytes: the limit for a card")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{file} is not a text in UTF-8: {error}") from error
