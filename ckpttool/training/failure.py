"""Failure: when the loss is no number any more, which step made it so, and which layer went first."""

from collections.abc import Mapping

import numpy as np

from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Array
from ckpttool.graph.contents.layers import Layer, layers
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import TensorRef
from ckpttool.runtime.function import STEP_NUMBER, GraphFunction, runner
from ckpttool.training.run import Position
from ckpttool.training.training import Training


def explain(
    training: Training, since: Position, values: Mapping[str, Array], failed: int, loss: float, good: str
) -> CkptError:
    """Return the error for a loss that is not finite in the epoch's batch `failed`.

    The steps from `since` (with the variables' `values`) on are taken again up to that batch, on which the layers are
    then run one after the other. `good` is the prefix of the last good weights.
    """
    training.state.write(values)
    done = since.batch
    while done < failed:
        done += training.take(since.epoch, done, failed - done, since.step + done - since.batch).count
    step = since.step + failed - since.batch
    what = f"the loss became {loss} in epoch {since.epoch}, at step {step + 1}"
    first = _first(training, since.epoch, failed, step)
    return CkptError(f"{what}: {first}; try a lower --lr, or --clip-norm. The last good weights are {good}")


def explain_score(training: Training, position: Position, loss: float, good: str) -> CkptError:
    """Return the error for a validation loss that is not finite after all of an epoch's steps had finite ones."""
    first = _first_weights(training, _trained(training)) or "the weights are all numbers, a validation row gives none"
    what = f"the validation loss became {loss} in epoch {position.epoch}, after step {position.step}"
    return CkptError(f"{what}: {first}; try a lower --lr, or --clip-norm. The last good weights are {good}")


def _trained(training: Training) -> list[Layer]:
    return [layer for layer in layers(training.graph) if not set(layer.variables) <= set(training.frozen.names)]


def _first_weights(training: Training, changed: list[Layer]) -> str | None:
    """Name the first variable of some layers that holds what is no number, if one does."""
    stored, values = stored_tensors(training.graph), training.state.read()
    for layer in changed:
        for name in layer.variables:
            if not all(np.isfinite(values[member.op]).all() for member in stored[name].members if member.op in values):
                return f"{name} went first, its values are no numbers any more"
    return None


def _first(training: Training, epoch: int, batch: int, step: int) -> str:
    """Say which of the trained layers first holds or gives what is no number."""
    changed = _trained(training)
    if found := _first_weights(training, changed):
        return found
    outputs = _outputs(training, [layer for layer in changed if layer.output], epoch, batch, step)
    for name, output in outputs.items():
        if not np.isfinite(output).all():
            return f"{name} went first, its output is no number any more"
    return "the outputs of all layers are numbers, the loss itself is none"


def _outputs(training: Training, wanted: list[Layer], epoch: int, batch: int, step: int) -> dict[str, Array]:
    """Return what layers give for a batch, as far as they lie above what is fed."""
    fed = training.batch(epoch, batch)
    names = {layer.name: str(layer.output) for layer in wanted if _is_above(training, str(layer.output), set(fed))}
    function = GraphFunction(training.graph, list(names.values()), [*fed], training.options.seed)
    found = runner(function, training.state, {})({**fed, STEP_NUMBER: np.int64(step)})
    return dict(zip(names, found, strict=True))


def _is_above(training: Training, tensor: str, fed: set[str]) -> bool:
    """Say whether a tensor can be computed from what is fed: no placeholder is left without."""
    todo, seen = [TensorRef.parse(tensor)], set()
    while todo:
        ref = todo.pop()
        if str(ref) in fed or ref in seen:
            continue
        seen.add(ref)
        if training.graph.nodes[ref.op].op == "Placeholder":
            return False
        todo.extend(training.graph.inputs(ref.op))
    return True
