import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile, UnknownName
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Writing
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.surgery import verify as verify_module
from ckpttool.surgery.verify import Damage, changed_tensors, unchanged, verify

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bundles"


@pytest.fixture
def saved(tmp_path):
    arrays = {"hidden1/kernel": np.full((4, 2), 7.0), "hidden1/bias": np.full(2, 8.0), "step": np.array(3)}
    checkpoint.save(arrays, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def damage(prefix, old, new):
    path = Path(f"{prefix}.data-00000-of-00001")
    path.write_bytes(path.read_bytes().replace(old, new))


def test_whether_there_are_checksums_depends_on_the_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    for name, is_zip in (("new.pt", True), ("old.pt", False)):
        torch.save({"w": torch.ones(3)}, tmp_path / name, _use_new_zipfile_serialization=is_zip)
        assert verify(tmp_path / name).checksums == is_zip


def test_a_whole_checkpoint(saved):
    report = verify(saved)
    assert report.whole
    assert (report.format, report.tensors, report.nbytes, report.damaged) == ("bundle", 3, 88, ())


@pytest.mark.parametrize("prefix", sorted(p.with_suffix("") for p in FIXTURES.glob("*.index")), ids=lambda p: p.name)
def test_every_fixture_is_whole(prefix):
    report = verify(prefix)
    assert report.damaged == ()
    assert report.tensors == len(checkpoint.open(prefix))


def test_each_damaged_tensor_is_named(saved):
    damage(saved, np.full(2, 8.0).tobytes(), np.full(2, 9.0).tobytes())
    report = verify(saved)
    assert [item.name for item in report.damaged] == ["hidden1/bias"]
    assert "x.ckpt.data-00000-of-00001: hidden1/bias is damaged: the checksum" in report.damaged[0].why


def test_a_damaged_index_is_one_damaged_file(saved):
    path = Path(f"{saved}.index")
    path.write_bytes(path.read_bytes()[:-1])
    report = verify(saved)
    assert (report.tensors, [item.name for item in report.damaged]) == (0, [str(saved)])


def test_no_checkpoint_is_an_error_and_no_report(tmp_path):
    with pytest.raises(MissingFile):
        verify(tmp_path / "x")
    (tmp_path / "y").write_text("hello")
    with pytest.raises(FormatError):
        verify(tmp_path / "y")


def test_an_npz(tmp_path):
    checkpoint.save({"a": np.arange(4)}, tmp_path / "x.npz")
    report = verify(tmp_path / "x.npz")
    assert (report.format, report.tensors, report.nbytes, report.whole) == ("npz", 1, 32, True)


def tensors(**arrays):
    return {name: Tensor.of(name, np.asarray(array)) for name, array in arrays.items()}


def test_unchanged_compares_bytes():
    before = tensors(frozen=[0.0, np.nan], trained=[1.0], text=np.array([b"a"], object))
    after = tensors(frozen=[0.0, np.nan], trained=[2.0], text=np.array([b"a"], object))
    proof = unchanged(before, after, "frozen|text")
    assert (proof.holds, proof.same) == (True, ("frozen", "text"))
    proof = unchanged(before, after, ".*")
    assert (proof.holds, proof.changed) == (False, (Damage("trained", "has other bytes"),))


def test_a_large_tensor_is_held_against_its_checksum_and_its_file_against_what_it_was(tmp_path, monkeypatch):
    """It is read in place; both are only known after it was read to its end."""
    values = {"a": np.arange(1 << 18, dtype=np.float32)}
    for suffix in ("safetensors", "ckpt"):
        checkpoint.save(values, tmp_path / f"x.{suffix}")
    plain, bundle = checkpoint.open(tmp_path / "x.safetensors"), checkpoint.open(tmp_path / "x.ckpt")
    assert unchanged(plain, bundle, "a").holds
    damage(tmp_path / "x.ckpt", np.float32(77).tobytes(), np.float32(78).tobytes())
    with pytest.raises(CorruptCheckpoint, match="a is damaged: the checksum"):
        unchanged(bundle, bundle, "a")

    def torn():
        raise CorruptCheckpoint("the archive is torn")

    packed = checkpoint.open(tmp_path / "x.safetensors")["a"]
    packed.extent = replace(packed.extent, require_whole=torn)
    with pytest.raises(CorruptCheckpoint, match="the archive is torn"):
        unchanged({"a": packed}, plain, "a")
    lent = CheckpointFile.lent

    def changing(self, *given):
        yield from lent(self, *given)
        os.utime(tmp_path / "x.safetensors", (1, 1))

    monkeypatch.setattr(CheckpointFile, "lent", changing)
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        unchanged(plain, plain, "a")


def test_variants_are_compared_as_they_are_stored(tmp_path):
    variants = checkpoint.open(FIXTURES / "variant.ckpt")
    assert unchanged(variants, variants, ".*").same == tuple(variants)
    name = next(name for name, tensor in variants.items() if tensor.dtype.name == "variant")
    other = Tensor(variants[name].spec, variants[name].read)
    other.stored_bytes = lambda: b"others"
    assert unchanged(variants, {**variants, name: other}, name).changed == (Damage(name, "has other bytes"),)


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ({}, "is missing"),
        (tensors(a=[[0.0]]), r"is float64 [1, 1], expected float64 [1]"),
        (tensors(a=np.zeros(1, np.float32)), r"is float32 [1], expected float64 [1]"),
        (tensors(a=[-0.0]), "has other bytes"),
    ],
)
def test_what_counts_as_changed(after, why):
    before = tensors(a=[0.0])
    assert unchanged(before, after, "a").changed == (Damage("a", why),)
    assert changed_tensors(before, after, ["a"]) == ["a"]


def test_a_pattern_or_name_that_is_not_there_proves_nothing():
    with pytest.raises(UnknownName, match="matches nothing"):
        unchanged(tensors(hidden1=[1]), tensors(), "hiden1")
    with pytest.raises(UnknownName, match="no tensor named b"):
        changed_tensors(tensors(a=[1]), tensors(a=[1]), ["b"])


def test_a_format_written_otherwise_has_the_same_bytes(saved, tmp_path):
    checkpoint.save(checkpoint.open(saved), tmp_path / "y.npz")
    assert unchanged(checkpoint.open(saved), checkpoint.open(tmp_path / "y.npz"), ".*").holds


def test_damage_is_not_taken_for_equality(saved):
    opened = checkpoint.open(saved)
    damage(saved, np.full(2, 8.0).tobytes(), np.full(2, 9.0).tobytes())
    with pytest.raises(CorruptCheckpoint, match="hidden1/bias is damaged"):
        unchanged(opened, checkpoint.open(saved), ".*")


def test_files_that_are_replaced_meanwhile_are_no_damage(tmp_path, monkeypatch):
    def write(number):
        arrays = {name: np.full(4, number, np.float32) for name in "abc"}
        checkpoint.save(arrays, tmp_path / "x.safetensors", overwrite=True, how=Writing(shard_bytes=16))

    def replaced_meanwhile(path):
        monkeypatch.setattr(verify_module, "_verified", verified)
        checkpoint.open(path)
        write(2)
        return replace(verified(path), damaged=(Damage("a", "its file is missing"),))

    verified = verify_module._verified
    write(1)
    monkeypatch.setattr(verify_module, "_verified", replaced_meanwhile)
    assert verify(tmp_path / "x.safetensors").damaged == ()
