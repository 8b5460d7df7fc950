"""Help: `--help` shows the important options of a command, `--help-all` all options in groups."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import click

MOST = 12
"""Maximum options that `--help` shows in full; commands with more show the important ones."""
FIRST = {
    "finetune": "data freeze train epochs optimizer lr batch-size cache early-stopping output",
    "pretrain": "data layers method input from epochs optimizer lr batch-size output",
    "search": "data quick head keep freeze rows seeds budget report output",
    "lr-find": "data freeze from to steps optimizer batch-size cache plot json",
    "cache": "data freeze cache-dir workers augment preprocess valid on json",
    "evaluate": "data split objective preprocess min-accuracy max-drop baseline classes format json",
    "check": "data unchanged min-accuracy max-loss max-drop baseline severity junit summary json",
    "predict": "data output overwrite split tensor preprocess classes workers json",
    "diagnose": "data rows objective preprocess classes format json",
    "reuse": "layers head after into freeze objective plan json output overwrite",
    "new": "input layers objective optimizer lr classes preprocess plan output overwrite",
    "import": "into rules rename suggest check lenient plan output to overwrite",
    "merge": "how prefer base weights data alpha plan output overwrite",
    "edit": "keep drop drop-slots rename cast resize set plan output to",
}
"""The important options by command."""
GROUPS = {
    "Data": "data unlabelled features classes preprocess valid group split rows input image-shape augment "
    "cache-augment inputs labels signature",
    "What is trained": "layers freeze unfreeze train stages lp-ft train-op bn head after fresh into from method "
    "end-to-end keep teacher temperature teacher-weight pseudo-label rounds sure ema objective logits loss accuracy "
    "training",
    "Optimizer": "optimizer lr lr-decay-per-layer schedule warmup epochs batch-size clip-value clip-norm "
    "clip-global-norm",
    "Regularisation": "l1 l2 l2-sp max-norm dropout label-smoothing class-weight early-stopping",
    "Run": "cache cache-dir seed threads save-every keep-checkpoints resume config config-paths on workers budget "
    "trials seeds folds grid rope soup interpolate allow-op trust in-process weights lenient",
    "Output": "output to overwrite plan format header json quiet verbose tensorboard plot report junit summary tracker "
    "shard-size like",
}
"""The groups of options in a long help; other options are the command's own."""
GAP = 2
"""Spaces between the columns of Click's lists."""
OWN = "Options of its own"
IN_ORDER = "Edits, applied in the order given"


class LongHelp(click.Command):
    """A command with many options: `--help` shows the important ones, `--help-all` all of them in groups."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, with `--help-all` before `--help`, the last one."""
        *params, last = super().get_params(ctx)
        return [*params, _help_all(), last]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the important options, or all in groups for `--help-all`."""
        first = FIRST.get(self.name or "", "").split()
        shown = [each for each in super().get_params(ctx) if isinstance(each, click.Option) and not each.hidden]
        if ctx.meta.get(_ALL) or len(shown) <= MOST:
            self._write_all(ctx, formatter, shown)
            return
        matter = [each for name in first for each in shown if long_name(each) == name]
        _write(ctx, formatter, "Options that matter first", matter)
        others = {heading: [each for each in some if each not in matter] for heading, some in grouped(shown).items()}
        _write_names(formatter, {heading: [*map(option_name, some)] for heading, some in others.items() if some})

    def _write_all(self, ctx: click.Context, formatter: click.HelpFormatter, shown: Sequence[click.Parameter]) -> None:
        for heading, some in grouped(shown).items():
            _write(ctx, formatter, heading, some)


_ALL = "ckpttool.help_all"


def _help_all() -> click.Option:
    def show(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[_ALL] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    text = "Show all options, in groups, and exit."
    return click.Option(["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=show, help=text)


def all_options(command: click.Command, ctx: click.Context) -> str:
    """Return the help of a command with all options."""
    ctx.meta[_ALL] = True
    return command.get_help(ctx)


def grouped(options: Sequence[click.Parameter]) -> dict[str, list[click.Parameter]]:
    """Return options by the heading of their group: first the edits, then the command's own.

    An option's own attribute `heading` has precedence over the group of its name.
    """
    places = {name: heading for heading, names in GROUPS.items() for name in names.split()}
    places |= {"help": "Output", "help-all": "Output"}
    found: dict[str, list[click.Parameter]] = {heading: [] for heading in (IN_ORDER, OWN, *GROUPS)}
    for each in options:
        found[getattr(each, "heading", places.get(long_name(each), OWN))].append(each)
    return {heading: some for heading, some in found.items() if some}


def long_name(parameter: click.Parameter) -> str:
    """Return the first long name of an option without dashes, or the name of an argument.

    >>> long_name(click.Option(["-o", "--output"])), long_name(click.Option(["--plan", "--dry-run", "plan_only"]))
    ('output', 'plan')
    """
    return option_name(parameter).removeprefix("--")


def option_name(parameter: click.Parameter) -> str:
    """Return the first long name of an option as typed, else its short name, or the name of an argument."""
    return next((each for each in parameter.opts if each.startswith("--")), parameter.opts[0])


def _write_names(formatter: click.HelpFormatter, names: Mapping[str, Sequence[str]]) -> None:
    """Write the names of options in groups, without breaking lines at dashes."""
    with formatter.section("Others, which --help-all explains"):
        width = formatter.width - formatter.current_indent - max(map(len, names)) - GAP
        filled = [(heading, fill(", ".join(some), width, break_on_hyphens=False)) for heading, some in names.items()]
        formatter.write_dl([(heading, f"\b\n{text}") for heading, text in filled])


def _write(ctx: click.Context, formatter: click.HelpFormatter, heading: str, some: Sequence[Any]) -> None:
    with formatter.section(heading):
        formatter.write_dl([record for each in some if (record := each.get_help_record(ctx)) is not None])
