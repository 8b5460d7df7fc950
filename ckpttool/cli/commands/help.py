"""`ckpttool help`."""

import click

from ckpttool.cli.show.help import LongHelp, all_options


@click.command("help")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Show all options, in groups.")
@click.pass_context
def show_help(context: click.Context, names: tuple[str, ...], everything: bool) -> None:
    """Show the help of COMMAND, like `ckpttool COMMAND --help`, or the list of all commands.

    \b
    Example:
      ckpttool help finetune
      ckpttool help zoo add
    """
    shown = context.find_root()
    rest = list(names)
    while rest and isinstance(shown.command, click.Group):
        name, command, rest = shown.command.resolve_command(shown, rest)
        if command is None:
            break
        shown = click.Context(command, parent=shown, info_name=name)
    command = shown.command
    click.echo(all_options(command, shown) if everything and isinstance(command, LongHelp) else shown.get_help())
