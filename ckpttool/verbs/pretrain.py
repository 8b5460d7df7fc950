"""Pretraining: train lower layers on unlabelled rows, or by a self-supervised task, for reuse."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.data.files import Source
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
from ckpttool.training.run_report import read_part, report_path, write_report
from ckpttool.training.unfinished import unfinished
from ckpttool.verbs.finetune import finetune

FIGURES = ("plan", "history", "best_epoch", "kept_epoch", "unchanged")
"""The facts about a stage, by their names in the report of its run."""


@dataclass(frozen=True)
class Pretrained:
    """The result of pretraining: the name of each stage, from its layer, and the facts of its run."""

    method: PretrainingMethod
    stages: Sequence[Mapping[str, Any]]

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {"method": str(self.method), "stages": [*self.stages]}

    def lines(self, output: Path) -> list[str]:
        """Return lines of text about what was trained."""
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
    *,
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
    """Train new or existing layers by a method that needs no labels, and write them as a model to reuse.

    The layers that the method adds are discarded. Layers of a layer-wise method are trained from the bottom up, each
    on the outputs of those below, computed once. Finished stages are stored in `OUT.stages` until all are done.

    Args:
        data: A path, or one of the other sources of rows; labels are used by methods that need them.
        layers: The new layers from the input or the model's last layer up (SPEC); None trains the model's own layers.
        method: The method of pretraining.
        output: The prefix to write.
        options: The options of training for each stage.
        shape: The shape of a row, if not the stored one: 28, 28, 1.
        model: A model above whose layers new ones are added. Layer-wise methods do not train its layers, others do.
        after: The last layer of the model to keep.
        overwrite: Whether an existing output is overwritten.
        callbacks: One callback or several, called during the stages.
        resume: Whether to resume interrupted pretraining, which leads to the same result.
        recording: Further records besides the histories.
        command: The command to record in the lineage of the output.
        interrupt: An interrupt that ends the run once requested.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path.
        end_to_end: Whether to train all layers of an autoencoder together after each was trained alone.

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
        drawn = () if model else done.trained
        facts = {"model": asked["from"], "data": read_part(_place(folder, 0))["data"], "options": asked}
        with staged_output(output, writer, overwrite, _beside(output), done=[folder]) as prefix:
            callback.on_notes(writer.write(contents, prefix, False).notes)
            write_histories(prefix, {stage["layer"]: stage["history"] for stage in done.told})
            write_report(prefix, {**facts, **pretrained.summary()})
            record.draw(prefix, f"{output.name}: {method}", method, done.told, drawn, task.bound, task.layout)
    return pretrained


@dataclass(frozen=True)
class _Done:
    """The finished stages: the layers up to the last, the facts about each, and each stage with its method."""

    grown: Grown
    told: tuple[Mapping[str, Any], ...] = ()
    trained: tuple[Trained, ...] = ()


def _trained(
    task: PretrainingTask, folder: Path, record: PretrainingRecord, train: Callable[..., Run], callback: CallbackList
) -> _Done:
    """Train the stages in sequence; finished ones are read."""
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
    """Return the writer of the result, whose path must be free.

    Raises:
        CkptError: the output exists, or a model of this family cannot be written.
    """
    writer = writer_for(model.graph.source if model else "", output, to)
    writer.check(output, overwrite)
    refuse_existing(_beside(output), overwrite)
    return writer


def _beside(output: Path) -> list[Path]:
    """Return the files beside a result."""
    return [report_path(output), history_path(output)]


def _place(folder: Path, number: int) -> Path:
    """Return the path of a stage's model, by its number."""
    return folder / f"{number + 1}.ckpt"


def _figures(layer: str, place: Path, found: Representation) -> dict[str, Any]:
    """Return the facts about a stage: its run, and its representation."""
    report = read_part(place)
    return {"layer": layer, **{name: report[name] for name in FIGURES}, "representation": found.as_json()}
