"""Requirements for every format: a format's tests subclass `FormatTests`, or `ReadingTests` if it is read only."""

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME, DTYPES, STRING
from ckpttool.core.errors import CkptError, CorruptCheckpoint, ExistingOutput, FormatError, MissingFile
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN
from ckpttool.lineage.output import staged_output

SHAPES = [(), (0, 3), (5,), (1, 2, 1, 3, 2)]


def numbers(dtype, shape):
    count = np.arange(int(np.prod(shape))).reshape(shape)
    if dtype is STRING:
        return np.array([b"%d" % n for n in count.ravel()], object).reshape(shape)
    return (count % 2 if dtype.name == "bool" else count % 8).astype(dtype.numpy)


def tensors_of(**arrays):
    return {name: Tensor.of(name, array) for name, array in arrays.items()}


def save_as(target, tensors, path, overwrite=False, how=PLAIN):
    """Write tensors in a format as every output is written: staged, then committed."""
    with staged_output(path, target, overwrite) as place:
        target.save(tensors, place, how)


class ReadingTests:
    """Requirements for every format; those of formats that are read only `save` with the library that writes them."""

    name: str
    suffix = ""
    checksums = True
    """Whether a changed number is detected: a format without checksums declares this in its limits."""
    fraction, whole = np.float64, np.int16
    """The dtypes of the written numbers in tests that are not about dtypes."""

    def save(self, tensors, path, overwrite):
        raise NotImplementedError

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / f"weights{self.suffix}"

    @property
    def format(self):
        return registry.get(self.name)

    @property
    def refused(self):
        """The dtypes that the format does not support."""
        return tuple(dtype.name for dtype in DTYPES if dtype.name not in self.format.HOLDS)

    def tensors(self, **arrays):
        return tensors_of(**{name: array.astype(self.fraction) for name, array in arrays.items()})

    def files(self, path: Path) -> list[Path]:
        return sorted(path.parent.iterdir())

    def test_bytes_decide_which_format_it_is(self, path):
        self.save(self.tensors(a=np.zeros(3)), path, False)
        assert registry.find(path) is self.format

    def test_every_name_is_listed_and_no_other(self, path):
        names = [f"layer{i}/kernel" for i in range(300)]
        self.save({name: Tensor.of(name, np.float32(i)) for i, name in enumerate(names)}, path, False)
        opened = self.format.open(path)
        assert sorted(opened) == sorted(names)
        assert [int(opened[name].read()) for name in names] == list(range(300))

    def test_names_are_not_files(self, path):
        names = ["../escape", "/absolute", "a b", "ünïcode", "CON", "x" * 300, "a\\b", "a//b", "."]
        self.save({name: Tensor.of(name, np.ones(1, self.fraction)) for name in names}, path, False)
        assert set(self.format.open(path)) == set(names)

    def test_no_tensors_at_all(self, path):
        self.save({}, path, False)
        assert list(self.format.open(path)) == list(self.format.verify(path)) == []

    @pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 13], ids=["all", "some"])
    def test_every_cut_is_found(self, path, step):
        texts = {} if "string" in self.refused else {"s": np.array([b"x", b"yz"], object)}
        self.save(tensors_of(a=np.arange(5, dtype=self.whole), **texts), path, False)
        for file in [file for file in self.files(path) if file.stat().st_size]:
            whole = file.read_bytes()
            for size in [*range(0, len(whole), step), len(whole) - 1]:
                file.write_bytes(whole[:size])
                assert not self._reads_well(path), f"{file.name} cut to {size}"
            file.write_bytes(whole)
        assert self._reads_well(path)

    def test_a_damaged_tensor_does_not_hide_the_others(self, path):
        self.save(self.tensors(a=np.full(8, 7.0), b=np.full(8, 9.0), c=np.full(8, 5.0)), path, False)
        nines, eights = (np.full(8, number, self.fraction).tobytes() for number in (9, 8))
        file = next(file for file in self.files(path) if nines in file.read_bytes())
        file.write_bytes(file.read_bytes().replace(nines, eights))
        problems = {item.name: item.problem for item in self.format.verify(path)}
        assert list(problems) == ["a", "b", "c"]
        if not self.checksums:
            assert "keeps no checksums" in self.format.LIMITS
            assert set(problems.values()) == {None}
            return
        assert (problems["a"], problems["c"]) == (None, None)
        assert "b" in problems["b"]
        with pytest.raises(CorruptCheckpoint, match="b is damaged"):
            self.format.open(path)["b"].read()
        with pytest.raises(CorruptCheckpoint, match="b is damaged"):
            list(self.format.open(path)["b"].pieces())

    def _reads_well(self, path: Path) -> bool:
        """Return whether reading succeeds; any error except ckpttool's fails the test."""
        try:
            return not any(item.problem for item in registry.find(path).verify(path))
        except (CorruptCheckpoint, FormatError):
            return False


