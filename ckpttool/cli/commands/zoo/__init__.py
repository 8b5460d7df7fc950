"""`ckpttool zoo`: a file per subcommand, each imported when it is used."""

import importlib
from typing import Any

import click

from ckpttool.cli.show import errors
from ckpttool.core.suggestions import suggestion

SUBCOMMANDS = {
    "add": "add:add",
    "list": "listing:list_entries",
    "show": "show:show",
    "suggest": "suggest:suggest",
    "history": "history:history",
    "tag": "tag:tag",
    "move": "move:move",
    "remove": "remove:remove",
    "verify": "verify:verify",
    "gc": "gc:gc",
    "compact": "compact:compact",
    "pull": "pull:pull",
    "push": "push:push",
    "export": "export:export",
}
"""The subcommands in the order of the help, with their functions in this folder."""


class Zoo(click.Group):
    """The group of the subcommands of a catalogue; errors are shown here, because the subcommand is known here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands in the order of the table."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand, whose module is imported; None if it does not exist."""
        if cmd_name not in SUBCOMMANDS:
            return None
        module, _, function = SUBCOMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a subcommand, with the nearest names in the error if it does not exist.

        Raises:
            UsageError: there is no such subcommand.
        """
        if args[0] not in SUBCOMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {args[0]!r}{suggestion(args[0], SUBCOMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand, and show its error in one line."""
        try:
            return super().invoke(ctx)
        except errors.SHOWN as error:
            running = ctx.invoked_subcommand
            ctx.exit(errors.show(error, self.get_command(ctx, running) if running else None))


@click.group(cls=Zoo)
def zoo() -> None:
    """Keep models in a catalogue of your own, and find those that fit.

    An entry N has revisions, N@1, N@2 and so on, and tags that name one of them, N:best; N alone is the latest. Any
    other command reads an entry as zoo:N. The catalogue is a folder among your data; CKPTTOOL_ZOO or --zoo name
    another one; list, show and history look at one on a server, too. Its files are found without this tool in by-name.

    \b
    Example:
      ckpttool zoo add my_model_final.ckpt --name digits --licence mit --metric accuracy=0.97
      ckpttool layers zoo:digits
    """
