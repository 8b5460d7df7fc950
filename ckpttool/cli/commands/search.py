"""`ckpttool search`: how many layers of a model to reuse, and how many of these to freeze."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.general import json_option, seed_option
from ckpttool.cli.options.reading import allow_op_option, model_argument, weights_file_option
from ckpttool.cli.options.rows import ROLES, data_option, features_option, preprocess_option, roles_options
from ckpttool.cli.process import open_to_run
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.show.tables import print_report, say
from ckpttool.runtime.objectives import Loss
from ckpttool.search.quick import ScoredDepth
from ckpttool.verbs import search_quick as verb

COLUMNS = ("depth", "layers", "features", "logme", "expected", "from", "to", "rank", "tied")


@click.command()
@model_argument
@weights_file_option
@data_option
@features_option
@preprocess_option
@click.option("--quick", is_flag=True, required=True, help="Score what the frozen layers give; nothing is trained.")
@click.option(
    "--objective",
    type=click.Choice(list(Loss.known())),
    help="What the labels are: classes (softmax), several that hold or not (sigmoid), amounts (mse); else they say it.",
)
@seed_option
@roles_options
@allow_op_option
@config_option("model", *ROLES)
@json_option
def search(
    model: Path,
    data: Path,
    features: str | None,
    preprocess: str | None,
    quick: bool,
    objective: str | None,
    seed: int,
    roles: Mapping[str, Any],
    allow_op: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say how many layers of MODEL to reuse for other rows, where they stay frozen below a new linear layer.

    For each depth at which MODEL can be cut: LogME (the evidence of a linear model by row), and the expected accuracy,
    which is the share of rows that ridge regression on all other rows gets right, with its 95 % interval; for amounts R
    squared. Depths are ranked by that; tied are those that may well be as good as the best. Depth 0 is the input. What
    has dimensions of space or time is scored by its mean over these, what is very wide folded into fewer numbers. At
    most 5000 rows are scored. What fine-tuning some of the layers would give, scores do not say.

    \b
    Example:
      ckpttool search my_model_final.ckpt --data mnist.npz --quick
    """
    found = verb.search_quick(
        open_to_run(model, allow_op),
        data,
        objective=objective,
        seed=seed,
        roles=roles,
        callbacks=ProgressPrinter(as_json),
        features=features,
        preprocess=preprocess,
    )
    commands = _commands(found, model, data, preprocess, roles)
    print_report({**found.as_json(), "commands": commands}, map(_row, found.ranking.depths), COLUMNS, as_json)
    for line in (*found.lines(), *commands):
        say(line)


def _row(each: ScoredDepth) -> dict[str, Any]:
    """Return a row of the table."""
    depth, features = each.features.depth, each.features
    shape = "x".join(map(str, features.shape))
    ways = [*(["mean"] if features.pooled else []), *(["folded"] if features.folded else [])]
    names = depth.layers if len(depth.layers) < 3 else (f"{depth.layers[0]} to {depth.layers[-1]}",)
    return {
        "depth": depth.number,
        "layers": ", ".join(names) or "the input",
        "features": ", ".join([shape, *ways]),
        "logme": round(each.scores.logme, 4),
        "expected": round(each.expected, 4),
        "from": round(each.interval[0], 4),
        "to": round(each.interval[1], 4),
        "rank": each.rank,
        "tied": each.tied,
    }


def _commands(
    found: verb.QuickSearch, model: Path, data: Path, preprocess: str | None, roles: Mapping[str, Any]
) -> list[str]:
    """Return what makes the model of the best depth, and what trains its new layer."""
    reuse = found.reuse
    suffix = model.suffix if model.suffix in (".keras", ".h5") else ".ckpt"
    made, tuned, frozen = f"reused{suffix}", f"tuned{suffix}", list[str]()
    if reuse.layers is not None:
        inputs = [word for name in roles.get("inputs", ()) for word in ("--inputs", name)]
        first = ["reuse", str(model), "--layers", reuse.layers, *inputs, "--head", reuse.head]
        first += _option("--after", reuse.after) + _option("--signature", roles.get("signature"))
        frozen = ["--freeze", reuse.layers, "--cache"]
    elif reuse.input_shape:
        first = ["new", "--input", ",".join(map(str, reuse.input_shape)), "--layers", reuse.head]
    else:
        return []
    first += _option("--objective", reuse.objective) + _option("--preprocess", preprocess or reuse.preprocess)
    commands = [*first, "-o", made], ["finetune", made, "--data", str(data), *frozen, "-o", tuned]
    return [shlex.join(["ckpttool", *words]) for words in commands]


def _option(name: str, value: str | None) -> list[str]:
    return [] if value is None else [name, value]
