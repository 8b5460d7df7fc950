"""Drawings of a report: the data flow through layers, folded until all fits, and the lineage of a model."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath

from ckpttool.core.counts import short_count
from ckpttool.core.names import scopes_above
from ckpttool.core.pages.drawing import Box, drawing
from ckpttool.reporting.facts import Facts, Row

MOST = 40
"""The largest number of boxes for which layers are drawn; for more layers, their scopes are."""
MOST_AT_ROOT = 400
"""The largest number of boxes in a drawing of top-level scopes."""
OUTPUTS = ("o", "output")
"""The options by which a command line names its outputs."""


def flow(facts: Facts, keys: Mapping[str, str]) -> str:
    """Return the drawing of the data flow as SVG; '' if it is unknown or too large.

    Args:
        facts: The model.
        keys: The element ids of layers on the page.
    """
    names = {layer["name"] for layer in facts.layers}
    every = dict.fromkeys([*(each for pair in facts.links.items() for each in (*pair[1], pair[0])), *names])
    depth = _depth(facts)
    inside: dict[str, list[Row]] = {}
    for layer in facts.layers:
        inside.setdefault(_folded(layer["name"], depth), []).append(layer)
    boxes: dict[str, Box] = {}
    for name in every if facts.links else ():
        is_input = name not in names and not facts.links.get(name)
        box = Box(name, "input", kind="file") if is_input else _box(facts, _folded(name, depth), inside, keys)
        boxes.setdefault(name if is_input else box.text, box)
    lines = [(_folded(one, depth), _folded(name, depth)) for name, sources in facts.links.items() for one in sources]
    known = [(one, other) for one, other in lines if one != other and one in boxes and other in boxes]
    return drawing(boxes, known, "Data flow through the layers") if 1 < len(boxes) <= MOST_AT_ROOT else ""


def _depth(facts: Facts) -> int:
    """Return the level of scopes to draw: the deepest that fits; 1 if nested models are linked as layers."""
    names = [layer["name"] for layer in facts.layers]
    if (facts.links.keys() - set(names)) & {scope for name in names for scope in scopes_above(name)[:-1]}:
        return 1  # a nested Keras model is linked as one layer
    depth = max((len(scopes_above(name)) for name in names), default=1)
    while depth > 1 and len({_folded(name, depth) for name in names}) > MOST:
        depth -= 1
    return depth


def _folded(name: str, depth: int) -> str:
    scopes = scopes_above(name)
    return scopes[min(depth, len(scopes)) - 1]


def _box(facts: Facts, scope: str, layers: Mapping[str, Sequence[Row]], keys: Mapping[str, str]) -> Box:
    inside = layers.get(scope, ())
    variables = [name for layer in inside for name in layer["variables"]]
    known = {facts.trained[name] for name in variables if name in facts.trained}
    said = "" if len(known) != 1 else "trained" if True in known else "frozen"
    count = short_count(sum(layer["parameters"] for layer in inside)) if inside else ""
    kind = {"frozen": "still"}.get(said, "")
    target = keys.get(inside[0]["name"], "") if inside else ""
    return Box(scope, ", ".join(filter(None, [count, said])), f"{scope}: {count or 'no'} parameters", kind, target)


def lineage(facts: Facts) -> str:
    """Return the drawing of a model's lineage as SVG; '' if it has none."""
    records = facts.lineage.get("records") or []
    if not records:
        return ""
    boxes: dict[str, Box] = {}
    lines: list[tuple[str, str]] = []
    made: dict[str, str] = {}
    for number, record in enumerate(records):
        for source in record["sources"]:
            name = PurePath(source["path"]).name
            maker = next((made[each] for each in made if f"{name}.".startswith(f"{each}.")), None)
            if maker is None:
                key = f"{source['hash']} {name}"
                state = source.get("now", "")
                boxes[key] = Box(name, state if state != "unchanged" else source["format"], source["path"], "file")
                lines.append((key, f"{number}"))
            else:
                lines.append((maker, f"{number}"))
        text = " ".join(["ckpttool", record["command"], *record["arguments"]])
        boxes[f"{number}"] = Box(record["command"], record["date"][:16].replace("T", " "), text)
        made |= dict.fromkeys(_written(record["arguments"]), f"{number}")
    boxes["model"] = Box(facts.path.name, "this model", str(facts.path), "moved")
    led = {one for one, _ in lines}
    lines += [(key, "model") for key in boxes if key.isdigit() and key not in led]
    return drawing(boxes, lines, "History")


def _written(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the names of a command's outputs, from its arguments."""
    for option, value in pairwise(arguments):
        if option.startswith("-") and option.lstrip("-") in OUTPUTS:
            yield PurePath(value).name
