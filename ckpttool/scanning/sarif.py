"""SARIF 2.1.0, the format in which code hosts display scanner results (docs.oasis-open.org/sarif/sarif/v2.1.0)."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import ckpttool
from ckpttool.core.shown_text import visible
from ckpttool.scanning.finding import RULES, Finding, Unread

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"high": "error", "medium": "warning", "low": "note"}


def sarif(found: Sequence[Finding], unread: Sequence[Unread]) -> dict[str, Any]:
    """Return a SARIF log with one run: a rule per kind of finding, and a result per finding."""
    kinds = sorted({each.kind for each in found})
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "ckpttool",
                        "version": ckpttool.__version__,
                        "rules": [{"id": kind, "shortDescription": {"text": RULES[kind]}} for kind in kinds],
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": not unread,
                        "toolExecutionNotifications": [
                            {
                                "level": "error",
                                "message": {"text": visible(each.problem)},
                                "locations": [_location(str(each.file))],
                            }
                            for each in unread
                        ],
                    }
                ],
                "results": [_result(each, kinds.index(each.kind)) for each in found],
            }
        ],
    }


def _result(found: Finding, rule: int) -> dict[str, Any]:
    place = f"{found.where}: {found.what}" if found.where else found.what
    return {
        "ruleId": found.kind,
        "ruleIndex": rule,
        "level": _LEVELS[found.severity],
        "message": {"text": visible(f"{place}: {found.reason}. {found.helps}.")},
        "locations": [{**_location(str(found.file)), "logicalLocations": [{"fullyQualifiedName": visible(place)}]}],
    }


def _location(path: str) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": quote(path.encode("utf-8", "surrogateescape"))}}}
