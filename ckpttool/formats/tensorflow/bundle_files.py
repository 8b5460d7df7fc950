"""The files of a bundle: a prefix is not a file, and it may end in a slash (TensorFlow's tensor_bundle/naming.cc)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SHARD = re.compile(r"\.data-(\d{5,})-of-(\d{5,})")
V1_SHARD = re.compile(r"-(\d{5}|\?{5})-of-(\d{5})\Z")
"""How the name of a file of a checkpoint of version 1 ends that has several; TensorFlow notes all as `?????`."""
PART = re.compile(rf"(\.index|\.meta|\.data-\d{{5,}}-of-\d{{5,}}|{V1_SHARD.pattern})\Z")
"""How the name of a part of a model ends."""


@dataclass(frozen=True)
class BundleFiles:
    """The names of a bundle's files.

    >>> BundleFiles("my_model.ckpt").shard(0, 1).name
    'my_model.ckpt.data-00000-of-00001'
    """

    prefix: str

    @classmethod
    def of(cls, prefix: Path) -> "BundleFiles":
        """Return the names for a prefix; a folder that holds a file named `.index` is a prefix that ends in a slash."""
        whole = cls(str(prefix))
        inside = cls(f"{prefix}/")
        return inside if not whole.index.is_file() and inside.index.is_file() else whole

    @property
    def index(self) -> Path:
        """The file that says which tensors there are: where it is, there is a checkpoint."""
        return Path(self.prefix + ".index")

    def shard(self, number: int, count: int) -> Path:
        """Return the name of the file with the bytes of one shard's tensors."""
        return Path(f"{self.prefix}.data-{number:05d}-of-{count:05d}")

    def shards(self) -> Iterator[tuple[Path, int, int]]:
        """Yield each data file that is there, with its number and the count in its name."""
        start = Path(self.prefix + ".index").name.removesuffix(".index")
        folder = self.index.parent
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            found = _SHARD.fullmatch(path.name.removeprefix(start)) if path.name.startswith(start) else None
            if found:
                yield path, int(found[1]), int(found[2])
