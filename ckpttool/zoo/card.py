"""The card of a model: what its user says of it, in the fields that a card of Hugging Face has, so both are one.

A card is a text in Markdown with a head in YAML between two lines of `---`. There the values of metrics stand in
`model-index`; here they are rows, `{"name", "value"}`, and the text is the field `text`.
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
from ckpttool.core.shown_text import visible
from ckpttool.zoo.licences import licence_fields
from ckpttool.zoo.tasks import require_task

LONGEST = 1 << 20
"""Bytes of a card."""
_FENCE = "---"
_OWN = ("metrics", "text", "model-index")
_UNKNOWN = "unknown"
"""What stands in a result where nobody said of which data it is: the Hub wants a name."""


@dataclass(frozen=True)
class Said:
    """What is said of a model beside its card's file; where both say something, this counts."""

    licence: str | None = None
    metrics: Sequence[str] = ()
    task: str | None = None
    tags: Sequence[str] = ()
    datasets: Sequence[str] = ()
    base_model: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a card that this is.

        Raises:
            CkptError: the licence is not an expression of SPDX, the Hub knows no such task, or a metric has no number.
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
    """Return a model's card: what its file says, and over that what is said besides.

    Raises:
        CkptError: something is not as a card has it.
        FormatError: the file is not a text, or its head cannot be read.
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
    """Return a metric of its text.

    >>> metric("accuracy=0.97")
    {'name': 'accuracy', 'value': 0.97}

    Raises:
        CkptError: it is none.
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
    r"""Read a card: the fields of its head, and the text below it.

    >>> parsed("---\nlicense: mit\n---\n# Digits\n", "card.md")
    {'license': 'mit', 'text': '# Digits\n'}

    Raises:
        FormatError: its head has no end, or is more than the part of YAML that is read; it says where.
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
    """Return a card's head and the text below it."""
    if text.split("\n", 1)[0].rstrip() != _FENCE:
        return "", text
    lines = text.split("\n")
    end = next((place for place, line in enumerate(lines[1:], start=1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise FormatError(f"{where}: its header begins with a line {_FENCE}, but has no such line at its end")
    return "\n".join(lines[1:end]), "\n".join(lines[end + 1 :]).lstrip("\n")


def _fields(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a head as they are kept here."""
    kept = {key: value for key, value in head.items() if key not in _OWN and value not in (None, [], {})}
    for key in CARD_LISTS:  # where one text stands for a list of one
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
    """Yield the metrics of a `model-index` that are numbers."""
    for model in _rows(index):
        for result in _rows(model.get("results") if isinstance(model, Mapping) else None):
            for each in _rows(result.get("metrics") if isinstance(result, Mapping) else None):
                if isinstance(each, Mapping) and is_measure(each.get("value")):
                    yield {"name": str(each.get("type") or each.get("name")), "value": each["value"]}


def _rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def readme(manifest: Manifest) -> str:
    """Return the card of an entry as the Hub has it: `README.md`."""
    return card_text(manifest.name, manifest.card)


def card_text(name: str, card: Row) -> str:
    """Return the card of a model of some name as the Hub has it; its `text` stands below the head."""
    head = {key: value for key, value in card.items() if key not in _OWN and value not in (None, [], {})}
    names = [each["name"] for each in card.get("metrics") or ()]
    head |= {"metrics": names} if names else {}
    head |= {"model-index": index} if (index := list(_index(name, card))) else {}
    top = f"{_FENCE}\n{yaml_text.dumps(head)}{_FENCE}\n" if head else ""
    return f"{top}\n{card.get('text') or f'# {name}'}".rstrip("\n") + "\n"


def with_text(manifest: Manifest, name: str | None = None, address: str | None = None) -> Manifest:
    """Return a manifest whose card has a text: what is known of the model, where its user said nothing.

    `name` is what the model is called where the card will be, `address` where that is.
    """
    if manifest.card.get("text"):
        return manifest
    rows = [
        f"| {_cell(each.get('name'))} | {_cell(each.get('kind'))} | {each.get('parameters')} |"
        for each in manifest.layers
    ]
    lines = [
        f"# {name or manifest.name}",
        f"{counted(manifest.parameters, 'parameter')} in {counted(len(manifest.layers), 'layer')}.",
        *([f"Preprocessing: `{manifest.preprocess}`."] if manifest.preprocess else []),
        *([f"Classes: {', '.join(map(str, manifest.classes))}."] if manifest.classes else []),
        "\n".join(["| layer | kind | parameters |", "| --- | --- | --- |", *rows]),
        *([f"`ckpttool zoo pull {address}` copies it to your own catalogue."] if address else []),
    ]
    return replace(manifest, card={**manifest.card, "text": "\n\n".join(lines)})


def _cell(value: Any) -> str:
    """Return a text in a table of Markdown, which has no lines and no bars of its own."""
    return visible(str(value or "")).replace("|", "\\|")


def _index(name: str, card: Row) -> Iterator[dict[str, Any]]:
    """Yield what `model-index` holds: what the card's file had, and a result for the metrics that it lacks."""
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
    """Yield what a card says for people, its text aside."""
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
