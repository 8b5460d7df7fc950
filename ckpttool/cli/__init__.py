"""The command line: one module per command, imported when it is used; errors are shown here and nowhere else."""

import importlib
import sys
from typing import Any

import click

from ckpttool import __version__
from ckpttool.cli.show import errors
from ckpttool.lineage.recording import recording

COMMANDS = {
    "ops": "ckpttool.cli.commands.ops:ops",
    "vars": "ckpttool.cli.commands.vars:list_variables",
    "layers": "ckpttool.cli.commands.layers:layers",
    "show": "ckpttool.cli.commands.show:show",
    "collections": "ckpttool.cli.commands.collections:collections",
    "diff": "ckpttool.cli.commands.diff:diff",
    "verify": "ckpttool.cli.commands.verify:verify",
    "log": "ckpttool.cli.commands.log:log",
    "stats": "ckpttool.cli.commands.stats:stats",
    "latest": "ckpttool.cli.commands.latest:latest",
    "formats": "ckpttool.cli.commands.formats:list_formats",
    "rules": "ckpttool.cli.commands.rules:rules",
    "edit": "ckpttool.cli.commands.edit:edit",
    "convert": "ckpttool.cli.commands.convert:convert",
    "average": "ckpttool.cli.commands.average:average",
    "merge": "ckpttool.cli.commands.merge:merge",
    "split": "ckpttool.cli.commands.split:split",
    "join": "ckpttool.cli.commands.join:join",
    "modernize": "ckpttool.cli.commands.modernize:modernize",
    "strip": "ckpttool.cli.commands.strip:strip",
    "export-saved-model": "ckpttool.cli.commands.export_saved_model:export_saved_model",
    "fold": "ckpttool.cli.commands.fold:fold",
    "new": "ckpttool.cli.commands.new:new",
    "reuse": "ckpttool.cli.commands.reuse:reuse",
    "freeze": "ckpttool.cli.commands.freeze:freeze",
    "cache": "ckpttool.cli.commands.cache:cache",
    "import": "ckpttool.cli.commands.import_:import_weights",
    "export": "ckpttool.cli.commands.export:export",
    "lr-find": "ckpttool.cli.commands.lr_find:lr_find",
    "finetune": "ckpttool.cli.commands.finetune:finetune",
    "evaluate": "ckpttool.cli.commands.evaluate:evaluate",
    "predict": "ckpttool.cli.commands.predict:predict",
    "diagnose": "ckpttool.cli.commands.diagnose:diagnose",
}
"""Where each command lives, in the order in which help lists them."""

GROUPS = {
    "Look": (
        "ops",
        "vars",
        "layers",
        "show",
        "collections",
        "diff",
        "verify",
        "stats",
        "latest",
        "log",
        "formats",
        "rules",
    ),
    "Change": (
        "edit",
        "convert",
        "average",
        "merge",
        "split",
        "join",
        "modernize",
        "strip",
        "export-saved-model",
        "fold",
    ),
    "Transfer": (
        "new",
        "reuse",
        "freeze",
        "cache",
        "import",
        "export",
        "lr-find",
        "finetune",
        "evaluate",
        "predict",
        "diagnose",
    ),
}
"""The headings of help; a command stands under exactly one."""


class Tool(click.Group):
    """The group of all commands: loads a command when it is named, and shows its error once, in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command; None where there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Note the command line as it was given, before it is taken apart: outputs carry it in their lineage."""
        ctx.with_resource(recording(args))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings."""
        for heading, names in GROUPS.items():
            rows = [
                (name, command.get_short_help_str(200)) for name in names if (command := self.get_command(ctx, name))
            ]
            with formatter.section(heading):
                formatter.write_dl(rows)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command and end the process with the exit code that docs/design.md gives its outcome."""
        try:
            code = super().main(*args, **(extra | {"standalone_mode": False}))
            sys.stdout.flush()
        except errors.SHOWN as error:
            code = errors.show(error)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; its errors are shown here, where the command is known, and not left to Click."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except errors.SHOWN as error:
            running = ctx.invoked_subcommand
            ctx.exit(errors.show(error, self.get_command(ctx, running) if running else None))
        return result


@click.group(cls=Tool, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ckpttool")
def main() -> None:
    """Transfer learning and checkpoint surgery for saved TensorFlow models.

    A TensorFlow checkpoint is named by its prefix: my_model.ckpt stands for my_model.ckpt.index,
    my_model.ckpt.meta and my_model.ckpt.data-00000-of-00001. Any of the three is taken too.

    \b
    Example:
      ckpttool layers my_model_final.ckpt
    """
