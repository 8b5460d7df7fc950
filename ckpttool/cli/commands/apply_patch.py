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
    """Make of the checkpoint BASE the one that PATCH, a file of `ckpttool diff --patch`, was made for.

    The result has the same bits as that one: every dtype, strings, names, texts. BASE may be in another format than it
    was, but must hold the same tensors, or is refused with the first that differs; a damaged PATCH is refused too. A
    graph beside BASE comes along where names, shapes and dtypes stay.

    \b
    Example:
      ckpttool diff my_model_final.ckpt tuned.ckpt --patch -o tuned.patch
      ckpttool apply-patch my_model_final.ckpt tuned.patch -o tuned_again.ckpt
    """
    plan = plan_apply_patch(base, patch, None if plan_only else output, family_asked(None))
    execute(plan, output, overwrite, plan_only, as_json, with_table=False)
