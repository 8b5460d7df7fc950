"""Fine-tuning in rounds: a model trained on labelled rows labels others, and continues with both (Lee 2013)."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.data.files import Source
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import Contents
from ckpttool.model.model import Model
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import CallbackList, Callbacks
from ckpttool.training.callbacks.plot import draw_curves
from ckpttool.training.callbacks.recording import Recording, history_path
from ckpttool.training.defaults import as_begun
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options, PseudoLabels
from ckpttool.training.pseudo_labels import LabelledRows, Unlabelled
from ckpttool.training.run import Epoch
from ckpttool.training.run_report import RunReport, read_part, report_path, write_report
from ckpttool.training.unfinished import unfinished
from ckpttool.verbs.finetune import checked_writer, finetune


@dataclass(frozen=True)
class Rounds:
    """The result of fine-tuning in rounds: the report of the written round, and what each round labelled."""

    report: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]
    kept: int

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        names = ("plan", "history", "best_epoch", "kept_epoch", "cache", "unchanged")
        return {**{name: self.report[name] for name in names}, **self.as_json()}

    def as_json(self) -> dict[str, Any]:
        """Return the facts about the rounds for a report."""
        return {"pseudo_labels": [*self.rounds], "kept_round": self.kept}

    def lines(self, output: Path) -> list[str]:
        """Return lines of text about what was labelled and written."""
        return [*map(_line, self.rounds), f"{output}: round {self.kept} of {len(self.rounds) - 1}"]


def finetune_in_rounds(
    model: Model,
    data: Source,
    options: Options,
    output: str | Path,
    pseudo: PseudoLabels,
    *,
    overwrite: bool = False,
    callbacks: Callbacks = (),
    resume: bool = False,
    repeats: RunReport | None = None,
    recording: Recording | None = None,
    command: Command | None = None,
    interrupt: Interrupt | None = None,
    to: str | None = None,
) -> Rounds:
    """Train a model on labelled rows, then in each round also on rows that it has labelled itself.

    A round starts with the weights of the previous one, or their moving averages if the recipe keeps them, which also
    label the rows; it is a run of `finetune`. Validation rows are labelled ones. The best round is written, the later
    of equal ones, or with `keep` last the last one. Finished rounds are stored in `OUT.rounds` until all are done.

    Args:
        model: The initial model, which is not changed.
        data: A path, or one of the other sources of rows, with labels.
        options: The options of training for each round.
        output: The prefix to write.
        pseudo: The rows to label, and the number of rounds.
        overwrite: Whether an existing output is overwritten.
        callbacks: One callback or several, called during the rounds.
        resume: Whether to resume an interrupted run, which leads to the same result.
        repeats: The report of an earlier run, for notes about differences.
        recording: Further records besides the histories.
        command: The command to record in the lineage of the output.
        interrupt: An interrupt that ends the run once requested.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path, or of the model.

    Raises:
        Interrupted: `interrupt` was requested; the run is saved.
        CkptError: the model, the options and the rows are inconsistent; nothing is written.
    """
    if options.teacher is not None:
        raise PlanError("`teacher` and `pseudo_label` both say what rows are: leave one of them out")
    output, command = Path(output), command or Command.of_call("finetune", model.path, Path(output))
    writer, model = checked_writer(model, output, to, overwrite), model.thawed()
    callback, unlabelled = CallbackList(callbacks), _unlabelled(model, data, options, pseudo)
    callback.on_notes([unlabelled.note])

    recording = recording or Recording()
    records, picture = recording.parts([_name(number) for number in range(pseudo.rounds + 1)], overwrite, resume)
    run = partial(finetune, overwrite=True, callbacks=callbacks, resume=resume, command=command, interrupt=interrupt)

    def train(start: Model, own: Options, place: Path, beside: LabelledRows | None) -> None:
        record, told = records[_name(int(place.stem))], None if beside else repeats
        run(start, data, own, place, recording=record, repeats=told, beside=beside)

    asked = {"model": str(model.path), "data": str(data), **options.lasting(), **pseudo.flat()}
    with unfinished(output.with_name(f"{output.name}.rounds"), asked, resume, overwrite) as folder:
        done = _trained(model, options, pseudo, unlabelled, folder, train, callback)
        kept = done[-1] if options.keep == "last" else max(done, key=_Round.goodness)
        rounds = Rounds(kept.report, [each.facts() for each in done], kept.number)
        made = Model.open(kept.place)
        contents = Contents(made.graph, made.checkpoint, model.provenance, command)
        beside = [report_path(output), history_path(output)]
        with staged_output(output, writer, overwrite, beside, done=[folder]) as place:
            callback.on_notes(writer.write(contents, place, False).notes)
            asked_for = {**kept.report["options"], **pseudo.flat(), **asdict(recording), "to": to}
            write_report(place, {**kept.report, "options": asked_for, **rounds.as_json()})
            shutil.copyfile(history_path(kept.place), history_path(place))
            if picture:
                draw_curves(picture.beside(place), output.name, [each.epochs for each in done], kept.number)
    return rounds


@dataclass(frozen=True)
class _Round:
    """A finished round: the path of its model, the report of its run, and what was labelled for it."""

    number: int
    place: Path
    report: Mapping[str, Any]
    labelled: Mapping[str, Any]

    @property
    def epochs(self) -> list[Epoch]:
        """All its epochs."""
        return [Epoch(**epoch) for epoch in self.report["history"]]

    @property
    def epoch(self) -> Mapping[str, Any]:
        """The epoch whose weights were kept."""
        epoch: Mapping[str, Any] = self.report["history"][self.report["kept_epoch"] - 1]
        return epoch

    def goodness(self) -> tuple[float, int]:
        """Return a sort key that is higher for better rounds, and for the later of two equally good ones."""
        accuracy = self.epoch["valid_accuracy"]
        return (-self.epoch["valid_loss"] if accuracy is None else accuracy), self.number

    def facts(self) -> dict[str, Any]:
        """Return the facts for a report."""
        judged = {name: self.epoch[name] for name in ("epoch", "valid_loss", "valid_accuracy")}
        return {"round": self.number, **self.labelled, **judged}


def _trained(
    model: Model,
    options: Options,
    pseudo: PseudoLabels,
    unlabelled: Unlabelled,
    folder: Path,
    train: Callable[[Model, Options, Path, LabelledRows | None], None],
    callback: CallbackList,
) -> list[_Round]:
    """Train in rounds until all are done or no label is confident enough; finished rounds are read."""
    rounds: list[_Round] = []
    chosen: LabelledRows | None = None
    for number in range(pseudo.rounds + 1):
        place = folder / f"{number}.ckpt"
        if rounds:
            model, options = _gone_on(model, options, rounds[-1])
            chosen, surest = unlabelled.labelled_by(_bound(model, options), pseudo)
            if chosen is None:
                without = f"round {number}: no label has a probability of {pseudo.sure:g} (`sure`)"
                callback.on_notes([f"{without}, the surest has {surest:.4f}: nothing is labelled"])
                break
            callback.on_notes(
                [f"round {number} of {pseudo.rounds}: {counted(chosen.rows.rows, 'row is', 'rows are')} labelled"]
            )
        if not report_path(place).exists():
            train(model, options, place, chosen)
        report = read_part(place)
        rounds.append(_Round(number, place, report, chosen.facts(report["data"]["classes"]) if chosen else {}))
    return rounds


def _gone_on(model: Model, options: Options, done: _Round) -> tuple[Model, Options]:
    """Return the model with the values that a round was evaluated with, and the options completed by that round."""
    averaged = bool(options.recipe and options.recipe.ema)
    found = Model.open(done.place, ema=averaged).checkpoint
    values = {name: found.get(name, tensor) for name, tensor in model.checkpoint.items()}
    options, _ = as_begun(replace(options, lp_ft=None), done.report["options"])
    return replace(model, checkpoint=Checkpoint.of(values)), options


def _bound(model: Model, options: Options) -> Bound:
    """Return a model with the roles of its tensors, as a round trains it."""
    needed = ("inputs", "labels")
    bound = Bound.of(model, options.roles, needed, options.classes, options.objective, options.seed)
    return bound.preprocessing(options.preprocess)


def _unlabelled(model: Model, data: Source, options: Options, pseudo: PseudoLabels) -> Unlabelled:
    """Return the unlabelled rows for the model, without those of the data, which are recognised by their inputs."""
    bound = _bound(model, options).with_training_rows(data, options.held_out, options.features)
    return Unlabelled.of(bound, pseudo, options.features, options.group)


def _name(number: int) -> str:
    """Return the name of a round, by its number."""
    return f"round {number}"


def _line(facts: Mapping[str, Any]) -> str:
    figure = facts["valid_accuracy"]
    judged = f"validation loss {facts['valid_loss']:.4g}" if figure is None else f"accuracy {figure:.4f}"
    if "rows" not in facts:
        return f"round {facts['round']}: only labelled rows, {judged}"
    classes = ", ".join(f"{name}: {count}" for name, count in facts["classes"].items())
    labelled = f"{counted(facts['rows'], 'row')} labelled ({classes}), mean probability {facts['probability']:.4f}"
    return f"round {facts['round']}: {labelled}, {judged}"
