"""Pretraining: lower layers are trained on rows without labels, or by a task whose labels are free, to be reused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.data.files import Source
from ckpttool.formats.wire import checked_json
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.graph.contents.preprocessing import with_preprocessing_text
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import Contents, ModelWriter, writer_for
from ckpttool.model.model import Model
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.training.callbacks.callback import CallbackList, Callbacks
from ckpttool.training.callbacks.recording import Recording, history_path, write_histories
from ckpttool.training.collapse import Representation, representation_of
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options
from ckpttool.training.pretraining import Grown
from ckpttool.training.pretraining_record import PretrainingRecord
from ckpttool.training.pretraining_task import PretrainingTask, with_defaults
from ckpttool.training.reconstruction import Trained
from ckpttool.training.run import Run
from ckpttool.training.run_report import report_path, write_report
from ckpttool.training.unfinished import unfinished
from ckpttool.verbs.finetune import finetune

FIGURES = ("plan", "history", "best_epoch", "kept_epoch", "unchanged")
"""What is told of a stage, by its names in the report of its run."""


@dataclass(frozen=True)
class Pretrained:
    """What pretraining did: for each stage the layer that it has its name from, and what its run's report says."""

    method: PretrainingMethod
    stages: Sequence[Mapping[str, Any]]

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {"method": str(self.method), "stages": [*self.stages]}

    def lines(self, output: Path) -> list[str]:
        """Return what was trained, for a person."""
        count = len(self.stages)
        return [f"{output}: {counted(count, 'stage')} of {self.method}", *map(self._line, self.stages)]

    def _line(self, stage: Mapping[str, Any]) -> str:
        kept = stage["history"][stage["kept_epoch"] - 1]
        figure = "" if kept["valid_accuracy"] is None else f", {self.method.figure} {kept['valid_accuracy']:.4f}"
        found = Representation.from_json(stage["representation"])
        return (
            f"{stage['layer']}: epoch {kept['epoch']}, {self.method.measure} {kept['valid_loss']:.4g}{figure}, {found}"
        )


def pretrain(
    data: Source,
    layers: str | None,
    method: PretrainingMethod,
    output: str | Path,
    options: Options,
    shape: Sequence[int] | None = None,
    model: Model | None = None,
    after: str | None = None,
    overwrite: bool = False,
    callbacks: Callbacks = (),
    resume: bool = False,
    recording: Recording | None = None,
    command: Command | None = None,
    interrupt: Interrupt | None = None,
    to: str | None = None,
    end_to_end: bool = False,
) -> Pretrained:
    """Train new layers by a method that needs no labels, or other ones, and write them as a model to be reused.

    What the method puts on them is thrown away. The layers of a layer-wise method are trained from the bottom up, each
    on what those below give, which is computed once. A stage that is done is kept in `OUT.stages` until all are.

    Args:
        data: A path, or one of the other sources of rows; labels are used by methods that need some.
        layers: The layers from the input, or from the model's, up (SPEC); None trains a model's layers as they are.
        method: What the layers are trained for.
        output: The prefix of the result.
        options: How each stage is trained, and for how long.
        shape: The shape of a row, if not as it is stored: 28, 28, 1.
        model: A model whose layers new ones are put on. Layer-wise methods leave them as they are, others train them.
        after: The layer of the model that is the last to stay; what is above is left behind.
        overwrite: Whether what lies at `output` is replaced.
        callbacks: One callback or several, which are called while the stages go on.
        resume: Whether pretraining that was stopped goes on where it was, to the same result.
        recording: What is recorded besides the histories.
        command: The command to record in the lineage of the output.
        interrupt: An interrupt that ends the run once requested.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path.
        end_to_end: Whether all layers of an autoencoder are trained together once more, when each was trained alone.

    Raises:
        Interrupted: `interrupt` was requested; the run is saved.
        CkptError: the model, the options and the rows are inconsistent; nothing is written.
    """
    output, command = Path(output), command or Command("pretrain", ("-o", str(output)))
    writer, callback = _checked_writer(model, output, to, overwrite), CallbackList(callbacks)
    task = PretrainingTask.of(data, layers, method, with_defaults(options), shape, model, after, end_to_end)
    record = PretrainingRecord.of(recording, task.stages, overwrite, resume)
    callback.on_notes(task.start.notes)
    asked = task.asked | {
        "layers": layers,
        "data": str(data),
        "from": str(model.path) if model else None,
        "after": after,
        "end_to_end": end_to_end,
    }
    run = partial(finetune, overwrite=True, callbacks=callbacks, resume=resume, command=command, interrupt=interrupt)
    with unfinished(output.with_name(f"{output.name}.stages"), asked, resume, overwrite) as folder:
        done = _trained(task, folder, record, partial(run, data=data), callback)
        pretrained, grown = Pretrained(method, done.told), done.grown.with_stage(task.rest, task.options.seed)
        graph = with_preprocessing_text(grown.graph, task.bound.trained_preprocessing)
        contents = Contents(graph, grown.values, model.provenance if model else None, command)
        facts = {"model": asked["from"], "data": _report(_place(folder, 0))["data"], "options": asked}
        with staged_output(output, writer, overwrite, _beside(output)) as prefix:
            callback.on_notes(writer.write(contents, prefix, False).notes)
            write_histories(prefix, {stage["layer"]: stage["history"] for stage in done.told})
            write_report(prefix, {**facts, **pretrained.summary()})
        drawn = () if model else done.trained
        record.draw(f"{output.name}: {method}", method, done.told, drawn, task.bound, task.layout)
    return pretrained


