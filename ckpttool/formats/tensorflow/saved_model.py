"""SavedModels: a folder with a graph, its assets, and its variables in a bundle (python/saved_model/constants.py).

The variables are read and verified as a bundle or an object checkpoint. Writing creates an edited copy of a SavedModel:
the graph is unchanged, so each variable needs a value of its shape and dtype. Variables that Keras 3 stores twice are
written twice: TensorFlow 2 reads the first, TensorFlow 1 and TensorFlow Serving the second.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ckpttool.core.errors import MissingFile, PlanError
from ckpttool.core.plain_files import is_file
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats.format import ANY, PLAIN, Checked, Format, Writing
from ckpttool.formats.tensorflow.bundle import Bundle, BundleTensors
from ckpttool.formats.tensorflow.bundle_index import RANK_LIMIT
from ckpttool.formats.tensorflow.frozen_graph import weights_in_functions
from ckpttool.formats.tensorflow.object_checkpoint import ObjectCheckpoint
from ckpttool.formats.tensorflow.object_graph import graph_of
from ckpttool.formats.tensorflow.prefix import SAVED_MODEL_GRAPHS, is_saved_model
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import SavedModel as SavedModelProto
from ckpttool.formats.writing.files import copy_tree, refuse_existing_folder, replacing_folder

FINGERPRINT = "fingerprint.pb"
"""Hashes of the folder's content, wrong for a copy with other values; TensorFlow does not require the file."""


class SavedModel(Format):
    """The variables of a SavedModel."""

    NAME = "saved-model"
    FRAMEWORK = "tensorflow"
    LIMITS = "an edited copy of a SavedModel's folder: the variables that are there, in their shapes and dtypes"
    HOLDS = ANY
    DIMENSIONS = RANK_LIMIT
    OBJECT_GRAPH = True
    OPTIONS = frozenset({"like"})
    IN_FOLDER = (SAVED_MODEL_GRAPHS[0],)

    def recognises(self, path: Path) -> bool:
        """Return whether a path is a folder with a graph and variables."""
        return is_saved_model(path) and is_file(f"{_prefix(path)}.index")

    def open(self, path: Path) -> BundleTensors:
        """Return the variables; if there are none, weights that are constants of functions are listed as skipped.

        For errors see `Bundle.open`.
        """
        tensors = _inner(path).open(_prefix(path))
        if set(tensors) <= {OBJECT_GRAPH}:
            constants = weights_in_functions(path).items()
            tensors.left_out = tuple(f"{name} (is a constant of the function {where})" for name, where in constants)
        return tensors

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write a copy of a SavedModel with other values: of `how.like`, or of the one that the tensors were read from.

        Raises:
            MissingFile: `how.like` is no SavedModel with variables.
            PlanError: there is no SavedModel to copy, or the tensors do not match its variables.
        """
        like = _like(path, how)
        model = self.open(like)
        copies = graph_of(model, str(like)).copies() if OBJECT_GRAPH in model else {}
        tensors = {**tensors, **{copy: tensors[own].renamed(copy) for copy, own in copies.items() if own in tensors}}
        _require_same(tensors, model, copies, like)
        kept = {OBJECT_GRAPH: model[OBJECT_GRAPH]} if OBJECT_GRAPH in model else {}
        with replacing_folder(path) as folder:
            _copy_rest(like, folder)
            Bundle().save({name: kept.get(name) or tensors[name] for name in model}, _prefix(folder))

    def check(self, path: Path, overwrite: bool) -> None:
        """Check that a folder may be written: the path does not exist, or is a SavedModel that may be replaced."""
        refuse_existing_folder(path, overwrite, is_saved_model)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Check every byte of the variables."""
        yield from _inner(path).verify(_prefix(path))

    def files_named_in(self, folder: Path) -> list[Path]:
        """Return the index of a folder's variables."""
        return [Path(f"{_prefix(folder)}.index")]


def _prefix(folder: Path) -> Path:
    return folder / "variables" / "variables"


def _inner(folder: Path) -> ObjectCheckpoint | Bundle:
    """Return the format of the variables: TensorFlow 2 writes object checkpoints, TensorFlow 1 bundles."""
    return ObjectCheckpoint() if ObjectCheckpoint().recognises(_prefix(folder)) else Bundle()


def _like(path: Path, how: Writing) -> Path:
    """Return the folder to copy."""
    if how.like is not None:
        if not SavedModel().recognises(how.like):
            raise MissingFile(
                f"{how.like} is not a SavedModel with variables, needed to write {path} as an edited copy"
            )
        return how.like
    source = how.source.parent.parent if how.source else None
    if source is None or _prefix(source) != how.source or not is_saved_model(source):
        raise PlanError(f"{path} is written as an edited copy of a SavedModel: specify it as `like`")
    return source


def _copy_rest(like: Path, folder: Path) -> None:
    """Copy everything except the variables."""
    for entry in like.iterdir():
        if entry.name not in ("variables", FINGERPRINT):
            copy_tree(entry, folder / entry.name, like)
    (folder / "variables").mkdir()


def _require_same(
    tensors: Mapping[str, Tensor], model: Mapping[str, Tensor], copies: Mapping[str, str], like: Path
) -> None:
    """Check that tensors match a graph's variables in names, shapes and dtypes; `copies` are duplicates of others."""
    hint = (
        "a SavedModel's graph keeps its variables as they are; an output named such as x.ckpt stores them without "
        "the graph"
    )
    for name in tensors:
        if name not in model and name != OBJECT_GRAPH:
            raise PlanError(f"{like} has no variable {name}{suggestion(name, set(model) - set(copies))}; {hint}")
    for name, tensor in sorted(model.items(), key=lambda each: each[0] in copies):
        if name not in tensors and name != OBJECT_GRAPH:
            raise PlanError(f"nothing for {name} of {like}{suggestion(name, tensors)}; {hint}")
        given = tensors[name] if name != OBJECT_GRAPH else tensor
        if (given.shape, given.dtype) != (tensor.shape, tensor.dtype):
            what, expected = f"{given.dtype} {list(given.shape)}", f"{tensor.dtype} {list(tensor.shape)}"
            raise PlanError(f"{name} is {what}, expected {expected} as in {like}; {hint}")


SCHEMA_VERSION = 1
ASSETS = "assets"
"""The folder of files that the graph reads, such as vocabularies."""


EXTRA_ASSETS = "assets.extra"
"""The folder of files for serving that the graph does not read, such as warm-up requests."""


def write_saved_model(
    meta: MetaGraphDef, tensors: Mapping[str, Tensor], path: Path, beside: Sequence[Path] = ()
) -> None:
    """Write a graph, its variables and copies of the folders `beside` as a SavedModel, atomically."""
    with replacing_folder(path) as folder:
        (folder / "variables").mkdir()
        model = SavedModelProto(saved_model_schema_version=SCHEMA_VERSION, meta_graphs=[meta])
        graph = folder / SAVED_MODEL_GRAPHS[0]
        graph.write_bytes(model.SerializeToString(deterministic=True))
        if tensors:
            Bundle().save(tensors, folder / "variables" / "variables", Writing(graph=graph))
        for each in beside:
            copy_tree(each, folder / each.name, each.parent)
