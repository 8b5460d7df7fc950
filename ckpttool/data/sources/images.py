"""Folders of images of any size: a folder per class, or `train/CLASS`, `valid/CLASS`, `test/CLASS`.

A `resize` among the input's preprocessing steps determines the size and the method, and gives floats; without one,
Pillow resizes images to the size of the input, and gives bytes. For an input of any size, images are not resized, and
must all have the same size. If no labels are wanted, the images may be in the folder itself. The groups of images are
found by a regular expression in their names: by `p[0-9]+`, `p07_left.png` and `p07_right.png` are in the same group.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ckpttool.core.errors import CkptError, DataError, MissingDependency, PlanError
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.core.shapes import shown
from ckpttool.core.tensors import Array
from ckpttool.data.drawing import group_keys
from ckpttool.data.files import GROUP, DataFile, Wanted
from ckpttool.data.fitting_shapes import image_size
from ckpttool.data.preprocessing import notation
from ckpttool.data.preprocessing_steps import Grayscale, Nothing, Resize, Rgb
from ckpttool.data.ranges import BYTES
from ckpttool.data.staging import Facts, RowWriter, staged

if TYPE_CHECKING:
    from PIL.Image import Image as OpenedImage

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_SPLITS = ("train", "valid", "test")
_NO_CLASS = ""
"""The class name of the folder itself."""
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
"""EXIF's tag for the orientation, and its values that swap height and width."""
_PIXELS_AT_LEAST, _PIXELS_PER_BYTE = 4_000_000, 400
"""Limits of an image's pixels: this many, or if that is more, this many per byte of its file."""
PILLOW = "by Pillow: bilinear, antialias, rounded to bytes"
"""How images are resized if no step is specified."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def recognises(path: Path) -> bool:
    """Return whether a folder contains images, directly or up to two levels below."""
    return path.is_dir() and any(_images(path))


def read(path: Path, wanted: Wanted) -> DataFile:
    """Stage the images in the input's shape; classes are numbered in the order of their folders' names.

    They are bytes, or floats if a step resizes them, as in a graph that starts with that step.

    Raises:
        MissingDependency: Pillow is not installed.
        PlanError: the input has no fixed size, and the images differ in size.
        DataError: a file is not an image, a class is empty, there are no classes, or the splits' classes differ.
    """
    shape, resize = image_shape(wanted, _images(path)), resize_of(wanted)
    parts: dict[str | None, Path] = {name: path / name for name in _SPLITS if (path / name).is_dir()}
    parts = parts or {None: path}
    classes = _classes(path, parts) or [_NO_CLASS]
    if classes == [_NO_CLASS] and wanted.labels:
        raise DataError(f"{path} has images, but not in one folder per class")

    def write(folder: Path) -> Facts:
        names: dict[str, list[str]] = {}
        others = any(size != shape[:2] for size in _sizes(_images(path)))
        dtype = resized_dtype(resize) if others else np.dtype(np.uint8)
        for split, place in parts.items():
            suffix = f"_{split}" if split else ""
            files = _write(folder, suffix, place, classes, shape, dtype, resize)
            names[split or ""] = [str(file.relative_to(path)) for file in files]
            if wanted.group is not None:
                np.save(folder / f"{GROUP}{suffix}.npy", _groups(path, files, wanted.group))
        numbered = ", ".join(f"{name} = {number}" for number, name in enumerate(classes))
        order = "images: in the order of their names" if classes == [_NO_CLASS] else f"classes: {numbered}"
        sizes = " x ".join(map(str, shape))
        notes = [order, f"images: resized to {sizes}, {resize or PILLOW}" if others else f"images: {sizes}"]
        return Facts(notes, [] if classes == [_NO_CLASS] else classes, names, others)

    how = {"images": shape, "resized": str(resize or PILLOW), **({"group": wanted.group} if wanted.group else {})}
    arrays, facts = staged(_images(path), how, write)
    advice = [_said_how(shape, wanted)] if facts.resized and resize is None else []
    return DataFile.of_staged(path, (arrays, replace(facts, notes=[*facts.notes, *advice])))


def image_shape(wanted: Wanted, files: Iterable[Path] = ()) -> tuple[int, int, int]:
    """Return the height, width and channels in which images are read.

    These are the input's (a flat input is a square grey image), unless its preprocessing changes them; for an input of
    any size they are those of the files.

    Raises:
        PlanError: they cannot be determined.
    """
    spec, resize = wanted.inputs[0] if len(wanted.inputs) == 1 else None, resize_of(wanted)
    row = spec.shape[1:] if spec and spec.shape else ()
    size = resize.size if resize else image_size(spec.shape) if spec else None
    if len(row) == 3 and not size and row[0] is row[1] is None:
        size = _common_size(files)
    coloured = any(isinstance(step, Rgb | Grayscale) for step in (spec and spec.steps) or ())
    channels = 3 if coloured else row[2] if len(row) == 3 else 1
    if spec and size and channels in _MODES and (len(row) in (1, 2, 3) or coloured):
        return *size, channels
    found = ", ".join(f"{spec.name} {shown(spec.shape or ())}" for spec in wanted.inputs)
    advice = "; `preprocess` with `resize(224, 224)` specifies their size" if len(row) == 3 and not size else ""
    expected = "one input of [rows, height, width, channels]"
    raise PlanError(f"images need {expected}, the model has {found or 'none'}{advice}")


def _common_size(files: Iterable[Path]) -> tuple[int, int] | None:
    """Return the height and width of all images; None if there are none.

    Raises:
        PlanError: they differ.
        MissingDependency, DataError: as `pixels`.
    """
    listed = list(files)
    first: tuple[int, int] | None = None
    for file, size in zip(listed, _sizes(listed), strict=True):
        first = first or size
        if size != first:
            sizes = f"{file} has {shown(size)}, {listed[0]} {shown(first)}"
            raise PlanError(
                f"images of a batch need one size: {sizes}; `preprocess` with `resize(224, 224)` makes it one"
            )
    return first


def _sizes(files: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Yield the height and width of each image in its right orientation, read from its header.

    Raises:
        MissingDependency, DataError: as `pixels`.
    """
    for file in files:
        with _opened(file, str(file)) as image:
            turned = image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
            yield image.size if turned else image.size[::-1]


