"""The command line: one module per command, imported when it is used; errors are shown here and nowhere else."""

import importlib
import io
import os
import sys
from itertools import groupby
from typing import Any

import click

from ckpttool import __version__
from ckpttool.cli.options.general import GIVEN, OWN_PROCESS, Written, quiet_option, verbose_option
from ckpttool.cli.show import errors
from ckpttool.cli.show.logs import escape_logs

COMMANDS = {
    "ops": ("Look", "ops:ops"),
    "vars": ("Look", "vars:list_variables"),
    "layers": ("Look", "layers:layers"),
    "show": ("Look", "show:show"),
    "collections": ("Look", "collections:collections"),
    "diff": ("Look", "diff:diff"),
    "verify": ("Look", "verify:verify"),
    "scan": ("Look", "scan:scan"),
    "salvage": ("Look", "salvage:salvage"),
    "stats": ("Look", "stats:stats"),
    "latest": ("Look", "latest:latest"),
    "log": ("Look", "log:log"),
    "report": ("Look", "report:report"),
    "formats": ("Look", "formats:list_formats"),
    "rules": ("Look", "rules:rules"),
    "edit": ("Change", "edit:edit"),
    "apply": ("Change", "apply:apply"),
    "apply-patch": ("Change", "apply_patch:apply_patch"),
    "convert": ("Change", "convert:convert"),
    "average": ("Change", "average:average"),
    "merge": ("Change", "merge:merge"),
    "extract": ("Change", "extract:extract"),
    "split": ("Change", "split:split"),
    "join": ("Change", "join:join"),
    "modernize": ("Change", "modernize:modernize"),
    "strip": ("Change", "strip:strip"),
    "export-saved-model": ("Change", "export_saved_model:export_saved_model"),
    "fold": ("Change", "fold:fold"),
    "new": ("Transfer", "new:new"),
    "pretrain": ("Transfer", "pretrain:pretrain"),
    "reuse": ("Transfer", "reuse:reuse"),
    "freeze": ("Transfer", "freeze:freeze"),
    "cache": ("Transfer", "cache:cache"),
    "import": ("Transfer", "import_:import_weights"),
    "export": ("Transfer", "export:export"),
    "lr-find": ("Transfer", "lr_find:lr_find"),
    "finetune": ("Transfer", "finetune:finetune"),
    "evaluate": ("Transfer", "evaluate:evaluate"),
    "check": ("Transfer", "check:check"),
    "predict": ("Transfer", "predict:predict"),
    "search": ("Transfer", "search:search"),
    "diagnose": ("Transfer", "diagnose:diagnose"),
    "zoo": ("Keep", "zoo:zoo"),
    "doctor": ("Keep", "doctor:doctor"),
}
"""The commands in the order in which help lists them: the heading of each, and its function in `commands/`."""
SHORT = 200
"""Characters of a command's summary in the list of all."""
BESIDE = {"cache": {"list": "cache_list:cache_list", "prune": "cache_prune:cache_prune"}}
"""What follows a command that is one itself: `cache list`, beside `cache MODEL`."""
ABOUT_ITSELF = {"help": "help:show_help", "completion": "completion:completion"}
"""What is about the command line itself, and has no verb."""
ALIASES = {
    "checkpoint-average": "average",
    "compare": "diff",
    "fine-tune": "finetune",
    "freeze-graph": "fold",
    "freeze_graph": "fold",
    "inspect": "vars",
    "inspect-checkpoint": "vars",
    "inspect_checkpoint": "vars",
    "ls": "vars",
    "modernise": "modernize",
    "summary": "layers",
}
"""Names that users of other tools, and of other spellings, have for commands; help does not list them."""


