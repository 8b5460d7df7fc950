"""The JSON Schema of plans, by which editors of TOML complete and check them."""

from typing import Any

from ckpttool.lineage.deeds import AS, ON
from ckpttool.surgery.edits import EDITS
from ckpttool.surgery.merge import HOWS
from ckpttool.surgery.plans.kinds import KINDS
from ckpttool.surgery.plans.script import LOOP

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array"}


def schema() -> dict[str, Any]:
    """Return the schema (JSON Schema, draft 2020-12).

    >>> schema()["properties"]["step"]["items"]["properties"]["drop-slots"]["description"]
    "Leave out the optimizer's slots; step counters stay."
    """
    properties: dict[str, Any] = {}
    for kind in KINDS.values():
        for key, types in kind.keys.items():
            properties[key] = {"type": [_TYPES[each] for each in types]}
    for name, edit in EDITS.items():
        for key in {name, name.replace("-", "_")}:
            properties[key]["description"] = f"{edit.help()} {edit.notation}".strip()
    properties["how"]["enum"] = list(HOWS)
    properties |= {
        ON: {"type": "string", "description": "The checkpoint that the step works on; else that of the step before."},
        AS: {"type": "string", "description": "What the result is called; else it takes the place of what it is of."},
        LOOP: {
            "type": "string",
            "description": "A pattern such as layer_{i}: the step is done for each of its matches.",
        },
    }
    step = {"type": "object", "properties": properties, "additionalProperties": False}
    text = {"type": "string"}
    source = {
        "type": "object",
        "properties": {"path": text, "sha256": {**text, "description": "Of the file that the plan is for alone."}},
        "additionalProperties": False,
    }
    names: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan for ckpttool apply",
        "type": "object",
        "required": ["step"],
        "additionalProperties": False,
        "properties": {
            "sources": {"anyOf": [names, {"type": "object", "additionalProperties": {"anyOf": [text, source]}}]},
            "variables": {"type": "object", "additionalProperties": {"type": ["string", "integer", "number"]}},
            "step": {"type": "array", "minItems": 1, "items": step},
        },
    }
