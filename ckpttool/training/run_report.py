"""The report of a run, `OUT.run.json`: enough to repeat the run, and to know which rows it held out."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.json_records import made_of
from ckpttool.core.plain_files import is_file, resolved
from ckpttool.data.held_out import HeldOut
from ckpttool.formats.tensorflow.prefix import is_saved_model, prefix_of
from ckpttool.formats.wire import checked_json
from ckpttool.formats.writing.files import replacing
from ckpttool.formats.writing.staging import settle
from ckpttool.lineage.records import versions
from ckpttool.training.run import Epoch

if TYPE_CHECKING:
    from ckpttool.data.splits import Split

_log = logging.getLogger(__name__)


def report_path(output: str | Path) -> Path:
    """Return the path of a model's report, beside the model."""
    return Path(f"{output}.run.json")


def report_beside(model: Path) -> Path:
    """Return the path of the report of a model's run: beside its prefix, or beside its SavedModel folder."""
    return report_path(model if is_saved_model(model) else prefix_of(model))


def write_report(output: str | Path, report: Mapping[str, Any]) -> None:
    """Write a report beside a model, with the versions of the software."""
    with replacing(report_path(output)) as file:
        file.write(checked_json.dumps({**report, "versions": versions()}))


def is_report(content: bytes) -> bool:
    """Return whether a file's content is a report rather than a TOML configuration: a JSON object."""
    return content.lstrip().startswith(b"{")


@dataclass(frozen=True)
class RunReport:
    """A report: the model and the rows of the run, and its options by the names of `Options.flat`.

    `fingerprint` has an entry for the rows of each split; `options` has the specified options only. `held_out` is the
    rule that chose the validation rows, None if the data has its own; `preprocess` is the preprocessing of the rows.
    `history` has the epochs, `trained` says for each weight of the plan whether it was trained.
    """

    path: Path
    model: str
    data: str
    fingerprint: Mapping[str, str]
    options: Mapping[str, Any]
    held_out: HeldOut | None
    preprocess: str | None = None
    history: tuple[Epoch, ...] = ()
    trained: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes, path: Path) -> "RunReport":
        """Parse the content of a file written by `write_report`.

        Raises:
            FormatError: it is not a report.
        """
        try:
            report = checked_json.loads(content, is_required=False)
            model, data, options = report["model"], report["data"], report["options"]
            if "held_out" not in data:
                options, data = _with_rule(options, data)
            given = {name: value for name, value in options.items() if value is not None}
            held_out = HeldOut.from_json(data["held_out"]) if data["held_out"] else None
            fingerprint, preprocess = dict(data["fingerprint"]), data.get("preprocess")
            what = (fingerprint, given, held_out, preprocess, _epochs(report.get("history")))
            return cls(path, str(model), str(data["path"]), *what, _trained(report.get("plan")))
        except FormatError as error:
            raise FormatError(f"{path}: no run report: {error}") from error
        except (ValueError, RecursionError) as error:
            if checked_json.CHECKSUM in str(error):
                raise CorruptCheckpoint(
                    f"{path}: {error}; where that was meant, delete the line that has it"
                ) from error
            raise FormatError(f"{path}: not a run report (not JSON): {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{path}: not a run report, which has model, data and options: {error}") from error

    @classmethod
    def beside(cls, model: str | Path) -> "RunReport | None":
        """Read the report beside a model; None if there is none, or if it is damaged."""
        folder = Path(model).is_dir() and not is_saved_model(Path(model))
        settle(Path(model))
        path = Path(model) if folder else report_beside(Path(model))
        if not is_file(path):
            return None
        try:
            return cls.parse(path.read_bytes(), path)
        except FormatError as error:
            _log.warning("%s; which rows were held out is not known", error)
            return None

    def has_rows(self, split: "Split") -> bool:
        """Return whether the rows of a split are those of the run's split of the same name."""
        from ckpttool.data.fingerprint import fingerprint

        return self.fingerprint.get(split.name) == fingerprint(split)

    def differences(self, facts: Mapping[str, Any]) -> list[str]:
        """Return the differences in model and rows between this report and another."""
        notes = []
        if resolved(Path(facts["model"])) != resolved(Path(self.model)):
            notes.append(f"{self.path} is of the model {self.model}, this run is of {facts['model']}")
        present = facts["data"]["fingerprint"]
        changed = [split for split in self.fingerprint if present.get(split) != self.fingerprint[split]]
        if changed:
            rows = f"the {' and '.join(changed)} rows of {facts['data']['path']}"
            notes.append(f"{self.path} is of other data: {rows} are not those of {self.data} then")
        now = facts["data"].get("preprocess")
        if None not in (now, self.preprocess) and now != self.preprocess:
            notes.append(f"{self.path} is of rows with the preprocessing {self.preprocess}, this run has {now}")
        return notes