def resize_of(wanted: Wanted, name: str | None = None) -> Resize | None:
    """Return the first step of an input's preprocessing that resizes images; it does not change images of its size.

    Without a `name`, the only input is meant.
    """
    meant = [spec for spec in wanted.inputs if name in spec.names] if name else wanted.inputs
    steps = meant[0].steps if len(meant) == 1 else None
    return next((step for step in steps or () if isinstance(step, Resize)), None)


def resized_dtype(resize: Resize | None) -> "np.dtype[Any]":
    """Return the dtype of resized images: floats, or bytes if Pillow resizes them or the method is `nearest`."""
    return np.dtype(np.uint8 if resize is None or resize.method == "nearest" else np.float32)


def _said_how(shape: tuple[int, int, int], wanted: Wanted) -> str:
    """Return a note with a `preprocess` that resizes images, is stored with the model, and has the current steps."""
    steps = wanted.inputs[0].steps
    others = BYTES if steps is None else [step for step in steps if not isinstance(step, Nothing)]
    step = notation((Resize(*shape[:2]), *others))
    return f"images: `preprocess` '{step}' resizes them as a served graph does, and is stored with the model"


def _images(path: Path) -> Iterator[Path]:
    for depth in ("*", "*/*", "*/*/*"):
        yield from sorted(file for file in path.glob(depth) if file.suffix.lower() in SUFFIXES)


def _classes(path: Path, parts: dict[Any, Path]) -> list[str]:
    classes = {split: sorted(each.name for each in place.iterdir() if each.is_dir()) for split, place in parts.items()}
    first = next(iter(classes.values()))
    for split, names in classes.items():
        if names != first:
            raise DataError(f"{path}: {split} has the classes {', '.join(names)}, expected {', '.join(first)}")
    return first


