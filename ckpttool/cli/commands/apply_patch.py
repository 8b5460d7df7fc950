"""`ckpttool apply-patch`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import PATH, plan_option, rows_options
from ckpttool.cli.options.reading import SOURCE, models_first
from ckpttool.cli.options.writing import edited_output_options, family_asked
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.apply_patch import plan_apply_patch


@click.command("apply-patch")
@click.argument("base", metavar="BASE", type=SOURCE)
@models_first("base")
@click.argument("patch", metavar="PATCH", type=PATH)
@plan_option
@rows_options
@edited_output_options
def apply_patch(base: Path, patch: Path, output: Path | None, overwrite: bool, plan_only: bool, as_json: bool) -> None:
    """Apply PATCH, a file written by `ckpttool diff --patch`, to the checkpoint BASE.

    The result is bit-identical to the checkpoint that the patch was made from: dtypes, strings, names and metadata. The
    format of BASE can differ, but it must hold the same tensors; otherwise the error names the first that differs. A
    damaged PATCH is an error, too. The graph of BASE is copied if names, shapes and dtypes do not change.

    \b
    Example:
      ckpttool diff my_model_final.ckpt tuned.ckpt --patch -o tuned.patch
      ckpttool apply-patch my_model_final.ckpt tuned.patch -o tuned_again.ckpt
    """
    plan = plan_apply_patch(base, patch, None if plan_only else output, family_asked(None))
    execute(plan, output, overwrite, plan_only, as_json, with_table=False)
