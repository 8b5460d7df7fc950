"""Soups: average models fine-tuned from one start, selected by validation rows, and write one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.data.files import Source
from ckpttool.graph.core import Graph
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.model.families import Contents
from ckpttool.model.model import Model
from ckpttool.model.plan import ModelPlan
from ckpttool.runtime.streaming import Score
from ckpttool.surgery.average import average
from ckpttool.training.bound import Bound
from ckpttool.training.evaluation_rows import Which
from ckpttool.training.soups import Judge, between, greedy_soup, parse_alphas, worth


@dataclass(frozen=True)
class Candidate:
    """A model, or an interpolation coefficient, with its loss and accuracy."""

    facts: Mapping[str, Any]

    def cells(self) -> Mapping[str, Any]:
        """Return the row as displayed."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in self.facts.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return dict(self.facts)


@dataclass(frozen=True, repr=False)
class SoupPlan(ModelPlan):
    """The plan: the average to write, with a row for each evaluated model or coefficient."""

    graph: Graph
    values: Checkpoint
    judged: Sequence[Mapping[str, Any]]
    made_of: Provenance
    notes: tuple[str, ...]
    to: str | None = None

    @property
    def done(self) -> str:
        """A statement about the written output."""
        return "written and read back"

    @property
    def rows(self) -> list["Candidate"]:
        """The evaluated models or coefficients."""
        return [Candidate(row) for row in self.judged]

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> Sequence[str]:
        """Write the average as a model.

        Raises:
            ExistingOutput: the output exists.
        """
        command = command or Command.of_call("merge", self.graph.source, output)
        self.check(output, overwrite)
        contents = Contents(self.graph, self.values, self.made_of, command)
        return self.writer(output).write(contents, Path(output), overwrite).notes


def plan_soup(
    models: Sequence[Model],
    data: Source,
    alpha: str | None = None,
    to: str | None = None,
) -> SoupPlan:
    """Plan an average of models: a greedy soup, or the best interpolation from the first to the second.

    Args:
        models: Models of one graph; with `alpha` two, a start and its fine-tuned version.
        data: The rows to evaluate on: the validation rows of the data, else those held out by the last model's run.
        alpha: Interpolation coefficients to evaluate, such as 0:1:0.1.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path, or of the model.

    Raises:
        PlanError: there are too few models, or too many for `alpha`; or their variables differ.
        CkptError: the rows do not match, or the graph's loss is unknown.
    """
    if alpha is not None and len(models) != 2:
        raise PlanError(f"`alpha` is for two models, a start and what was tuned from it; found {len(models)}")
    last = models[-1]
    bound = Bound.of(last, None, ("inputs", "labels", "loss")).with_evaluation_rows(data, Which("valid"), None)
    judge, checkpoints = Judge(bound), [model.checkpoint for model in models]
    notes = (*bound.notes, *bound.splits[0].notes)
    made_of = Provenance.joined(*(model.provenance for model in models))
    if alpha is not None:
        parts = parse_alphas(alpha)
        scores = [judge.score(between(checkpoints[0], checkpoints[1], part)) for part in parts]
        best = max(range(len(parts)), key=lambda number: worth(scores[number]))
        rows = [{"alpha": part, **_figures(score)} for part, score in zip(parts, scores, strict=True)]
        notes = (*notes, f"alpha {parts[best]:g} is written: {_said(scores[best])}")
        return SoupPlan(
            bound.model.graph, between(checkpoints[0], checkpoints[1], parts[best]), rows, made_of, notes, to
        )
    soup = greedy_soup(judge, checkpoints)
    rows = [
        {"model": str(model.path), **_figures(score), "in": number in soup.chosen}
        for number, (model, score) in enumerate(zip(models, soup.alone, strict=True))
    ]
    taken = [checkpoints[number] for number in soup.chosen]
    values = average(taken) if len(taken) > 1 else taken[0]
    notes = (*notes, f"the mean of {len(soup.chosen)} of {len(models)} is written: {_said(soup.score)}")
    return SoupPlan(bound.model.graph, values, rows, made_of, notes, to)


def _figures(score: Score) -> dict[str, Any]:
    return {"loss": score.loss, "accuracy": score.accuracy}


def _said(score: Score) -> str:
    accuracy = "" if score.accuracy is None else f", accuracy {score.accuracy:.4f}"
    return f"loss {score.loss:.4f}{accuracy} on the {counted(score.rows, 'row')} that chose it"
