"""An output's lineage as a plan: the steps of all records that made it, from files that no step of a plan can make."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpttool.core.errors import FormatError, PlanError
from ckpttool.lineage.derivation import Derivation, Steps
from ckpttool.lineage.records import Chain, Record, Source


@dataclass(frozen=True)
class Begin:
    """A file with which a plan begins, and the command that made it, if that cannot be a step of a plan."""

    source: Source
    made_by: str | None = None


def replayed(chain: Chain) -> Steps:
    """Return the steps that make the last output of a chain, with the files with which they begin.

    Raises:
        PlanError: the last command, or its arguments, cannot be a step of a plan.
        FormatError: the steps of a record are malformed.
    """
    if not chain.records:
        raise PlanError("no history")
    records = {record.id: record for record in chain.records}
    derivations: dict[str, Derivation] = {}
    for number, record in records.items():
        if record.plan is not None:
            derivations[number] = _derivation(record, record.plan, records, derivations)
    last = chain.records[-1]
    if last.id not in derivations:
        edits = f" ({', '.join(last.steps)})" if last.steps else ""
        raise PlanError(f"it was made by {last.command}{edits}, which is not a step of a plan")
    steps = Steps.of(derivations[last.id])
    if steps is None:
        raise PlanError("no order of its steps ends with the one that makes it")
    return steps


def _derivation(
    record: Record, plan: Mapping[str, Any], records: Mapping[str, Record], derivations: Mapping[str, Derivation]
) -> Derivation:
    """Return the derivation of a record's output, from files or outputs of earlier records."""
    files: list[Derivation] = []
    for place in plan["sources"]:
        maker = (record.makers[place] if place < len(record.makers) else None) or ""
        command = records[maker].command if maker in records and maker not in derivations else None
        files.append(derivations[maker] if maker in derivations else Derivation(Begin(record.sources[place], command)))
    try:
        return Steps(tuple(files), tuple(plan["step"])).derivation()
    except (KeyError, TypeError, IndexError) as error:
        raise FormatError(f"the steps of {record.command} are not valid: {error!r}") from error
