"""The command line: a module per command, imported on use; errors are shown here and nowhere else."""

import importlib
import io
import os
import sys
import warnings
from itertools import groupby
from typing import Any

import click

from ckpttool import __version__
from ckpttool.cli.options.general import GIVEN, OWN_PROCESS, Written, quiet_option, verbose_option
from ckpttool.cli.show import errors
from ckpttool.cli.show.logs import escape_logs

NUMBERS_OF_FILES = r"(overflow|invalid value|divide by zero) encountered|Casting complex values"
"""NumPy's warnings about NaN and huge numbers, which a command reports as what they are in the file, or refuses."""
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
"""The commands in the order of the help, with their headings and their functions in `commands/`."""
SHORT = 200
"""Maximum characters of a summary in the list of commands."""
BESIDE = {"cache": {"list": "cache_list:cache_list", "prune": "cache_prune:cache_prune"}}
"""Subcommands of commands that also run alone: `cache list` beside `cache MODEL`."""
ABOUT_ITSELF = {"help": "help:show_help", "completion": "completion:completion"}
"""Commands about the command line itself, which have no verb."""
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
"""Aliases: names in other tools, and other spellings; not listed in the help."""


class Tool(click.Group):
    """The group of all commands: imports a command when it is used, and shows its error in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the table."""
        return [*COMMANDS, *ABOUT_ITSELF]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, whose module is imported; None if it does not exist."""
        group, _, beside = cmd_name.partition(" ")
        if place := BESIDE.get(group, {}).get(beside):
            return _loaded(place)
        name = ALIASES.get(cmd_name, cmd_name)
        place = COMMANDS[name][1] if name in COMMANDS else ABOUT_ITSELF.get(name)
        return _loaded(place) if place else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Store the unparsed command line, for the lineage of outputs, and resolve the command.

        Raises:
            UsageError: the command does not exist; the message has the nearest names.
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
        """Run a command and exit with the code that docs/design.md defines for its outcome."""
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed; a file that is opened later must not take its descriptor
                setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: no name may stop a command
        warnings.filterwarnings("ignore", NUMBERS_OF_FILES, RuntimeWarning)
        try:
            code = super().main(*args, **(extra | {"standalone_mode": False}))
            sys.stdout.flush()
        except errors.SHOWN as error:
            code = errors.show(error)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors are shown here instead of by Click, because the command is known here."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            if ctx.obj is OWN_PROCESS and Written.NOTED in ctx.meta:
                from ckpttool.cli.sandbox.own_graphs import note_outputs

                note_outputs(ctx)
        except errors.SHOWN as error:
            running = ctx.invoked_subcommand
            ctx.exit(errors.show(error, self.get_command(ctx, running) if running else None))
        return result


def _loaded(place: str) -> click.Command:
    """Import the module of a command, and return the command."""
    module, _, function = place.partition(":")
    command: click.Command = getattr(importlib.import_module(f"ckpttool.cli.commands.{module}"), function)
    return command


def require_command(ctx: click.Context, name: str) -> None:
    """Check that a command exists.

    Raises:
        UsageError: it does not exist; the message has the nearest names.
    """
    if name not in COMMANDS and name not in ABOUT_ITSELF:
        from ckpttool.core.suggestions import suggestion

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
    """Run the command line as its own process, in which untrusted graphs can be confined."""
    if sys.argv[1:] in (["--version"], ["-V"]):  # needs no imports of commands
        click.echo(f"ckpttool, version {__version__}")
        return
    escape_logs()
    process = os.getpid()
    try:
        main(prog_name="ckpttool", obj=OWN_PROCESS)
    except SystemExit as end:
        if os.getpid() != process:  # a confined child: clearing memory at exit would copy all shared pages
            os._exit(end.code if isinstance(end.code, int) else 1)
        raise