def _groups(path: Path, files: list[Path], pattern: str) -> Array:
    """Return the group of each image: the pattern's match in its name, or the match of its first parentheses.

    A pattern that matches no names is used for paths, such as `([^/]+)/`, which matches the folder.
    """
    try:
        expression = compiled(pattern)
    except CkptError as error:
        raise PlanError(f"`group` must match names of images: {error}") from error
    found = [expression.search(quick(expression, file.name)) for file in files]
    if not any(found):
        found = [expression.search(quick(expression, file.relative_to(path).as_posix())) for file in files]
    if None in found:
        name = files[found.index(None)].relative_to(path)
        raise DataError(f"{path}: `group` {pattern!r} does not match {name}; it is a regular expression for names")
    return group_keys(np.array([(match[1] if expression.groups else match[0]) or "" for match in found if match]))


def _write(
    folder: Path,
    suffix: str,
    place: Path,
    classes: list[str],
    shape: tuple[int, int, int],
    dtype: "np.dtype[Any]",
    resize: Resize | None,
) -> list[Path]:
    """Write the images and labels of a split, and return the images' paths in their order."""
    every: list[Path] = []
    with (
        RowWriter(folder / f"x{suffix}.npy", shape, dtype) as images,
        RowWriter(folder / f"y{suffix}.npy", (), np.int64) as labels,
    ):
        for number, name in enumerate(classes):
            files = sorted(file for file in (place / name).iterdir() if file.suffix.lower() in SUFFIXES)
            if not files:
                raise DataError(f"{place / name} has no images, expected {', '.join(SUFFIXES)}")
            for file in files:
                images.append(pixels(file, str(file), shape, resize)[np.newaxis])
                labels.append(np.array([number]))
            every += files
    return every


def pixels(file: Path | IO[bytes], name: str, shape: tuple[int, int, int], resize: Resize | None = None) -> Array:
    """Return the pixels of an image in its right orientation and in this shape; transparency becomes white.

    With `resize` they are floats. Without it they are bytes, and Pillow resizes the image by bilinear interpolation,
    with antialiasing.

    Raises:
        MissingDependency: Pillow is not installed.
        DataError: it is not an image; the message has its `name`.
    """
    with _opened(file, name) as opened:
        from PIL import Image, ImageOps

        image = ImageOps.exif_transpose(opened)
        if shape[2] != 4 and image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert(_MODES[shape[2]])
        if resize is None:
            image = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        found = np.asarray(image, np.uint8).reshape(image.height, image.width, shape[2])
    if resize is None:
        return found
    return resize.apply(found[np.newaxis].astype(np.float32)).reshape(shape)


@contextmanager
def _opened(file: Path | IO[bytes], name: str) -> Iterator["OpenedImage"]:
    """Open an image with Pillow; exceptions while reading become errors that name the image."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingDependency(f"reading {name} needs Pillow: pip install 'ckpttool[images]'") from error
    try:
        with Image.open(file) as opened:
            _refuse_swollen(opened, file, name)
            yield opened
    except CkptError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is not an image, or damaged: {error}") from error


def _size_of(file: IO[bytes]) -> int:
    """Return the size of an open file in bytes, without changing its position."""
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size


def _refuse_swollen(image: "OpenedImage", file: Path | IO[bytes], name: str) -> None:
    """Check that an image does not claim more pixels than its file can plausibly contain, before it is decompressed.

    Raises:
        DataError: it does.
    """
    nbytes = file.stat().st_size if isinstance(file, Path) else _size_of(file)
    if image.width * image.height > max(_PIXELS_AT_LEAST, _PIXELS_PER_BYTE * nbytes):
        raise DataError(
            f"{name} declares {image.width} x {image.height} pixels in {nbytes} bytes: it is not decompressed"
        )
