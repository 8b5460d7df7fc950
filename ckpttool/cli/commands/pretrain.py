"""`ckpttool pretrain`: layers trained on unlabelled data."""

from pathlib import Path

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.general import json_option, row_shape
from ckpttool.cli.options.reading import SOURCE, allow_op_option, models_first, spec
from ckpttool.cli.options.rows import data_option
from ckpttool.cli.options.training import pretraining_options
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.process import configure_for_layers, running_here
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.tables import print_document
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.options import Options


def _method(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """Check the syntax of `--method`, before data are read."""
    PretrainingMethod.read(value, "`method`")
    return value


@click.command(cls=LongHelp)
@data_option
@click.option("--layers", metavar="SPEC", callback=spec, help="New layers, from the input up; `new` lists their kinds.")
@click.option(
    "--method",
    metavar="CALL",
    required=True,
    callback=_method,
    help=f"{', '.join(PretrainingMethod.known())}; with parameters.",
)
@click.option(
    "--input", "shape", metavar="SHAPE", callback=row_shape, help="The shape of one example, if not as stored."
)
@click.option("--from", "model", metavar="MODEL", type=SOURCE, help="Add the layers on top of those of MODEL.")
@models_first("model")
@click.option("--after", metavar="LAYER", help="The last layer of MODEL to keep. Default: the top layer.")
@click.option(
    "--end-to-end", is_flag=True, help="Then train all layers of the autoencoder together, with all decoders."
)
@pretraining_options
@allow_op_option
@running_confined
@config_option()
@json_option
@model_output_options
def pretrain(
    data: Path,
    layers: str | None,
    method: str,
    shape: tuple[int, ...] | None,
    model: Path | None,
    after: str | None,
    end_to_end: bool,
    options: Options,
    resume: bool,
    recording: Recording,
    allow_op: tuple[str, ...],
    as_json: bool,
    output: Path,
    to: str | None,
    overwrite: bool,
) -> None:
    """Pretrain new layers on unlabelled examples, for reuse when there are few labels.

    The auxiliary layers of the method (decoders, heads) are dropped after training; `reuse OUT --layers ... --head ...`
    adds a head for the labelled task. Layer-wise methods train one layer after another, each on the outputs of the
    layers below. A run that is stopped (Ctrl-C) is saved in OUT.stages; the same command with --resume continues it.

    With --end-to-end the encoders and decoders of all layers are then stacked and trained together in one
    more stage, "all layers"; the layers of --from MODEL are not changed.

    --plot draws the learning curves of all layers, for autoencoders and rbm with examples beside their reconstructions;
    OUT.history.csv has the figures, --tensorboard a folder for each layer. The effective rank is the number of
    directions in which a layer's features vary (Roy and Vetterli 2007); a layer whose features are nearly constant
    is reported.

    \b
    Methods:
      autoencoder(noise=gaussian(0.3), tied=False, sparsity=0, compare=squared)
          each layer is trained to reconstruct its input; noise: gaussian(0.3), mask(0.3)
      rbm(steps=1, chains=0, visible=bernoulli)
          each dense sigmoid layer is a restricted Boltzmann machine; visible: bernoulli, gaussian
      pairs(margin=1, mining=all, by=label, near=None)
          examples with the same label get similar features, others different ones; mining: all, semi_hard;
          by=group: with the same --group; near=5: at most 5 rows apart, as in a time series
      corrupt(how=shuffle(0.5), margin=1)
          original examples get a higher score than corrupted ones; how: noise(0.5), shuffle(0.5), patches(8)
      rotate
          the rotation of a square image by 0, 90, 180 or 270 degrees is predicted
      views(loss=vicreg, units=256)
          two views of an image, by --augment, get similar features; loss: vicreg, barlow

    \b
    Example:
      ckpttool pretrain --data mnist.npz --input 784 --method 'autoencoder(noise=mask(0.3))' \\
          --layers 'hidden1 = dense(300, elu, init=he); hidden2 = dense(100, elu, init=he)' -o pretrained.ckpt
    """
    from ckpttool.model.model import Model
    from ckpttool.verbs import pretrain as verb

    trained, base = PretrainingMethod.read(method, "`method`"), Model.open(model, allow_op) if model else None
    configure_for_layers(layers, options.threads, base)
    running = running_here(as_json, resume, recording)
    done = verb.pretrain(
        data,
        layers,
        trained,
        output,
        options,
        shape=shape,
        model=base,
        after=after,
        overwrite=overwrite,
        to=to,
        end_to_end=end_to_end,
        **running,
    )
    print_document(done.summary(), done.lines(output), as_json)