class Tool(click.Group):
    """The group of all commands: loads a command when it is named, and shows its error once, in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in the order of the table."""
        return [*COMMANDS, *ABOUT_ITSELF]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command; None where there is no such command."""
        group, _, beside = cmd_name.partition(" ")
        if place := BESIDE.get(group, {}).get(beside):
            return _loaded(place)
        name = ALIASES.get(cmd_name, cmd_name)
        place = COMMANDS[name][1] if name in COMMANDS else ABOUT_ITSELF.get(name)
        return _loaded(place) if place else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Keep the command line as it was given, before it is taken apart: outputs carry it in their lineage.

        Raises:
            UsageError: there is no such command; with the nearest names.
        """
        from ckpttool.lineage.provenance import Command

        name = ALIASES.get(args[0], args[0])
        ctx.meta[GIVEN] = Command(name, tuple(args[1:]))
        if not ctx.resilient_parsing and not args[0].startswith("-"):
            require_command(ctx, name)
        if place := BESIDE.get(args[0], {}).get(" ".join(args[1:2])):
            return " ".join(args[:2]), _loaded(place), args[2:]
        return super().resolve_command(ctx, [name, *args[1:]])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings."""
        from ckpttool.cli.summaries import SUMMARIES

        sections = [(heading, [*names]) for heading, names in groupby(COMMANDS, key=lambda name: COMMANDS[name][0])]
        for heading, names in (*sections, ("Help", [*ABOUT_ITSELF])):
            with formatter.section(heading):
                formatter.write_dl([(name, SUMMARIES.get(name) or self._summary(ctx, name)) for name in names])

    def _summary(self, ctx: click.Context, name: str) -> str:
        """Return the first line of a command's help."""
        command = self.get_command(ctx, name)
        return command.get_short_help_str(SHORT) if command else ""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command and end the process with the exit code that docs/design.md gives its outcome."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it: no name stops a command
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
            if ctx.obj is OWN_PROCESS and Written.NOTED in ctx.meta:
                from ckpttool.cli.own_graphs import note_outputs

                note_outputs(ctx)
        except errors.SHOWN as error:
            running = ctx.invoked_subcommand
            ctx.exit(errors.show(error, self.get_command(ctx, running) if running else None))
        return result


def _loaded(place: str) -> click.Command:
    """Import the module of a command."""
    module, _, function = place.partition(":")
    command: click.Command = getattr(importlib.import_module(f"ckpttool.cli.commands.{module}"), function)
    return command


def require_command(ctx: click.Context, name: str) -> None:
    """Check that there is a command of a name.

    Raises:
        UsageError: there is none; with the nearest names.
    """
    if name not in COMMANDS and name not in ABOUT_ITSELF:
        from ckpttool.core.names import suggestion

        raise click.UsageError(f"No such command {name!r}{suggestion(name, [*COMMANDS, *ABOUT_ITSELF, *ALIASES])}", ctx)


@click.group(cls=Tool, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="ckpttool")
@quiet_option
@verbose_option
def main() -> None:
    """Transfer learning and checkpoint surgery for saved TensorFlow models.

    A TensorFlow checkpoint is named by its prefix: my_model.ckpt stands for my_model.ckpt.index,
    my_model.ckpt.meta and my_model.ckpt.data-00000-of-00001. Any of the three is taken too.

    \b
    Example:
      ckpttool layers my_model_final.ckpt
    """
    from ckpttool.runtime.configure import configure_tensorflow

    configure_tensorflow()  # a command whose graph has convolutions does so again


def run() -> None:
    """Run the command line as a process of its own, in which a graph of others is confined."""
    if sys.argv[1:] in (["--version"], ["-V"]):  # which needs nothing that is imported below
        click.echo(f"ckpttool, version {__version__}")
        return
    escape_logs()
    process = os.getpid()
    try:
        main(prog_name="ckpttool", obj=OWN_PROCESS)
    except SystemExit as end:
        if os.getpid() != process:  # a confined child: to clear memory that it shares would have all of it copied
            os._exit(end.code if isinstance(end.code, int) else 1)
        raise
