"""A fresh model from a description of its layers."""

from collections.abc import Sequence
from pathlib import Path

from ckpttool.formats.files import refuse_existing
from ckpttool.graph.spec import parse
from ckpttool.graph.variables import variables
from ckpttool.runtime.build import new_graph
from ckpttool.runtime.fresh import fresh_values
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.tensors import Tensor
from ckpttool.transfer.model import outputs_of, write_model
from ckpttool.transfer.plan import PlanRow, plan_rows


def new(
    input_shape: Sequence[int], layers: str, output: Path, optimizer: Optimizer, seed: int = 42, overwrite: bool = False
) -> list[PlanRow]:
    """Write a classifier with freshly initialised layers; return its variables as a plan.

    `input_shape` is that of one row, without the rows' own dimension: `[784]`.

    Raises:
        PlanError: the layers are not in the language of SPEC, or do not fit one another.
        ExistingOutput: the output is there already.
    """
    refuse_existing(outputs_of(output), overwrite)
    graph = new_graph(input_shape, parse(layers), optimizer, seed)
    values = fresh_values(graph, list(variables(graph)), seed)
    write_model(graph, {name: Tensor.of(name, value) for name, value in values.items()}, output, overwrite)
    return plan_rows(variables(graph).values(), {})
