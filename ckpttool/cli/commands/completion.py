"""`ckpttool completion`."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CKPTTOOL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script for SHELL: commands, options, files, names of tensors, layers and rule sets.

    \b
    Example:
      eval "$(ckpttool completion bash)"
      ckpttool completion fish > ~/.config/fish/completions/ckpttool.fish
    """
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(context.find_root().command, {}, "ckpttool", VARIABLE).source())
