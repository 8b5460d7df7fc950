"""The start of a stage: the initial value of each variable of its graph, and the number of earlier steps."""

from collections.abc import Mapping

from ckpttool.core.casting import cast_tensor
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import is_start
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.model.model import Model
from ckpttool.runtime.state import fresh_tensors
from ckpttool.training.options import Options

GLOBAL_STEP = "global_step"


def steps_before(model: Model) -> int:
    """Return the number of training steps recorded in a model."""
    return int(model.checkpoint[GLOBAL_STEP].read()) if GLOBAL_STEP in model.checkpoint else 0


def starting_values(model: Model, graph: Graph, present: Mapping[str, Tensor], options: Options) -> dict[str, Tensor]:
    """Return a value for each variable of a graph: the current one, else the checkpoint's, else a new initial value.

    Step counters are cast to the dtype of the graph's. The reference values of `l2_sp` are the start of this run, not
    of an earlier run that produced the checkpoint.

    Raises:
        PlanError: a weight is missing in the checkpoint.
    """
    stored = stored_tensors(graph)
    anew = {name for name in stored if options.recipe and is_start(name) and stored[name].kind == "slot"}
    known = {name: present.get(name) or (None if name in anew else model.checkpoint.get(name)) for name in stored}
    missing = [name for name, tensor in known.items() if tensor is None]
    weights = [name for name in missing if stored[name].kind == "weight"]
    if weights:
        raise PlanError(f"{model.path}: the graph has {weights[0]}, the checkpoint does not")
    fresh = fresh_tensors(
        graph, missing, options.seed, {name: tensor for name, tensor in known.items() if tensor is not None}
    )
    values = {name: tensor or fresh[name] for name, tensor in known.items()}
    steps = {name: cast_tensor(values[name], stored[name].dtype) for name in stored if stored[name].kind == "step"}
    return {**values, **steps}
