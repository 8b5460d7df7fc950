"""The files of a model to store, with their paths in the catalogue."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.catalogue.manifest import Manifest, StoredFile
from ckpttool.core.errors import CkptError, FormatError, MissingFile
from ckpttool.core.plain_files import is_file, resolved
from ckpttool.formats import registry
from ckpttool.formats.tensorflow.prefix import V1_SHARD, BundleFiles, prefix_of
from ckpttool.lineage.output import path_beside
from ckpttool.model.resolve import graph_path, resolve
from ckpttool.remote.paths import is_url, whole_url


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model by path in its entry, and the main path, which stands for the model."""

    main: str
    files: Mapping[str, Path]

    @classmethod
    def of(cls, path: Path) -> "ModelFiles":
        """Find the files of a model.

        Raises:
            MissingFile: nothing exists at the path.
            FormatError: it is not a model, or its folder contains a link that leads out of it.
            CkptError: it is a URL.
        """
        if is_url(path):
            raise CkptError(f"{whole_url(path)} is a URL: `ckpttool zoo pull` downloads models from there")
        path = resolve(path)
        if path.is_dir() and prefix_of(path).parent != path:
            return _folder(path)
        prefix = prefix_of(path)
        found = list(_beside(path, prefix))
        if not found:
            raise MissingFile(f"{path} is missing: no such model")
        return cls(_main(prefix, found), {_name(each, prefix.parent): each for each in sorted(set(found))})


def _folder(path: Path) -> ModelFiles:
    """Return all files of a model folder, such as a SavedModel."""
    root = resolved(path)
    main = root.name or "model"
    paths = [each for each in sorted(root.rglob("*")) if not each.is_dir() or each.is_symlink()]
    for each in paths:
        if each.is_symlink() and not (resolved(each).is_relative_to(root) and each.is_file()):
            raise FormatError(
                f"{each} is a link to {each.readlink()}, which is not a file in {path}, and is not followed"
            )
    return ModelFiles(main, {f"{main}/{each.relative_to(root).as_posix()}": each for each in paths})


def _beside(path: Path, prefix: Path) -> Iterable[Path]:
    """Yield the files of a model outside of a folder of its own: graph, index, data, lineage, weights."""
    bundle = BundleFiles.of(prefix)
    if is_file(bundle.index):
        yield bundle.index
        yield from (shard for shard, _, _ in bundle.shards())
    elif path.is_file() and path.suffix == ".meta":
        yield path
    elif opened := _opened(path):
        shards = (each for each in prefix.parent.iterdir() if V1_SHARD.sub("", each.name) == prefix.name)
        held = (tensor.extent.path for tensor in opened.values() if tensor.extent)
        outputs = registry.find(path).outputs(path)
        yield from (each for each in {*shards, *held, *outputs, path} if is_file(each))
    elif path.is_file():
        yield path
    yield from (each for each in (graph_path(prefix), path_beside(prefix)) if each and is_file(each))


def _opened(path: Path) -> checkpoint.Checkpoint | None:
    try:
        return checkpoint.open(path)
    except (FormatError, MissingFile):
        return None


def _main(prefix: Path, files: list[Path]) -> str:
    """Return the main path: the name of a single file, or the prefix of several."""
    return files[0].name if len(files) == 1 and not is_file(prefix) and files[0].suffix != ".meta" else prefix.name


def _name(file: Path, folder: Path) -> str:
    """Return the path of a file relative to a model's folder.

    Raises:
        FormatError: it is outside of the folder.
    """
    try:
        return file.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError as error:
        raise FormatError(f"{file} is not in {folder}: all files of a model must be in one folder") from error


def given_to_others(manifest: Manifest) -> tuple[StoredFile, ...]:
    """Return the files that may leave a catalogue: all but the lineage file, which contains local folder names.

    The manifest contains the lineage without these.
    """
    return tuple(file for file in manifest.files if file.path != str(path_beside(Path(manifest.main))))
