"""Non-finite losses: which step caused it, and which layer was the first with non-finite values."""

from collections.abc import Mapping

import numpy as np

from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Array
from ckpttool.graph.contents.layers import Layer, layers
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import TensorRef
from ckpttool.runtime.function import STEP_NUMBER, GraphFunction, runner
from ckpttool.training.run import Position
from ckpttool.training.trainer import Trainer


def explain(
    training: Trainer, since: Position, values: Mapping[str, Array], failed: int, loss: float, good: str
) -> CkptError:
    """Return the error for a non-finite loss in batch `failed` of the epoch.

    The steps from `since` (with the variables' `values`) are repeated up to that batch, on which the layers are run
    one by one. `good` is the prefix of the last weights with a finite loss.
    """
    training.state.write(values)
    done = since.batch
    while done < failed:
        done += training.take(since.epoch, done, failed - done, since.step + done - since.batch).count
    step = since.step + failed - since.batch
    trained = _trained(training)
    first = _first_weights(training, trained) or _first_output(training, trained, since.epoch, failed, step)
    return _error(f"the loss became {loss} in epoch {since.epoch}, at step {step + 1}", first, good)


def explain_score(training: Trainer, position: Position, loss: float, good: str) -> CkptError:
    """Return the error for a non-finite validation loss after an epoch whose steps all had finite losses."""
    first = (
        _first_weights(training, _trained(training))
        or "the weights are finite, but the loss of a validation example is not"
    )
    where = f"in epoch {position.epoch}, after step {position.step}"
    return _error(f"the validation loss became {loss} {where}", first, good)


def _error(what: str, first: str, good: str) -> CkptError:
    return CkptError(f"{what}: {first}; try a lower `lr`, or `clip_norm`. The last good weights are {good}")


def _trained(training: Trainer) -> list[Layer]:
    return [layer for layer in layers(training.graph) if not set(layer.variables) <= set(training.frozen.names)]


def _first_weights(training: Trainer, trained: list[Layer]) -> str | None:
    """Return the first variable of some layers with a non-finite value, in words; None if there is none."""
    stored, values = stored_tensors(training.graph), training.state.read()
    for layer in trained:
        for name in layer.variables:
            if not all(np.isfinite(values[member.op]).all() for member in stored[name].members if member.op in values):
                return f"{name} failed first: its values are not finite"
    return None


def _first_output(training: Trainer, trained: list[Layer], epoch: int, batch: int, step: int) -> str:
    """Return the first trained layer with a non-finite output for a batch, in words, of those above the fed tensors."""
    fed = training.batch(epoch, batch)
    outputs = {layer.name: layer.output for layer in trained if layer.output and _is_above(training, layer.output, fed)}
    function = GraphFunction(training.graph, list(outputs.values()), [*fed], training.options.seed)
    arrays = runner(function, training.state, {})({**fed, STEP_NUMBER: np.int64(step)})
    for name, array in zip(outputs, arrays, strict=True):
        if not np.isfinite(array).all():
            return f"{name} failed first: its output is not finite"
    return "the outputs of all layers are finite, but the loss is not"


def _is_above(training: Trainer, tensor: str, fed: Mapping[str, Array]) -> bool:
    """Return whether a tensor can be computed from the fed tensors: it depends on no other placeholder."""
    todo, seen = [TensorRef.parse(tensor)], set[TensorRef]()
    while todo:
        ref = todo.pop()
        if str(ref) in fed or ref in seen:
            continue
        seen.add(ref)
        if training.graph.nodes[ref.op].op == "Placeholder":
            return False
        todo.extend(training.graph.inputs(ref.op))
    return True
