"""The run report, `OUT.run.json`: enough to know what a run did and to run it again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import FormatError
from ckpttool.formats.writing.files import replacing
from ckpttool.lineage.records import versions


def report_path(output: str | Path) -> Path:
    """Return where the report of a model lies: beside it."""
    return Path(f"{output}.run.json")


def write_report(output: str | Path, report: Mapping[str, Any]) -> None:
    """Write a report beside a model, with the versions of what made it."""
    text = json.dumps({**report, "versions": versions()}, indent=2, default=str)
    with replacing(report_path(output)) as file:
        file.write(text.encode() + b"\n")


def is_report(content: bytes) -> bool:
    """Say whether a file's content looks like a report: JSON's object, which is no TOML."""
    return content.lstrip().startswith(b"{")


@dataclass(frozen=True)
class Report:
    """A report that was read: the model and the rows that the run had, and its options as `Options.flat` names them.

    `fingerprint` has one for the rows of each split; options that were not given are left out.
    """

    path: Path
    model: str
    data: str
    fingerprint: Mapping[str, str]
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, content: bytes, path: Path) -> "Report":
        """Read the content of a file that `write_report` has written.

        Raises:
            FormatError: it is no report.
        """
        try:
            found = json.loads(content)
            model, data, options = found["model"], found["data"], found["options"]
            given = {name: value for name, value in options.items() if value is not None}
            return cls(path, str(model), str(data["path"]), dict(data["fingerprint"]), given)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path}: not JSON, so no run report: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{path}: no run report, which has model, data and options: {error}") from error

    def differences(self, facts: Mapping[str, Any]) -> list[str]:
        """Return how the model and the rows of another run, as its own report says them, differ from this one's."""
        notes = []
        if Path(facts["model"]).resolve() != Path(self.model).resolve():
            notes.append(f"{self.path} is of the model {self.model}, this run is of {facts['model']}")
        found = facts["data"]["fingerprint"]
        changed = [split for split in self.fingerprint if found.get(split) != self.fingerprint[split]]
        if changed:
            rows = f"the {' and '.join(changed)} rows of {facts['data']['path']}"
            notes.append(f"{self.path} is of other data: {rows} are not those of {self.data} then")
        return notes
