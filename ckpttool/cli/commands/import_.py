"""`ckpttool import`."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import shared
from ckpttool.cli.options.sampling import check_sample
from ckpttool.cli.show.plans import execute
from ckpttool.foreign.rules import parse_rule, read_rules
from ckpttool.verbs.import_weights import plan_import
from ckpttool.verbs.sample import TOLERANCE


@click.command("import")
@click.argument("weights", type=shared.SOURCE)
@click.option("--into", metavar="MODEL", type=shared.SOURCE, required=True, help="The graph (.meta or prefix) to fill.")
@shared.rules(required=False)
@click.option("--rename", metavar="RE=>NEW", multiple=True, help="A rule; may be repeated. Before those of --rules.")
@click.option("--scope", metavar="PREFIX", default="", help="Put every tensor below this prefix of the graph's names.")
@click.option("--suggest", is_flag=True, help="Write a draft of rules as OUT (.toml) instead, to read and edit.")
@click.option("--check", "sample", metavar="SAMPLE", type=shared.PATH, help="Compare with what the source computed.")
@click.option("--tolerance", type=click.FloatRange(min=0), default=TOLERANCE, show_default=True, help="Of --check.")
@shared.lenient
@click.option("--cast", is_flag=True, help="Let numbers change their dtype to the graph's.")
@click.option("--bake", is_flag=True, help="Also write the values into the .meta, as what its initialisers give.")
@shared.seed
@shared.plan
@shared.as_json
@shared.writes
def import_weights(
    weights: Path,
    rules: Path | None,
    rename: tuple[str, ...],
    suggest: bool,
    sample: Path | None,
    tolerance: float,
    output: Path,
    overwrite: bool,
    plan_only: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Write weights of another framework into a graph's variables, as a model with a checkpoint.

    WEIGHTS is a file of PyTorch (.pt, .pth, .bin), a .safetensors, an HDF5 file (any tree of datasets, or one of Keras
    1, 2 or 3), an .npz, or a checkpoint. A tensor becomes the variable of its name; rules give other names and layouts,
    the first that matches wins, an empty NEW leaves a tensor out. Every tensor and every weight of the graph must find
    its counterpart, unless --lenient is given: then the other weights keep the model's values, or start fresh where
    MODEL is a graph without a checkpoint.

    SAMPLE is arrays by name, an .npz say: rows under the placeholders' names, and under names of layers, ops or tensors
    what the source framework computed there. Each is compared; the exit code is 1 where one differs, and where
    --suggest leaves something open.

    \b
    Example:
      ckpttool import bert.bin --into bert.meta --rules bert-pytorch-tf1 -o imported.ckpt
    """
    if suggest:
        if rules or rename or sample or how["scope"]:
            raise click.UsageError(
                "--suggest drafts rules for whole names: not with --rules, --rename, --scope or --check"
            )
        from ckpttool.cli.options.drafting import draft_rules

        draft_rules(weights, how["into"], output, overwrite, as_json)
        return
    chosen = [*map(parse_rule, rename), *(read_rules(rules) if rules else [])]
    planned = plan_import(weights, rules=chosen, sample=sample, tolerance=tolerance, **how)
    execute(planned, output, overwrite, plan_only, as_json)
    if not plan_only:
        check_sample(output, sample, tolerance, as_json)
