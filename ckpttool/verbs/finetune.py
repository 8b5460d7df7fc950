"""Fine-tuning: the layers that are not frozen are trained on a data set, from start to proof."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.notes import notes_about
from ckpttool.core.tensors import Tensor
from ckpttool.data.fingerprint import fingerprint
from ckpttool.data.splits import notes_of
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.graph.contents.preprocessing import preprocessing_text
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
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.defaults import as_begun, constrained, few_steps, optimizer_left, settled, with_head_first
from ckpttool.training.loop import Interrupt, Loop
from ckpttool.training.options import Options
from ckpttool.training.prepare import check_options, prepare
from ckpttool.training.relative_rates import with_found_rates
from ckpttool.training.run import Position, Run, RunReport, best_of, report_path, write_report
from ckpttool.training.saves import Every, Kept, Saves, asked_before, refuse_saves
from ckpttool.training.teaching import fingerprint_of, with_teacher
from ckpttool.training.trainer import Trainer

MAY_CHANGE = ("epochs", "early_stopping", "save_every", "keep_checkpoints", "cache_dir")
"""Options that a run which goes on may have other values of: they do not change the steps that were taken."""


def plan(model: Model, options: Options) -> list[PlanRow]:
    """Return the plan of a run's first stage without running it.

    Raises:
        CkptError: the graph and the options do not fit one another.
    """
    model = with_unfrozen(model, options.unfreeze, options.roles).model
    bound = Bound.of(model, options.roles, needed=("inputs", "labels"), objective=options.objective, seed=options.seed)
    options, _ = with_head_first(replace(options, roles=bound.given), bound)
    return prepare(bound.model, options, options.all_stages()[0].train, RunSteps(total=1)).plan


@accepts_watch
def finetune(
    model: Model,
    data: str | Path,
    options: Options,
    output: str | Path,
    overwrite: bool = False,
    callbacks: Callbacks = (),
    resume: bool = False,
    repeats: RunReport | None = None,
    recording: Recording | None = None,
    command: Command | None = None,
    interrupt: Interrupt | None = None,
    to: str | None = None,
) -> Run:
    """Train a model, write the best epoch (or the last) under `output`, and prove that frozen tensors stayed.

    The history is written beside the model epoch by epoch, and a report, with which the run can be repeated.

    Args:
        model: The model to begin with, which is not changed.
        data: A path, or one of the other sources of rows, with labels.
        options: What is trained, how, and for how long.
        output: The prefix of the result.
        overwrite: Whether what lies there is replaced.
        callbacks: One callback or several, which are called while the run goes on.
        resume: Whether a run that was stopped, or that saved on its way, goes on from its latest save, to the same
            result.
        repeats: The report of an earlier run; how the model and the data differ from those is passed to the callbacks.
        recording: What is recorded besides the history.
        command: What stands in the lineage of the output as what made it.
        interrupt: What ends the run early, once it is requested.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path, or of the model.

    Raises:
        Interrupted: `interrupt` was requested; where the run was is saved.
        CkptError: something does not fit; nothing is written then.
    """
    command = command or Command.of_call("finetune", model.path, output)
    writer, output = checked_writer(model, Path(output), to, overwrite), Path(output)
    require_threads(options.threads)

    options, going_on = as_begun(options, asked_before(output)) if resume else (options, [])
    model, _, unfrozen = with_unfrozen(model, options.unfreeze, options.roles)
    bound = Bound.of(model, options.roles, ("inputs", "labels"), options.classes, options.objective, options.seed)
    options, bound = with_head_first(options, bound.preprocessing(options.preprocess))
    frozen = check_options(bound.model, replace(options, roles=bound.given))
    if not (resume or overwrite):
        refuse_saves(output)

    every = None if options.save_every is None else Every.parse(options.save_every)
    recording = recording or Recording()
    callback = CallbackList([*recording.of(output, overwrite, resume), *CallbackList(callbacks)])
    bound = with_teacher(bound.with_training_rows(data, options.held_out, options.features), options, data)
    options, chosen = with_found_rates(*settled(options, bound), bound)
    facts = _facts(bound, data)
    unbound = notes_about("trained without the constraints that Keras puts on them", constrained(model))
    differing = repeats.differences(facts) if repeats else []
    callback.on_notes([*unfrozen, *bound.notes, *unbound, *going_on, *differing])

    saves = Saves(output, every, options.keep_checkpoints, _asked(options, bound, facts))
    saved = saves.latest() if resume else None
    if resume and saved is None:
        callback.on_notes([f"{saves.folder}: nothing was saved yet: the run starts from the beginning"])
    position, kept, tensors = (saved.position, saved.kept, saved.tensors) if saved else (Position(), None, None)
    training = Trainer(bound, replace(options, roles=bound.given), callback, position.epoch, tensors, frozen=frozen)
    begun = [] if resume else optimizer_left(bound, options)
    callback.on_notes([*chosen, *begun, *few_steps(options, bound)])

    loop = Loop(training, position, kept, saves, callback, interrupt or Interrupt())
    if saved is None:
        saves.clear()
    with callback.run(loop.history):
        kept = loop.run()
        contents, training = Contents(kept.graph, kept.tensors, model.provenance, command), loop.training
        with staged_output(output, writer, overwrite, [report_path(output)]) as place:
            written = writer.write(contents, place, False)
            callback.on_notes(written.notes)
            unchanged = _prove(bound.model, kept, written.values, output)
            run = Run(training.plan, loop.history, kept.epoch, best_of(loop.history), training.cache, unchanged)
            report = {
                **facts,
                **run.summary(),
                "options": {**options.flat(), **asdict(recording), "to": to},
                "notes": [*going_on, *chosen],
                "cache": str(run.features.entry.path) if run.features else None,
                "left_behind": training.left_behind,
            }
            write_report(place, report)
    saves.end()
    return run


def checked_writer(model: Model, output: Path, to: str | None, overwrite: bool) -> ModelWriter:
    """Return what writes the result of a run, which lies beside no other report, and not where the model is.

    Raises:
        CkptError: it does, or a model is there already.
    """
    writer = writer_for(model.graph.source, output, to)
    writer.check(output, overwrite, model.graph)
    refuse_existing([report_path(output)], overwrite)
    if output.resolve() in (model.path.resolve(), checkpoint.prefix_of(model.path).resolve()):
        raise PlanError(f"{output} is the model itself, which the result is compared with: write it elsewhere")
    return writer


def _asked(options: Options, bound: Bound, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same for a run that goes on."""
    return {
        **{name: value for name, value in options.flat().items() if name not in MAY_CHANGE},
        "preprocess": preprocessing_text(bound.model.graph),
        "teacher_logits": fingerprint_of(bound),
        "data": facts["data"]["fingerprint"],
    }


def _facts(bound: Bound, data: str | Path) -> dict[str, Any]:
    """Return what a report has of the model and the data."""
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


def _prove(model: Model, kept: Kept, written: Mapping[str, Tensor], output: Path) -> tuple[str, ...]:
    """Check that every frozen tensor has been written with the bytes it had in the model; return their names.

    Raises:
        CkptError: one has changed.
    """
    frozen = [name for name in kept.frozen if name in model.checkpoint and name in kept.tensors]
    changed = changed_tensors(model.checkpoint, written, frozen)
    if changed:
        raise CkptError(f"{output}: frozen tensors have changed: {', '.join(changed)}")
    return tuple(frozen)
