"""Options of data: which rows are read, which tensors they are fed to, preprocessing and augmentation."""

from collections.abc import Mapping
from typing import Any

import click

from ckpttool.cli.options.decorators import Decorator, as_arguments, as_value, checked_first, together
from ckpttool.cli.options.general import MAX_SEED, PATH, WRITTEN, ListOrFile, image_shape_option
from ckpttool.cli.options.reading import signature_option
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.data.held_out import HeldOut
from ckpttool.data.named import require_data
from ckpttool.data.preprocessing import Preprocessing
from ckpttool.data.preprocessing_steps import Step
from ckpttool.runtime.augmentations import Operation


def there_first(*names: str) -> Decorator:
    """Return a decorator that checks that data exist before the command runs."""
    return checked_first(require_data, *names)


_data = click.option(
    "--data",
    metavar="DATA",
    type=PATH,
    required=True,
    help="The data: an .npz or .h5 with x_train, y_train, x_valid, y_valid, x_test, y_test or the placeholders' names; "
    "x.npy,y.npy; IDX files; .csv, .parquet, .tfrecord; a folder of these, or of images by class; keras:NAME.",
)
data_option = together(_data, there_first("data", "unlabelled"))

features_option = click.option(
    "--features",
    metavar="SPEC",
    help="The features of .tfrecord records: \"X = image('image/encoded', 28, 28, 1); y = int64()\".",
)


def _preprocess(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> str | None:
    """Check the syntax of `--preprocess`: steps separated by semicolons, or a value for each input."""
    if not value:
        return None
    try:
        return str(Preprocessing.parse("\n".join(value)))
    except (PlanError, UnknownName) as error:
        raise click.BadParameter(str(error).removeprefix("`preprocess`").lstrip(",: "), context, option) from error


classes_option = click.option(
    "--classes",
    metavar="FILE",
    type=ListOrFile(),
    help="The class names of the model, in order: one per line, or JSON such as imagenet_class_index.json.",
)

preprocess_option = click.option(
    "--preprocess",
    metavar="STEPS",
    multiple=True,
    callback=_preprocess,
    help=f"The preprocessing, which is stored with the model: {', '.join(Step.known())}; 'scale(1/127.5, -1)', "
    "'resize(96, 96); keras(tf)', 'age: standardize(40, 12)' for the input age.",
)


def _held_out(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Check the value of `--valid`."""
    try:
        HeldOut.parse(value)
    except PlanError as error:
        raise click.BadParameter(str(error).removeprefix("`valid` "), context, option) from error
    return value


valid_option = click.option(
    "--valid",
    metavar="ROWS",
    callback=_held_out,
    help="Examples to hold out for validation: 60 or 20% is a stratified random sample; first:5000 and last:10% are "
    "taken in order. Default: a tenth. Not used if the data has a validation set.",
)
group_option = click.option(
    "--group",
    metavar="COLUMN",
    help="Keep groups of examples (of one patient) on the same side of the validation split: an array or column, or "
    "a regular expression on the names or paths of images, such as '([^/]+)/' for their folder.",
)
_known = "if other than in the run report of MODEL"
held_out_options = together(
    click.option(
        "--valid",
        metavar="ROWS",
        callback=_held_out,
        help=f"Which training examples were held out, {_known}: 20%, first:5000.",
    ),
    click.option("--group", metavar="COLUMN", help="The column of groups that were held out together."),
    click.option(
        "--seed", type=click.IntRange(0, MAX_SEED), help=f"The random seed of the validation split, {_known}."
    ),
)
"""How the validation set was held out: `--valid`, `--group` and `--seed`."""

_split = click.option(
    "--split",
    type=click.Choice(["train", "valid", "test"]),
    help="The split to use. Default: test, else valid, else all.",
)
judged_rows_options = as_arguments(
    "reading", features_option, classes_option, preprocess_option, _split, held_out_options
)
"""The format, split and preprocessing of `--data`, passed as a mapping `reading` for the verb."""
trained_rows_options = as_arguments("reading", features_option, classes_option, preprocess_option, held_out_options)
"""The same for training data."""

cache_dir_option = click.option(
    "--cache-dir",
    metavar="DIR",
    type=WRITTEN,
    help="The folder of the cache, or s3://BUCKET/DIR for several machines. Default: the user's cache folder.",
)


inputs_option = click.option(
    "--inputs",
    metavar="NAME",
    multiple=True,
    help="An input: a placeholder, or a tensor that becomes one; also NAME=TENSOR or 'X[?,28,28,1]'; may be repeated.",
)
labels_option = click.option("--labels", metavar="NAME", help="The placeholder of the labels.")

ROLES = ("inputs", "labels", "logits", "loss", "accuracy", "training", "signature")
"""The roles of tensors in a graph, and the signature that defines them, each with an option."""


def _roles(
    inputs: tuple[str, ...],
    labels: str | None,
    logits: str | None,
    loss: str | None,
    accuracy: str | None,
    training: str | None,
    signature: str | None,
) -> Mapping[str, Any]:
    """Return the given roles as a mapping."""
    given = zip(ROLES, (inputs, labels, logits, loss, accuracy, training, signature), strict=True)
    return {role: name for role, name in given if name}


roles_options = as_value(
    "roles",
    _roles,
    inputs_option,
    labels_option,
    click.option("--logits", metavar="NAME", help="The tensor that the loss compares with the labels."),
    click.option("--loss", metavar="NAME", help="The tensor that training minimises."),
    click.option("--accuracy", metavar="NAME", help="The tensor of the accuracy."),
    click.option("--training", metavar="NAME", help="The boolean placeholder that is True while training."),
    signature_option,
)
"""An option for each role, passed as one mapping `roles` of the given ones."""


def _operations(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Check the syntax of `--augment`, which is parsed again when the size of the images is known."""
    if value is not None:
        Operation.read_all(value, "`augment`")
    return value


_augment = click.option(
    "--augment",
    metavar="CALLS",
    callback=_operations,
    help=f"Random augmentation of images in training: {', '.join(Operation.known())}; 'shift(0.1); rotate(15); "
    "flip()'.",
)
augment_option = together(_augment, image_shape_option)
augment_options = together(
    _augment,
    click.option(
        "--cache-augment", metavar="K", type=click.IntRange(min=1), help="Cache K augmented variants of each example."
    ),
    image_shape_option,
)
"""The options of augmentation: `augment`, `cache_augment` and `image_shape`."""
