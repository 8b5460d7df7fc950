"""Options of augmentation: what is done to images, how many variants a cache keeps, and how rows are laid out."""

import click

from ckpttool.cli.options.shared import together


def _sizes(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Read `28,28,1`."""
    if value is None:
        return None
    sizes = value.split(",")
    if len(sizes) not in (2, 3) or not all(size.strip().isdecimal() for size in sizes):
        raise click.BadParameter(f"expected HEIGHT,WIDTH or HEIGHT,WIDTH,CHANNELS such as 28,28,1, found {value!r}")
    return tuple(map(int, sizes))


augmenting = together(
    click.option(
        "--augment",
        metavar="CALLS",
        help="Change each image when it is trained on: shift, rotate, scale, flip, crop, brightness, contrast, "
        "saturation, hue; 'shift(0.1); rotate(15); flip()'.",
    ),
    click.option(
        "--cache-augment", metavar="K", type=click.IntRange(min=1), help="Cache K augmented variants of each row."
    ),
    click.option(
        "--image-shape",
        metavar="H,W,C",
        callback=_sizes,
        help="How rows are laid out as images, if neither the data nor the model says it: 28,28,1.",
    ),
)
"""The options of augmentation: `augment`, `cache_augment` and `image_shape`."""
