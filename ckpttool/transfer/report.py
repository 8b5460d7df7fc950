"""The run report, `OUT.run.json`: enough to know what a run did and to run it again."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ckpttool
from ckpttool.formats.files import replacing


def report_path(output: str | Path) -> Path:
    """Return where the report of a model lies: beside it."""
    return Path(f"{output}.run.json")


def write_report(output: str | Path, report: Mapping[str, Any]) -> None:
    """Write a report beside a model, with the versions of what made it."""
    text = json.dumps({**report, "versions": versions()}, indent=2, default=str)
    with replacing(report_path(output)) as file:
        file.write(text.encode() + b"\n")


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    found = {"ckpttool": ckpttool.__version__, "python": platform.python_version()}
    for package in ("numpy", "tensorflow", "tensorflow-cpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
