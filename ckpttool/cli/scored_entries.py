"""Entries of the catalogue that are run to be scored: behind the wall, unless this user's commands made all of them."""

from pathlib import Path

import click

from ckpttool.cli.options.reading import Source
from ckpttool.cli.process import open_to_run
from ckpttool.cli.wall import behind_wall
from ckpttool.verbs.zoo_suggest import Suggestion, with_scores


def scored(found: list[Suggestion], data: Path, trust: bool) -> list[Suggestion]:
    """Return suggestions with their scores on rows, in a process that may read the entries and the rows."""
    context, models = click.get_current_context(), tuple(each.path for each in found)
    context.meta[Source.NOTED] = [*context.meta.get(Source.NOTED, ()), *models]
    context.params["models"] = models
    behind: list[Suggestion] = _scored(trust=trust, data=data, found=found)
    return behind


@behind_wall
def _scored(found: list[Suggestion], data: Path) -> list[Suggestion]:
    return with_scores(found, data, open_to_run)
