"""What the commands that rewrite graphs have in common: what is fed, and what is asked for."""

import click

from ckpttool.cli.options.shared import together


def _names(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(text.strip() for text in (value or "").split(",") if text.strip())


_inputs = click.option(
    "--inputs",
    metavar="X,...",
    callback=_names,
    help="The tensors that are fed, also as NAME=TENSOR; one that is no placeholder becomes one.",
)
_outputs = click.option(
    "--outputs", metavar="Y,...", callback=_names, help="The tensors that are asked for, also as NAME=TENSOR."
)


sides = together(_inputs, _outputs)
"""`--inputs` and `--outputs`."""
