"""`--config FILE`: options from a TOML file, or from the report of an earlier run."""

import json
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from ckpttool.cli.options.decorators import Decorator
from ckpttool.cli.options.general import PATH, ListOrFile
from ckpttool.cli.show.help import long_name
from ckpttool.cli.show.tables import say
from ckpttool.core import toml_text
from ckpttool.core.errors import FormatError, PlanError, UnknownName
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.remote.paths import refuse_url_input

if TYPE_CHECKING:
    from ckpttool.training.run_report import RunReport

TOML = 'A TOML file with options by their long names (freeze = "hidden[12]", model, data), or the OUT.run.json of a run'
PATHS = "Allow the file to specify output paths (output, tensorboard, plot, report, cache-dir) and overwrite."
RULES = "Options on the command line take precedence. Paths are relative to the working directory."

OWN = {
    "output",
    "to",
    "overwrite",
    "allow-op",
    "trust",
    "resume",
    "plan",
    "format",
    "header",
    "json",
    "tensorboard",
    "plot",
}
"""Options never taken from a report: where a run writes, what it prints, what it allows."""
WRITES = {"output", "overwrite", "tensorboard", "plot", "report", "cache-dir"}
"""Options of outputs: a file from someone else must not choose where to write unless the user agrees."""
LONGEST = 80
"""Maximum characters of a value in messages."""
ALLOWS = {"allow-op", "trust"}
"""Options that allow a graph to have side effects: never taken from a file."""
COMPUTES = "on"
"""The option of where to compute: a server that someone else's file names would get the data, and answer with code."""
_FILE, _PATHS = "ckpttool.config", "ckpttool.config_paths"
"""The keys in Click's context of the parsed file, and of whether it may choose outputs."""


class _File(NamedTuple):
    """The options of a command in a file."""

    path: Path
    values: Mapping[str, Any]
    is_report: bool


def config_option(*leave: str, repeats: bool = False) -> Decorator:
    """Return the option `--config`; values in the file act as if given on the command line, which takes precedence.

    Names in `leave`, and options that the command does not have, are skipped in a report. A command that `repeats` runs
    uses all of a report, and is passed it under that name, or None for a TOML file or without one.
    """

    def read(context: click.Context, option: click.Parameter, path: Path | None) -> "RunReport | None":
        if path is None:
            return None
        report, values = _read(path)
        if report:
            parameters = _parameters(context)
            known = {_dashed(key) for key in values if repeats or _dashed(key) in parameters} - {*leave, *OWN}
            values = {key: value for key, value in values.items() if _dashed(key) in known}
        context.meta[_FILE] = _File(path, values, report is not None)
        _settle(context)
        return report

    def allow(context: click.Context, option: click.Parameter, value: bool) -> None:
        context.meta[_PATHS] = value
        _settle(context)

    text = f"{TOML}, {'which is repeated' if repeats else 'of which applicable options are used'}. {RULES}"
    named = click.option(
        "--config", "repeats", metavar="FILE", type=PATH, is_eager=True, expose_value=repeats, callback=read, help=text
    )
    paths = click.option("--config-paths", is_flag=True, is_eager=True, expose_value=False, callback=allow, help=PATHS)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def telling(*arguments: Any, **options: Any) -> Any:
            _tell(click.get_current_context())
            return command(*arguments, **options)

        return named(paths(telling))

    return decorate


def _settle(context: click.Context) -> None:
    """Use the values of the file as defaults, now that it is known whether it may choose outputs.

    Outputs in a report are those of its own run; they are skipped and listed.

    Raises:
        PlanError: a file allows side effects or chooses a server to compute on, or TOML chooses outputs unasked.
    """
    file: _File | None = context.meta.get(_FILE)
    if file is None or _PATHS not in context.meta:
        return
    if allowed := [key for key, value in file.values.items() if _is_for_command_line(_dashed(key), value)]:
        raise PlanError(f"{file.path}: {listed(allowed)}: can only be specified on the command line")
    unasked = [key for key in file.values if _dashed(key) in WRITES] if not context.meta[_PATHS] else []
    if unasked and not file.is_report:
        raise PlanError(f"{file.path}: {listed(unasked)}: a file can specify output paths only with `config_paths`")
    if unasked:
        say(f"{file.path}: {listed(unasked)} of that run are ignored; `config_paths` uses them")
    values = {key: value for key, value in file.values.items() if key not in unasked}
    context.default_map = _defaults(context, _parameters(context), values, file.path)


def _is_for_command_line(option: str, value: Any) -> bool:
    return option in ALLOWS or (option == COMPUTES and "://" in _text(value))


def _tell(context: click.Context) -> None:
    """Print the options that the file sets and the command line does not."""
    file: _File | None = context.meta.get(_FILE)
    if file is None:
        return
    given = {_long_name(each): str(each.name) for each in context.command.params}
    changed = [
        f"{key} {_short(_text(value))}"
        for key, value in file.values.items()
        if context.get_parameter_source(given.get(_dashed(key), "")) is ParameterSource.DEFAULT_MAP
    ]
    say(f"{file.path} sets {', '.join(changed) or 'nothing'}")


def _parameters(context: click.Context) -> dict[str, click.Parameter]:
    return {_long_name(each): each for each in context.command.params if each.name not in ("repeats", "config_paths")}


def _read(path: Path) -> "tuple[RunReport | None, Mapping[str, Any]]":
    """Return the report, or None if the file is TOML, and its options."""
    from ckpttool.training.run_report import RunReport, is_report  # imported late, as most commands run without it

    refuse_url_input(path)
    content = path.read_bytes()
    if is_report(content):
        report = RunReport.parse(content, path)
        return report, {"model": report.model, "data": report.data, **report.options}
    try:
        return None, toml_text.loads(content)
    except ValueError as error:
        raise FormatError(f"{path}: neither a TOML file nor a run report: {error}") from error


def _long_name(parameter: click.Parameter) -> str:
    return long_name(parameter)


def _dashed(key: str) -> str:
    return key.replace("_", "-")


def _defaults(
    context: click.Context, parameters: Mapping[str, click.Parameter], values: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Return the values by Click's parameter names, as the texts that a shell would pass.

    Each is parsed as Click will parse it, so that errors are reported with their place in the file.
    """
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        parameter = parameters.get(_dashed(key))
        if parameter is None:
            near = suggestion(_dashed(key), parameters)
            raise UnknownName(f"{path}: {key} is not an option of {context.command_path}{near}")
        name = str(parameter.name)
        if name in defaults:
            raise PlanError(f"{path}: {_dashed(key)} is specified twice, with a dash and with an underscore")
        several = value if isinstance(value, list) else [value]
        text = json.dumps if isinstance(value, list) and isinstance(parameter.type, ListOrFile) else _text
        defaults[name] = [_text(each) for each in several] if parameter.multiple else text(value)
        try:
            read = parameter.type_cast_value(context, defaults[name])
            if parameter.callback:
                parameter.callback(context, parameter, read)
        except click.BadParameter as error:
            raise click.BadParameter(error.message, context, param_hint=f"'{key}' in {path}") from error
    return defaults


def _text(value: Any) -> str:
    """Return a value as typed in a shell: a table as PATTERN=VALUE pairs, a list with commas.

    >>> _text({"hidden[12]": 1e-4, "outputs": 0.01}), _text([28, 28, 1])
    ('hidden[12]=0.0001,outputs=0.01', '28,28,1')
    """
    match value:
        case dict():
            return ",".join(f"{pattern}={_text(each)}" for pattern, each in value.items())
        case list():
            return ",".join(map(_text, value))
    return str(value)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