@dataclass(frozen=True)
class _Done:
    """The stages that are done: the layers up to the last, what is told of each, and each with its method on it."""

    grown: Grown
    told: tuple[Mapping[str, Any], ...] = ()
    trained: tuple[Trained, ...] = ()


def _trained(
    task: PretrainingTask, folder: Path, record: PretrainingRecord, train: Callable[..., Run], callback: CallbackList
) -> _Done:
    """Train the stages one after the other; those that are done already are kept."""
    done = _Done(task.start)
    for number, stage in enumerate(task.stages):
        place = _place(folder, number)
        begun, grown, options = task.stage(number, done.grown, done.trained)
        if not report_path(place).exists():
            which = f"{stage.name}, {number + 1} of {len(task.stages)}"
            callback.on_notes([f"{which}: the loss is the {task.method.measure}"])
            train(begun, options=options, output=place, recording=record.stages[stage.name])
        values = checkpoint.open(place)
        grown = grown.with_values(values)
        found = representation_of(Model(place, grown.graph, Checkpoint.of(grown.values)), grown.top, task.bound)
        callback.on_notes(found.notes(stage.name, task.method.helps))
        trained = Trained(stage, replace(begun, checkpoint=values), grown.top)
        done = _Done(grown, (*done.told, _figures(stage.name, place, found)), (*done.trained, trained))
    return done


def _checked_writer(model: Model | None, output: Path, to: str | None, overwrite: bool) -> ModelWriter:
    """Return what writes the result, at a place that is free.

    Raises:
        CkptError: something is there already, or a model of this family cannot be written.
    """
    writer = writer_for(model.graph.source if model else "", output, to)
    writer.check(output, overwrite)
    refuse_existing(_beside(output), overwrite)
    return writer


def _beside(output: Path) -> list[Path]:
    """Return what lies beside a result."""
    return [report_path(output), history_path(output)]


def _place(folder: Path, number: int) -> Path:
    """Return where the model of a stage lies, by its number."""
    return folder / f"{number + 1}.ckpt"


def _report(place: Path) -> dict[str, Any]:
    """Return the report of the run of a stage."""
    report: dict[str, Any] = checked_json.loads(report_path(place).read_bytes())
    return report


def _figures(layer: str, place: Path, found: Representation) -> dict[str, Any]:
    """Return what is told of a stage: its run, and what the layers give."""
    report = _report(place)
    return {"layer": layer, **{name: report[name] for name in FIGURES}, "representation": found.as_json()}
