"""What `log` tells of an output: its lineage, whether the sources are still what they were, and the run beside it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import FormatError, MissingFile
from ckpttool.formats import registry
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.lineage.records import Chain, Record, Source
from ckpttool.lineage.storage import lineage_of, path_beside
from ckpttool.remote import sparse_files
from ckpttool.training.run import report_path


@dataclass(frozen=True)
class History:
    """The lineage of an output, and the report of the run that it is of, if of one."""

    path: Path
    chain: Chain
    run: Mapping[str, Any] | None

    @classmethod
    def of(cls, path: Path) -> "History":
        """Read what is known of a checkpoint, or of a graph that was written without one.

        Raises:
            MissingFile: nothing is there.
            FormatError: it is no checkpoint, or what lies beside it is no lineage or no report.
        """
        return cls(path, lineage_of(path, _metadata(path)), _run(report_path(prefix_of(path))))

    def __bool__(self) -> bool:
        return bool(self.chain.records or self.run)

    def document(self) -> dict[str, Any]:
        """Return it as JSON; each source has `now`: unchanged, changed since, or gone."""
        said = self.chain.as_json()
        for record, told in zip(self.chain.records, said["records"], strict=True):
            for source, facts in zip(record.sources, told["sources"], strict=True):
                facts["now"] = source.now(self.path.parent)
        return {**said, "run": self.run}

    def lines(self) -> Iterator[str]:
        """Yield it for people, oldest first."""
        if not self:
            yield f"{self.path}: nothing is known of how it was made{self._stale()}"
        if self.chain.left_out:
            yield f"{self.chain.left_out} older records were left out"
        for record in self.chain.records:
            yield f"{record.date}  {shlex.join(['ckpttool', record.command, *record.arguments])}"
            yield from (f"    from {self._source(source)}" for source in record.sources)
            yield from (f"    {step}" for step in record.steps)
            yield f"    with {_versions(record)}"
        if self.run:
            yield f"run: {report_path(prefix_of(self.path))}: {_summary(self.run)}"

    def _stale(self) -> str:
        """Say of a lineage beside that does not count why it does not."""
        place = path_beside(prefix_of(self.path))
        return f"; {place} is of what was there before" if place.is_file() else ""

    def _source(self, source: Source) -> str:
        now = source.now(self.path.parent)
        what = f"{source.path} ({source.format}, {source.hash} of {', '.join(source.files)})"
        return what if now == "unchanged" else f"{what}, {now}"


def _versions(record: Record) -> str:
    return ", ".join(f"{name} {version}" for name, version in record.versions.items())


def _metadata(path: Path) -> Mapping[str, str]:
    """Return the texts that a checkpoint keeps; a graph alone is no checkpoint and keeps none."""
    try:
        return registry.find(path).open(path).metadata
    except (FormatError, MissingFile):
        if path.is_file() and path_beside(path).is_file():
            return {}
        raise


def _run(path: Path) -> Mapping[str, Any] | None:
    """Return what a run's report says of where its weights are from."""
    if not sparse_files.is_there(path):
        return None
    try:
        said = json.loads(sparse_files.read_bytes(path))
        return {key: said.get(key) for key in ("model", "data", "options", "best_epoch", "versions")}
    except (ValueError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON, so no run report: {error}") from error


def _summary(run: Mapping[str, Any]) -> str:
    data = run["data"].get("path") if isinstance(run["data"], Mapping) else run["data"]
    return f"{run['model']} trained on {data}, best epoch {run['best_epoch']}"
