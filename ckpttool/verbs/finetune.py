"""Fine-tuning: train the layers that are not frozen on a data set, and verify the result."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.notes import notes_about
from ckpttool.core.plain_files import resolved
from ckpttool.core.tensors import Tensor
from ckpttool.data.files import Source
from ckpttool.data.fingerprint import fingerprint
from ckpttool.data.splits import notes_of
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.graph.contents.preprocessing import preprocessing_text
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import Contents, ModelWriter, writer_for
from ckpttool.model.model import Model
from ckpttool.model.plan import PlanRow
from ckpttool.model.unfreezing import with_unfrozen
from ckpttool.runtime.configure import require_threads
from ckpttool.runtime.schedules import RunSteps
from ckpttool.surgery.verify import changed_tensors
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import Callback, CallbackList, Callbacks, accepts_watch
from ckpttool.training.callbacks.recording import Recording, history_path, write_history
from ckpttool.training.defaults import as_begun, constrained, few_steps, optimizer_left, settled, with_head_first
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.loop import Loop
from ckpttool.training.options import Options
from ckpttool.training.prepare import check_options, prepare
from ckpttool.training.pseudo_labels import LabelledRows
from ckpttool.training.relative_rates import with_found_rates
from ckpttool.training.run import Position, Run, best_of
from ckpttool.training.run_report import RunReport, report_path, write_report
from ckpttool.training.save_interval import Every
from ckpttool.training.saves import KeptWeights, Saves, asked_before, refuse_saves
from ckpttool.training.teaching import fingerprint_of, with_teacher
from ckpttool.training.trainer import Trainer


def plan(model: Model, options: Options) -> list[PlanRow]:
    """Return the plan of a run's first stage without running it.

    Raises:
        CkptError: the graph and the options are inconsistent.
    """
    model = with_unfrozen(model, options.unfreeze, options.roles).model
    bound = Bound.of(model, options.roles, needed=("inputs", "labels"), objective=options.objective, seed=options.seed)
    options, _ = with_head_first(replace(options, roles=bound.given), bound)
    return prepare(bound.model, options, options.all_stages()[0].train, RunSteps(total=1)).plan


@accepts_watch
def finetune(
    model: Model,
    data: Source,
    options: Options,
    output: str | Path,
    *,
    overwrite: bool = False,
    callbacks: Callbacks = (),
    resume: bool = False,
    repeats: RunReport | None = None,
    recording: Recording | None = None,
    command: Command | None = None,
    interrupt: Interrupt | None = None,
    to: str | None = None,
    beside: LabelledRows | None = None,
) -> Run:
    """Train a model, write the best epoch (or the last) to `output`, and prove that frozen tensors are unchanged.

    The history is written beside the model after each epoch, and finally a report, with which the run can be repeated.

    Args:
        model: The initial model, which is not changed.
        data: A path, or one of the other sources of rows, with labels.
        options: What is trained, how, and for how long.
        output: The prefix to write.
        overwrite: Whether an existing output is overwritten.
        callbacks: One callback or several, called during the run.
        resume: Whether to resume an interrupted run from its latest save, which leads to the same
            result.
        repeats: The report of an earlier run; how the model and the data differ from those is passed to the callbacks.
        recording: Further records besides the history.
        command: The command to record in the lineage of the output.
        interrupt: An interrupt that ends the run once requested.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path, or of the model.
        beside: Rows with pseudo-labels to train on besides those of the data that are not held out.

    Raises:
        Interrupted: `interrupt` was requested; the run is saved.
        CkptError: the model, the options and the rows are inconsistent; nothing is written.
    """
    command = command or Command.of_call("finetune", model.path, output)
    writer, output = checked_writer(model, Path(output), to, overwrite), Path(output)
    require_threads(options.threads)
    task = _Task.of(model, options, asked_before(output) if resume else None)
    if not (resume or overwrite):
        refuse_saves(output)

    recording = recording or Recording()
    callback = CallbackList([*recording.of(output, overwrite, resume), *CallbackList(callbacks)])
    task = task.with_rows(data, beside)
    facts = _facts(task.bound, data)
    callback.on_notes([*task.notes, *(repeats.differences(facts) if repeats else [])])
    saves = Saves(output, task.every, task.options.keep_checkpoints, _asked(task.options, task.bound, facts))
    loop = _loop(task, saves, resume, callback, interrupt or Interrupt())

    with callback.run(loop.history):
        kept = loop.run()
        contents = Contents(kept.graph, kept.tensors, task.model.provenance, command)
        report, history = [report_path(output)], [history_path(output)]
        with staged_output(output, writer, overwrite, report, history, saves.done) as place:
            written = writer.write(contents, place, False)
            callback.on_notes(written.notes)
            run = _proved(loop, kept, written.values, task.bound.model, output)
            asked = {**task.options.flat(), **asdict(recording), "to": to}
            write_report(place, _report(run, facts, asked, [*task.going_on, *task.chosen], loop.training.left_behind))
            if run.history:
                write_history(place, run.history)
            callback.on_output(place)
            saves.end()
    saves.ended()
    return run


@dataclass(frozen=True)
class _Task:
    """The task of a run: a model bound to rows, the options with all defaults, and notes about them.

    `going_on` are notes on options of a resumed run, `chosen` on those determined by the rows.
    """

    model: Model
    bound: Bound
    options: Options
    every: Every | None
    frozen: Mapping[str | None, Frozen]
    unfrozen: Sequence[str]
    going_on: Sequence[str]
    chosen: Sequence[str] = ()

    @classmethod
    def of(cls, model: Model, options: Options, asked: Mapping[str, Any] | None) -> "_Task":
        """Check everything that does not depend on rows; `asked` are the options of the run to resume."""
        options, going_on = as_begun(options, asked)
        model, _, unfrozen = with_unfrozen(model, options.unfreeze, options.roles)
        bound = Bound.of(model, options.roles, ("inputs", "labels"), options.classes, options.objective, options.seed)
        options, bound = with_head_first(options, bound.preprocessing(options.preprocess))
        frozen = check_options(bound.model, replace(options, roles=bound.given))
        every = None if options.save_every is None else Every.parse(options.save_every)
        return cls(model, bound, options, every, frozen, unfrozen, going_on)

    def with_rows(self, data: Source, beside: LabelledRows | None) -> "_Task":
        """Read rows, run the teacher, and set the options that depend on them."""
        bound = self.bound.with_training_rows(data, self.options.held_out, self.options.features)
        bound = beside.added_to(bound) if beside else bound
        bound = with_teacher(bound, self.options, data)
        options, chosen = with_found_rates(*settled(self.options, bound), bound)
        return replace(self, bound=bound, options=options, chosen=chosen)

    @property
    def notes(self) -> list[str]:
        """Notes for the user before anything is built."""
        unbound = notes_about("trained without the constraints that Keras puts on them", constrained(self.model))
        return [*self.unfrozen, *self.bound.notes, *unbound, *self.going_on]


def _loop(task: _Task, saves: Saves, resume: bool, callback: Callback, interrupt: Interrupt) -> Loop:
    """Return the training loop, from the latest save of a resumed run, else from the start."""
    saved = saves.latest() if resume else None
    if resume and saved is None:
        callback.on_notes([f"{saves.folder}: nothing was saved yet: the run starts from the beginning"])
    position, kept, tensors = (saved.position, saved.kept, saved.tensors) if saved else (Position(), None, None)
    options, bound = replace(task.options, roles=task.bound.given), task.bound
    training = Trainer(bound, options, callback, position.epoch, tensors, frozen=task.frozen)
    begun = [] if resume else optimizer_left(bound, task.options)
    callback.on_notes([*task.chosen, *begun, *few_steps(task.options, bound)])
    loop = Loop(training, position, kept, saves, callback, interrupt)
    if saved is None:
        saves.clear()
    return loop


def checked_writer(model: Model, output: Path, to: str | None, overwrite: bool) -> ModelWriter:
    """Return the writer of a run's output, which must not be beside another report or at the model's own path.

    Raises:
        CkptError: it is, or the output exists.
    """
    writer = writer_for(model.graph.source, output, to)
    writer.check(output, overwrite, model.graph)
    refuse_existing([report_path(output)], overwrite)
    if resolved(output) in (resolved(model.path), resolved(checkpoint.prefix_of(model.path))):
        raise PlanError(f"{output} is the model itself, which the result is compared with: write it elsewhere")
    return writer


def _asked(options: Options, bound: Bound, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same in a resumed run."""
    return {
        **options.lasting(),
        "preprocess": preprocessing_text(bound.model.graph),
        "teacher_logits": fingerprint_of(bound),
        "data": facts["data"]["fingerprint"],
    }


