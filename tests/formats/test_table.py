"""The table of formats: every dtype in every shape, both ways, between each format and its own library.

The results of these tests are printed at the end of a run (`pytest tests/formats/test_table.py`), a line per dtype.
"""

import pytest
from conformance import numbers
from referees import REFEREES

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME, DTYPES
from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Tensor
from ckpttool.formats import registry
from ckpttool.formats.format import Writing

SHAPES = {"scalar": (), "empty": (0, 3), "1-D": (5,), "5-D": (1, 2, 1, 3, 2)}
PLAIN = [dtype for dtype in DTYPES if dtype.itemsize or dtype.name == "string"]
WRITTEN = [name for name, referee in REFEREES.items() if referee.reads]
SHARDED = [name for name in WRITTEN if "shard_bytes" in registry.get(name).OPTIONS]


def bank(dtypes):
    """A tensor for each dtype and shape."""
    made = [
        (f"{dtype}_{shape}", numbers(BY_NAME[dtype], SHAPES[shape]), BY_NAME[dtype])
        for dtype in dtypes
        for shape in SHAPES
    ]
    return {name: Tensor.of(name, array, dtype) for name, array, dtype in made}


def same(found, tensor):
    wanted = tensor.read()
    return (found.dtype, found.shape, found.tolist()) == (wanted.dtype, wanted.shape, wanted.tolist())


def held(dtypes, equal):
    """Return the shapes of each dtype that were read unchanged."""
    return {dtype: [shape for shape in SHAPES if equal[f"{dtype}_{shape}"]] for dtype in dtypes}


@pytest.fixture
def path(tmp_path, name):
    return tmp_path / f"weights{REFEREES[name].suffix}"


def test_every_format_has_a_referee_and_every_written_one_is_read_by_it():
    assert {name for name in registry.BUILTIN if registry.get(name).WRITES} == set(WRITTEN)
    assert REFEREES.keys() == registry.BUILTIN.keys()


@pytest.mark.parametrize("name", REFEREES)
def test_what_the_library_writes_is_read(name, path, record_property):
    referee = REFEREES[name]
    dtypes = [dtype.name for dtype in PLAIN if dtype.name in referee.dtypes]
    tensors = bank(dtypes)
    referee.write(path, tensors)
    opened = checkpoint.open(path)
    assert opened.format == name
    found = held(dtypes, {key: same(opened[referee.named(key)].read(), tensor) for key, tensor in tensors.items()})
    record_property("read", [name, found])
    assert found == {dtype: list(SHAPES) for dtype in dtypes}
    assert {opened[referee.named(key)].dtype for key in tensors} == {BY_NAME[dtype] for dtype in dtypes}


@pytest.mark.parametrize(
    ("name", "shard_bytes"), [*((name, None) for name in WRITTEN), *((name, 64) for name in SHARDED)]
)
def test_what_is_written_the_library_reads(name, path, shard_bytes, record_property):
    referee, target = REFEREES[name], registry.get(name)
    dtypes = [dtype.name for dtype in PLAIN if dtype.name in referee.dtypes & target.HOLDS]
    tensors = bank(dtypes)
    referee.save(target, tensors, path, Writing(shard_bytes=shard_bytes))
    back = referee.read(path, tensors)
    found = held(dtypes, {key: same(back[key], tensor) for key, tensor in tensors.items()})
    record_property("sharded" if shard_bytes else "written", [name, found])
    assert found == {dtype: list(SHAPES) for dtype in dtypes}


@pytest.mark.parametrize("name", REFEREES)
def test_what_a_format_cannot_hold_is_refused(name, path, record_property):
    refused = [dtype.name for dtype in PLAIN if dtype.name not in registry.get(name).HOLDS]
    for dtype in refused:
        with pytest.raises(CkptError):
            registry.get(name).save(bank([dtype]), path)
        assert not path.exists()
    record_property("refused", [name, refused])