class FolderReadingTests(ReadingTests):
    """Requirements for formats that are read only, and consist of the files below a folder."""

    def files(self, path):
        return sorted(file for file in path.rglob("*") if file.is_file())


class FormatTests(ReadingTests):
    """Requirements for every format that is written; `save` writes with ckpttool."""

    refused: tuple[str, ...] = ()
    """Dtypes that the format does not support."""

    @property
    def dtype(self):
        return BY_NAME[np.dtype(self.fraction).name]

    def save(self, tensors, path, overwrite):
        save_as(self.format, tensors, path, overwrite)

    def test_names_are_not_files(self, path):
        super().test_names_are_not_files(path)
        assert {file.parent for file in self.files(path)} == {path.parent}

    @pytest.mark.parametrize("dtype", [d for d in DTYPES if d.itemsize or d is STRING], ids=str)
    def test_round_trip(self, path, dtype):
        arrays = {f"a/b{len(shape)}": numbers(dtype, shape) for shape in SHAPES}
        tensors = {name: Tensor.of(name, array, dtype) for name, array in arrays.items()}
        if dtype.name in self.refused:
            with pytest.raises(FormatError, match="a/b"):
                self.save(tensors, path, False)
            assert self.files(path) == []
            return
        self.save(tensors, path, False)
        opened = self.format.open(path)
        for name, array in arrays.items():
            assert opened[name].spec == TensorSpec(name, array.shape, dtype)
            back = opened[name].read()
            assert (back.shape, back.dtype, back.tolist()) == (array.shape, array.dtype, array.tolist())
            if dtype.itemsize:
                assert b"".join(opened[name].pieces()) == array.tobytes()

    def test_it_says_which_dtypes_it_holds(self):
        dtypes = {dtype.name for dtype in DTYPES if dtype.itemsize or dtype is STRING}
        assert self.format.HOLDS & dtypes == dtypes - set(self.refused)

    def test_the_suffix_decides_what_is_written(self, path):
        assert registry.for_output(path) is self.format

    def test_an_existing_output_is_refused_and_kept(self, path):
        self.save(self.tensors(a=np.array([1.0])), path, False)
        with pytest.raises(ExistingOutput, match="`overwrite`"):
            self.save(self.tensors(a=np.array([2.0])), path, False)
        assert self.format.open(path)["a"].read().tolist() == [1.0]

    def test_overwriting_leaves_only_the_new_one(self, path):
        self.save(self.tensors(a=np.array([1.0]), old=np.zeros(9)), path, False)
        for value in (2.0, 3.0, 4.0):
            self.save(self.tensors(a=np.array([value])), path, True)
            assert {name: t.read().tolist() for name, t in self.format.open(path).items()} == {"a": [value]}
        assert not [file for file in self.files(path) if file.suffix == ".tmp"]

    def test_it_can_be_written_over_itself(self, path):
        self.save(self.tensors(a=np.arange(9.0)), path, False)
        opened = self.format.open(path)
        self.save({"b": opened["a"].renamed("b")}, path, True)
        assert self.format.open(path)["b"].read().tolist() == list(range(9))

    def test_a_failure_while_writing_leaves_the_old_one_and_no_litter(self, path):
        self.save(self.tensors(a=np.array([1.0])), path, False)
        before = {file: file.read_bytes() for file in self.files(path)}

        def fails():
            raise CorruptCheckpoint("the source is damaged")

        broken = Tensor(TensorSpec("b", (2,), self.dtype), fails)
        with pytest.raises(CorruptCheckpoint, match="the source is damaged"):
            self.save({**self.tensors(a=np.zeros(5)), "b": broken}, path, True)
        assert {file: file.read_bytes() for file in self.files(path)} == before

    def test_a_tensor_that_gives_too_few_bytes_is_refused(self, path):
        short = Tensor(TensorSpec("a", (4,), self.dtype), lambda: np.zeros(3, self.fraction))
        with pytest.raises(CkptError, match="a"):
            self.save({"a": short}, path, False)
        assert self.files(path) == []

    def test_resources_are_refused(self, path):
        resource = Tensor(TensorSpec("table", (), BY_NAME["resource"]), lambda: np.empty((), object))
        with pytest.raises(FormatError, match="table"):
            self.save({"table": resource}, path, False)

    def test_a_folder_that_is_not_there_is_said(self, tmp_path):
        with pytest.raises(MissingFile, match="nowhere"):
            self.save(self.tensors(a=np.ones(1)), tmp_path / "nowhere" / f"x{self.suffix}", False)


