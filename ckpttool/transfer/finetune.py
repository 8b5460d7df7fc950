"""Fine-tuning: the layers that are not frozen are trained on a data set, from start to proof."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.data.dataset import notes_of
from ckpttool.data.fingerprint import fingerprint
from ckpttool.errors import CkptError, PlanError
from ckpttool.formats.files import refuse_existing
from ckpttool.surgery.verify import changed_tensors
from ckpttool.transfer.model import Model, outputs_of, write_model
from ckpttool.transfer.plan import PlanRow
from ckpttool.transfer.report import report_path, write_report
from ckpttool.transfer.run import Epoch, Options, Run, best_of
from ckpttool.transfer.training import Training, plan_of, prepare
from ckpttool.transfer.watch import Watch


def plan(model: Model, options: Options) -> list[PlanRow]:
    """Return the plan of a run without running it.

    Raises:
        CkptError: the graph and the options do not fit one another.
    """
    frozen, graph, _ = prepare(model, options)
    return plan_of(graph, frozen)


def finetune(
    model: Model,
    data: str | Path,
    options: Options,
    output: str | Path,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Run:
    """Train a model, write the best epoch (or the last) under `output`, and prove that frozen tensors stayed.

    Raises:
        CkptError: something does not fit; nothing is written then.
    """
    refuse_existing([*outputs_of(output), report_path(output)], overwrite)
    if Path(output).resolve() == checkpoint.prefix_of(model.path).resolve():
        raise PlanError(f"{output} is the model itself, which the result is compared with: write it elsewhere")
    watch = watch or Watch()
    training = Training(model, data, options, watch)
    history: list[Epoch] = []
    for number in range(1, options.epochs + 1):
        history.append(training.epoch(number))
        watch.finished(history[-1])
        if options.keep == "last" or history[-1] is best_of(history):
            kept, weights = history[-1], training.state.read()
    write_model(training.graph, training.tensors(weights), output, overwrite)
    proved = _prove(training, output)
    run = Run(training.plan, history, kept, best_of(history), training.features, proved)
    write_report(output, _report(training, run, data))
    return run


def _prove(training: Training, output: str | Path) -> tuple[str, ...]:
    """Check that every frozen tensor of the output has the bytes it had in the model; return their names.

    Raises:
        CkptError: one has changed.
    """
    frozen = [name for name in training.frozen.names if name in training.model.checkpoint]
    changed = changed_tensors(training.model.checkpoint, checkpoint.open(output), frozen)
    if changed:
        raise CkptError(f"{output}: frozen tensors have changed: {', '.join(changed)}")
    return tuple(frozen)


def _report(training: Training, run: Run, data: str | Path) -> dict[str, Any]:
    """Return what the run report says, but for the versions."""
    return {
        "model": str(training.model.path),
        "plan": [row.as_json() for row in run.plan],
        "options": asdict(training.options),
        "data": {
            "path": str(data),
            "fingerprint": {split.name: fingerprint(split) for split in training.splits},
            "rows": {split.name: split.rows for split in training.splits},
            "preprocessing": notes_of(training.splits),
        },
        "cache": str(run.features.entry.path) if run.features else None,
        "unchanged": list(run.unchanged),
        "left_behind": training.left_behind,
        "best_epoch": run.best.epoch,
        "kept_epoch": run.kept.epoch,
        "history": [asdict(epoch) for epoch in run.history],
    }