@dataclass(frozen=True)
class _Part:
    """The fields that are read from the report of a finished part."""

    history: list[Epoch]
    kept_epoch: int
    best_epoch: int
    plan: list[Any]
    unchanged: list[str]
    data: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class _Classes:
    """The names of the classes of a run."""

    classes: list[str] | None


@dataclass(frozen=True)
class _GoneOnWith:
    """The options of a run that a later one continues with."""

    batch_size: int | None = None
    valid: str | int | None = None
    optimizer: str | None = None
    lr: str | float | None = None
    preprocess: str | None = None


def require_options(asked: Mapping[str, Any]) -> None:
    """Check the options of a run that a later one continues with.

    Raises:
        ValueError: if one has a value of another type.
    """
    made_of(_GoneOnWith, {each.name: asked[each.name] for each in fields(_GoneOnWith) if each.name in asked})


def read_part(place: Path) -> dict[str, Any]:
    """Read the report of a finished part of a longer run, which is to be resumed.

    Raises:
        CorruptCheckpoint: it is damaged, or a field is missing or has a value that no run has.
    """
    path = report_path(place)
    try:
        report = checked_json.loads(path.read_bytes())
        part = made_of(_Part, {each.name: report[each.name] for each in fields(_Part) if each.name in report})
        require_options(part.options)
        if not 1 <= part.kept_epoch <= len(part.history):
            raise ValueError(f"kept_epoch is {part.kept_epoch} of {len(part.history)}")
        made_of(_Classes, {"classes": part.data.get("classes")})
        return report
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is damaged: {error}; `overwrite` begins again") from error


def _epochs(history: Any) -> tuple[Epoch, ...]:
    """Return the epochs of a report; empty if its history has another form, or values that are not numbers."""
    names = [each.name for each in fields(Epoch)]
    rows = [each for each in history if isinstance(each, Mapping)] if isinstance(history, list) else []
    known = [{name: each[name] for name in names if isinstance(each.get(name), int | float)} for each in rows]
    whole = all(each.keys() >= {"epoch", "loss", "valid_loss", "seconds"} for each in known)
    return tuple(Epoch(**{"valid_accuracy": None, **each}) for each in known) if whole else ()


def _trained(plan: Any) -> dict[str, bool]:
    """Return for each weight of a plan whether it was trained."""
    rows = [each for each in plan if isinstance(each, Mapping)] if isinstance(plan, list) else []
    return {str(each.get("target")): each["train"] for each in rows if isinstance(each.get("train"), bool)}


def rule_before(valid: int | None) -> str:
    """Return the meaning of `valid` in old versions, which did not draw rows: the first rows, or the last tenth.

    >>> rule_before(5000), rule_before(None)
    ('first:5000', 'last:10%')
    """
    return "last:10%" if valid is None else f"first:{valid}"


def _with_rule(options: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the content of an old report, with the hold-out rule that it implied."""
    rule = rule_before(options.get("valid"))
    drawn = any(re.match("validation: the (first|last)", note) for note in data.get("preprocessing", ()))
    valid = rule if drawn or options.get("valid") is not None else None
    return {**options, "valid": valid}, {**data, "held_out": HeldOut.parse(rule).as_json() if drawn else None}