def _facts(bound: Bound, data: Source) -> dict[str, Any]:
    """Return the facts of a report about the model and the data."""
    sides = bound.splits[1].sides
    return {
        "model": str(bound.model.path),
        "data": {
            "path": str(data),
            "fingerprint": {split.name: fingerprint(split) for split in bound.splits},
            "rows": {split.name: split.rows for split in bound.splits},
            "held_out": sides.as_json() if sides else None,
            "classes": list(bound.class_names),
            "preprocess": bound.trained_preprocessing,
            "preprocessing": notes_of(bound.splits),
        },
    }


def _report(
    run: Run, facts: Mapping[str, Any], asked: Mapping[str, Any], notes: list[str], left_behind: list[str]
) -> dict[str, Any]:
    """Return the report of a run: what is needed to repeat it, and its history."""
    cache = str(run.features.entry.path) if run.features else None
    return {**facts, **run.summary(), "options": asked, "notes": notes, "cache": cache, "left_behind": left_behind}


def _proved(loop: Loop, kept: KeptWeights, written: Mapping[str, Tensor], model: Model, output: Path) -> Run:
    """Return the result of a run after checking that every frozen tensor was written with its original bytes.

    Raises:
        CkptError: a frozen tensor has changed.
    """
    frozen = [name for name in kept.frozen if name in model.checkpoint and name in kept.tensors]
    changed = changed_tensors(model.checkpoint, written, frozen)
    if changed:
        raise CkptError(f"{output}: frozen tensors have changed: {', '.join(changed)}")
    training, history = loop.training, loop.history
    return Run(training.plan, history, kept.epoch, best_of(history), training.cache, tuple(frozen), output)
