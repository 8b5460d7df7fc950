"""Options of training runs, and the subsets of them for trials, range tests and pretraining."""

from pathlib import Path

import click

from ckpttool.cli.options.completions import layer_names
from ckpttool.cli.options.decorators import as_value, count_option, together
from ckpttool.cli.options.general import PATH, WRITTEN, seed_option
from ckpttool.cli.options.reading import PATTERN, SOURCE, freeze_option, models_first, unfreeze_option
from ckpttool.cli.options.recipe import (
    new_recipe_options,
    objective_options,
    rate_test_recipe_options,
    recipe_options,
)
from ckpttool.cli.options.rows import (
    augment_option,
    augment_options,
    cache_dir_option,
    classes_option,
    features_option,
    group_option,
    preprocess_option,
    roles_options,
    valid_option,
)
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.options import Options, PseudoLabels, with_training_op

_train = click.option(
    "--train",
    metavar="RE",
    shell_complete=layer_names,
    help=f"The layers to train; all others are frozen. {PATTERN}",
)
_stages = click.option(
    "--stages",
    metavar="RE=N,...",
    help="Gradual unfreezing: train the layers of the first pattern for N epochs, then also those of the next, and "
    "so on.",
)
_lp_ft = count_option(
    "--lp-ft",
    "Linear probing, then fine-tuning: train only the head for N epochs (the layers that reuse added or newly "
    "initialised, else the layer of the logits), then all layers that are not frozen for --epochs.",
)
_teacher = together(
    models_first("teacher"),
    click.option(
        "--teacher",
        metavar="MODEL",
        type=SOURCE,
        help="Knowledge distillation from MODEL, whose logits are computed once: the loss is (1 - W) * loss + "
        "W * T^2 * cross entropy with its softmax(logits / T), or sigmoid.",
    ),
    click.option("--temperature", metavar="T", type=float, default=2.0, show_default=True, help="The temperature."),
    click.option(
        "--teacher-weight",
        metavar="W",
        type=float,
        default=0.5,
        show_default=True,
        help="The weight of the distillation loss.",
    ),
)


def _pseudo_labels(
    pseudo_label: float | None, unlabelled: Path | None, rounds: int | None, sure: float | None
) -> PseudoLabels | None:
    given = {"unlabelled": unlabelled, "rounds": rounds, "sure": sure}
    if pseudo_label is None or unlabelled is None:
        others = [f"`{name}`" for name, value in {"pseudo_label": pseudo_label, **given}.items() if value is not None]
        if others:
            missing = "`pseudo_label`" if pseudo_label is None else "`unlabelled`"
            raise PlanError(f"{listed(others)} needs {missing}: `pseudo_label` 0.2, `unlabelled` DATA")
        return None
    return PseudoLabels(pseudo_label, unlabelled, rounds or 1, sure or 0.0)


pseudo_label_options = as_value(
    "pseudo",
    _pseudo_labels,
    click.option(
        "--pseudo-label",
        metavar="SHARE",
        type=float,
        help="Pseudo-labels: the model then labels examples of --unlabelled, and training continues with the most "
        "confident SHARE of each class (0.2: a fifth) and the labelled ones. The report lists the labelled examples.",
    ),
    click.option("--unlabelled", metavar="DATA", type=PATH, help="The unlabelled data, in any format of --data."),
    click.option("--rounds", metavar="N", type=int, help="The number of rounds of pseudo-labelling. Default: 1."),
    click.option("--sure", metavar="P", type=float, help="Assign no label with a probability below P."),
)
"""Options of pseudo-labels, passed as one `pseudo`; None if none is given."""

_train_op = click.option(
    "--train-op",
    "training_op",
    metavar="NAME",
    help="Train with this training op of the graph, unchanged; cannot be combined with --optimizer and its options "
    "(--lr, --schedule, --l2, --clip-norm, ...), --dropout, --objective or --unfreeze.",
)
_changed = together(
    click.option(
        "--bn",
        metavar="MODE",
        help="Batch normalisation: train, freeze (fixed moving averages), stats (only the averages are updated), or "
        "RE=MODE pairs. Default: freeze for frozen layers, train for others.",
    ),
    click.option(
        "--dropout", metavar="RATE", help="Add dropout after each trained hidden layer: one rate, or RE=RATE pairs."
    ),
)
_epochs = click.option(
    "--epochs", type=click.IntRange(min=1), default=20, show_default=True, help="The number of epochs."
)
_batch_size = count_option(
    "--batch-size",
    "Examples per step. Default: 200; for a new head on under 5000 examples, at most an eighth of them.",
)
_batches = together(_batch_size, valid_option, group_option)
_early_stopping = count_option("--early-stopping", "Stop after N epochs without improvement.")
_kept = together(
    _early_stopping,
    click.option(
        "--keep", type=click.Choice(["best", "last"]), default="best", show_default=True, help="The epoch to write."
    ),
)
_cache = click.option(
    "--cache", is_flag=True, help="Compute the outputs of the frozen layers once, and train on these."
)
_saves = together(
    click.option(
        "--save-every", metavar="WHEN", help="Save the state of the run every '500 steps', '1 epoch' or '10 min'."
    ),
    count_option("--keep-checkpoints", "The number of saves to keep, in OUT.saves.", 3),
    click.option(
        "--resume",
        is_flag=True,
        help="Resume from the latest save of a run that was stopped, or start if there is none.",
    ),
)
_recorded = as_value(
    "recording",
    Recording,
    click.option(
        "--tensorboard",
        metavar="DIR",
        type=WRITTEN,
        help="Write metrics, histograms of the trained weights and the graph for `tensorboard --logdir DIR`.",
    ),
    click.option("--plot", metavar="FILE", type=WRITTEN, help="Plot the training curves: a .png, .pdf or .svg."),
)
_threads = count_option("--threads", "The number of threads of an op; with 1, runs are bit-for-bit reproducible.")
_rows_read = together(features_option, classes_option, preprocess_option)
_reproducing = together(_threads, roles_options, seed_option, as_value("options", Options))

run_options = together(
    freeze_option(),
    unfreeze_option,
    _train,
    _stages,
    _lp_ft,
    _train_op,
    _changed,
    recipe_options,
    objective_options,
    _teacher,
    _epochs,
    _batches,
    _kept,
    _cache,
    cache_dir_option,
    augment_options,
    _rows_read,
    _saves,
    _recorded,
    _reproducing,
    as_value("options", with_training_op),
)
"""All options of a training run, passed as `options`, `resume` and `recording`."""

trial_options = together(
    _changed,
    recipe_options,
    objective_options,
    _epochs,
    _batch_size,
    _early_stopping,
    cache_dir_option,
    augment_option,
    _rows_read,
    _reproducing,
)
"""The options of the trials of a search, which itself selects layers and rows; passed as `options`."""

rate_test_options = together(
    freeze_option(),
    unfreeze_option,
    _train,
    _changed,
    rate_test_recipe_options,
    objective_options,
    _batches,
    _cache,
    cache_dir_option,
    augment_options,
    _rows_read,
    _reproducing,
)
"""The options of a learning rate range test, with one optimizer and one stage; passed as `options`."""

pretraining_options = together(
    new_recipe_options,
    _epochs,
    _batches,
    _kept,
    cache_dir_option,
    augment_option,
    features_option,
    preprocess_option,
    _saves,
    _recorded,
    _threads,
    seed_option,
    as_value("options", Options),
)
"""The options of pretraining, passed as `options`, `resume` and `recording`."""
