"""Checkpoints of several files of PyTorch: the index makes them one, and nothing in it leads out of its folder.

Transformers writes it: `pytorch_model.bin.index.json` with a `weight_map`.
"""

from collections.abc import Iterator
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Checked, Tensors
from ckpttool.formats.pytorch.tensors import TorchTensors
from ckpttool.formats.safetensors.index import read_index

SUFFIX, INDEX_SUFFIX = ".bin", ".bin.index.json"
SINGLE = "*model.bin"
"""The names of weights in one file: pytorch_model.bin, adapter_model.bin; training_args.bin holds none."""


class ShardedTorch(Tensors):
    """The tensors that an index names, file after file."""

    def __init__(self, path: Path) -> None:
        """Open each file that an index names.

        Raises:
            MissingFile: one is not there.
            CorruptCheckpoint: the index is damaged, or a file does not hold what it is said to.
            FormatError: the index names what is not beside it; what `TorchTensors` refuses.
        """
        index = read_index(path, SUFFIX)
        self._files: list[TorchTensors] = []
        self._owners: dict[str, TorchTensors] = {}
        texts, left_out = dict(index.metadata), []
        for name, wanted in index.files.items():
            file = TorchTensors(path.with_name(name))
            if missing := sorted(wanted - file.views.keys()):
                raise CorruptCheckpoint(f"{path}: {missing[0]} is said to be in {name}, which does not hold it")
            left_out += [f"{name}: {other}" for other in (*(file.views.keys() - wanted), *file.left_out)]
            self._files.append(file)
            self._owners |= {key: file for key in file if key in wanted}
            texts = {**file.metadata, **texts}
        self.metadata, self.left_out = texts, tuple(left_out)

    def __getitem__(self, name: str) -> Tensor:
        return self._owners[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)

    def checked(self) -> Iterator[Checked]:
        """Check every file."""
        for file in self._files:
            yield from file.checked()


def locate(path: Path) -> Path | None:
    """Return the file or the index that a path stands for: itself, an index beside its name, or the one in a folder.

    Raises:
        FormatError: the folder holds several.
    """
    if path.is_dir():
        found = sorted(path.glob(f"*{INDEX_SUFFIX}")) or sorted(path.glob(SINGLE))
        if len(found) > 1:
            names = ", ".join(file.name for file in found[:5])
            raise FormatError(f"{path} holds several checkpoints of PyTorch, name one: {names}")
        return found[0] if found else None
    if path.is_file():
        return path
    index = Path(f"{path}.index.json")
    return index if path.name.endswith(SUFFIX) and index.is_file() else None