SEVENS, EIGHTS, NINES = (np.full(8, float(number)) for number in (7, 8, 9))


def change_on_disk(monkeypatch, old, new):
    """Change the bytes of files on the disk when they are written."""

    class Changing(io.BufferedRandom):
        def write(self, data):
            super().write(bytes(data).replace(old, new))
            return len(data)

    opened = os.fdopen

    def open_(descriptor, mode="r", *rest, **others):
        if mode == "w+b":
            return Changing(io.FileIO(descriptor, "w+"))
        return opened(descriptor, mode, *rest, **others)

    def pwrite(descriptor, data, offset, written=os.pwrite):
        return written(descriptor, bytes(data).replace(old, new), offset)

    monkeypatch.setattr(os, "fdopen", open_)
    monkeypatch.setattr(os, "pwrite", pwrite)


def without_b(argument):
    if isinstance(argument, Mapping):
        return {name: tensor for name, tensor in argument.items() if name.rpartition("/")[2] != "b"}
    return argument


def with_c(argument):
    if isinstance(argument, Mapping):
        return {re.sub(r"\bb$", "c", name): tensor for name, tensor in argument.items()}
    return argument.renamed("c") if isinstance(argument, Tensor) and argument.name == "b" else argument


class ReadBackTests:
    """Requirements for written formats: output that is not read back as intended is detected, and the old one stays.

    `writer` writes tensors to a file: one tensor, or a mapping of all.
    """

    writer = "ckpttool.formats.writing.copying.Copier.add"
    missed = "b reads back as nothing, expected float64"

    @pytest.fixture(params=["fresh", "over an old one"])
    def before(self, request, path):
        if request.param != "fresh":
            self.save(self.tensors(a=np.array([1.0])), path, False)
        return {file: file.read_bytes() for file in self.files(path)}

    def require_refused(self, path, before, match):
        with pytest.raises(CorruptCheckpoint, match=match):
            self.save(self.tensors(a=SEVENS, b=NINES), path, True)
        assert {file: file.read_bytes() for file in self.files(path)} == before

    def test_bytes_that_the_disk_changed_are_found(self, path, before, monkeypatch):
        nines, eights = (array.astype(self.fraction).tobytes() for array in (NINES, EIGHTS))
        change_on_disk(monkeypatch, nines, eights)
        self.require_refused(path, before, "b")

    def test_a_tensor_that_the_writer_loses_is_found(self, path, before, monkeypatch):
        real = resolve_name(self.writer)

        def loses(*arguments):
            if not any(isinstance(each, Tensor) and each.name == "b" for each in arguments):
                return real(*map(without_b, arguments))
            return None

        monkeypatch.setattr(self.writer, loses)
        self.require_refused(path, before, self.missed)

    def test_a_tensor_that_the_writer_renames_is_found(self, path, before, monkeypatch):
        real = resolve_name(self.writer)
        monkeypatch.setattr(self.writer, lambda *arguments: real(*map(with_c, arguments)))
        self.require_refused(path, before, self.missed)


CALLS = [(os, "open"), (os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "unlink")]


def before_call(monkeypatch, number, act):
    """Call `act` before the Nth call of any function that changes the disk."""
    seen = 0

    def wrap(function):
        def wrapped(*args, **kwargs):
            nonlocal seen
            seen += 1
            if seen == number:
                act()
            return function(*args, **kwargs)

        return wrapped

    for owner, name in CALLS:
        monkeypatch.setattr(owner, name, wrap(getattr(owner, name)))
