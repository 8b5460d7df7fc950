"""`ckpttool cache`: the outputs of frozen layers, computed once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.decorators import as_arguments
from ckpttool.cli.options.general import json_option, seed_option
from ckpttool.cli.options.reading import (
    allow_op_option,
    freeze_option,
    model_argument,
    unfreeze_option,
    weights_file_option,
)
from ckpttool.cli.options.recipe import objective_options
from ckpttool.cli.options.rows import (
    augment_options,
    cache_dir_option,
    data_option,
    features_option,
    group_option,
    preprocess_option,
    roles_options,
    valid_option,
)
from ckpttool.cli.options.workers import Place, workers_options
from ckpttool.cli.process import open_to_run
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.show.tables import print_document
from ckpttool.runtime.objectives import Objective


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@freeze_option(required=True)
@unfreeze_option
@data_option
@as_arguments("reading", features_option, preprocess_option, valid_option, group_option, augment_options, seed_option)
@cache_dir_option
@objective_options
@roles_options
@allow_op_option
@running_confined
@workers_options
@config_option()
@json_option
def cache(
    model: Path,
    freeze: str,
    unfreeze: str | None,
    data: Path,
    reading: Mapping[str, Any],
    cache_dir: Path | None,
    objective: Objective | None,
    roles: Mapping[str, Any],
    allow_op: tuple[str, ...],
    place: Place,
    as_json: bool,
) -> None:
    """Compute the outputs of the frozen layers of MODEL for every example, and store them for `finetune --cache`.

    The key of an entry is a hash of the frozen weights, the frozen part of the graph and the data, and of --augment
    and --seed if there is augmentation. When one of them changes, so does the key, so a stale entry is never used.
    Workers write to the cache themselves; it must be in a folder that all of them can access, or
    on a server: with --cache-dir s3://bucket/features each machine downloads what others have computed.

    `ckpttool cache list` lists the entries, and `ckpttool cache prune` removes some.

    \b
    Example:
      ckpttool cache new_model.ckpt --freeze 'hidden[12]' --data mnist.npz
      ckpttool cache new_model.ckpt --freeze 'hidden[12]' --data mnist.npz --workers 8
    """
    from ckpttool.verbs import cache as verb

    opened = open_to_run(model, allow_op)
    with place.executor(opened) as executor:
        cached = verb.cache(
            opened,
            data,
            freeze,
            root=cache_dir,
            objective=objective,
            roles=roles,
            callbacks=ProgressPrinter(as_json),
            **reading,
            unfreeze=unfreeze,
            executor=executor,
        )
    print_document(cached.summary(), [str(cached.entry.path)], as_json)
