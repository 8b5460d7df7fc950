"""The JSON Schema of plans, for completion and validation in TOML editors."""

from typing import Any

from ckpttool.lineage.derivation import AS, ON
from ckpttool.plans.kinds import KINDS
from ckpttool.plans.script import LOOP
from ckpttool.surgery.edits import EDITS
from ckpttool.surgery.merge import HOWS

TEXT = {"type": "string"}
COMMON = {
    ON: {**TEXT, "description": "The checkpoint that the step works on; without it, the result of the step before."},
    AS: {**TEXT, "description": "The name of the result; without it, the result replaces the step's input."},
    LOOP: {**TEXT, "description": "A pattern such as layer_{i}: the step is repeated for each of its matches."},
}
"""The keys of any step."""
VARIABLE = r"^\{[A-Za-z_][A-Za-z0-9_]*\}$"
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array"}


def schema() -> dict[str, Any]:
    """Return the schema (JSON Schema, draft 2020-12).

    >>> edit = schema()["properties"]["step"]["items"]["anyOf"][0]
    >>> edit["properties"]["drop-slots"]["description"]
    "Drop the optimizer's slots; step counters are kept."
    """
    names: dict[str, Any] = {"type": "array", "items": TEXT}
    hashed = {**TEXT, "description": "The SHA-256 of the file, if the plan is for that file only."}
    source = {"type": "object", "properties": {"path": TEXT, "sha256": hashed}, "additionalProperties": False}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan for ckpttool apply",
        "type": "object",
        "required": ["step"],
        "additionalProperties": False,
        "properties": {
            "sources": {"anyOf": [names, {"type": "object", "additionalProperties": {"anyOf": [TEXT, source]}}]},
            "variables": {"type": "object", "additionalProperties": {"type": ["string", "integer", "number"]}},
            "step": {"type": "array", "minItems": 1, "items": {"anyOf": [*map(_step, KINDS)]}},
        },
    }


def _value(types: tuple[type, ...]) -> dict[str, Any]:
    """Return the schema of a value; a value that is neither text nor list may also be a variable in braces."""
    named = [_TYPES[each] for each in types]
    return {"type": named} if str in types or list in types else {"type": [*named, "string"], "pattern": VARIABLE}


def _step(name: str) -> dict[str, Any]:
    """Return the schema of a kind of step: a table with its key, or with exactly one key of an edit."""
    kind = KINDS[name]
    properties = {key: _value(types) for key, types in kind.keys.items()}
    chosen: dict[str, Any] = {"required": [name]}
    if name == "edit":
        edits = {key: edit for each, edit in EDITS.items() for key in (each, each.replace("-", "_"))}
        for key, edit in edits.items():
            properties[key]["description"] = f"{edit.help()} {edit.notation}".strip()
        chosen = {"oneOf": [{"required": [key]} for key in edits]}
    if "how" in properties:
        properties["how"]["enum"] = list(HOWS)
    about = (kind.__doc__ or "").partition("\n")[0]
    return {
        "type": "object",
        "description": about,
        "properties": {**properties, **COMMON},
        "additionalProperties": False,
        **chosen,
    }
