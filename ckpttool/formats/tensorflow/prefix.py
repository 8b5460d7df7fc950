"""From what a user names - a prefix, one of its files, a folder - to the prefix of a checkpoint."""

from pathlib import Path

from ckpttool.core.errors import MissingFile
from ckpttool.formats.tensorflow import checkpoint_state
from ckpttool.formats.tensorflow.bundle_files import PART

OTHERS = ("*.safetensors*", "*.bin.index.json", "*model.bin", "**/*.npy")
"""What makes a folder a checkpoint of another format."""


def prefix_of(path: Path | str) -> Path:
    """Return the prefix that a path stands for; a path that stands for none is returned as it is.

    `x.index`, `x.meta`, `x.data-00000-of-00001` and `x-00000-of-00001` stand for `x`; a folder with a `checkpoint` file
    for the latest checkpoint in it; a SavedModel's folder for its `variables/variables`. A folder that holds files
    named `.index` and `.data-...` is a prefix itself: one that ends in a slash. A folder with a checkpoint
    of another format stands for itself.

    >>> str(prefix_of("models/my_model.ckpt.data-00000-of-00001"))
    'models/my_model.ckpt'

    Raises:
        MissingFile: it is a folder without a checkpoint.
        FormatError: the folder's `checkpoint` file leads out of it.
    """
    path = Path(path)
    if Path(f"{path}.index").is_file():
        return path
    if path.is_dir():
        return _in_folder(path)
    return _without_part(path)


def _without_part(path: Path) -> Path:
    part = PART.search(path.name)
    if not part:
        return path
    return path.with_name(path.name[: part.start()]) if part.start() else path.parent


def _in_folder(folder: Path) -> Path:
    if (folder / ".index").is_file():
        return folder
    if (folder / checkpoint_state.NAME).is_file():
        return _without_part(checkpoint_state.latest(folder))
    variables = folder / "variables" / "variables"
    if Path(f"{variables}.index").is_file():
        return variables
    if (folder / "saved_model.pb").is_file():
        raise MissingFile(f"{folder} is a SavedModel without variables: {variables}.index is missing")
    prefixes = sorted(path.name.removesuffix(".index") for path in folder.glob("*.index"))
    if len(prefixes) == 1:
        return folder / prefixes[0]
    if prefixes:
        raise MissingFile(f"{folder} holds several checkpoints, name one: {', '.join(prefixes[:5])}")
    if any(any(folder.glob(pattern)) for pattern in OTHERS):
        return folder
    raise MissingFile(f"{folder} is a folder without a checkpoint: no `checkpoint` file, no .index, no variables")
