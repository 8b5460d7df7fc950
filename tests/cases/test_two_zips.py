"""Files with unaccounted bytes: two archives in one, or something before or after an archive."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save

SUFFIXES = ("pt", "npz", "h5", "safetensors", "pth")


def written(suffix: str, name: str) -> bytes:
    """Return a file with one array of this name."""
    file = io.BytesIO()
    if suffix == "npz":
        np.savez(file, **{name: np.ones(3)})
    elif suffix == "h5":
        with h5py.File(file, "w") as out:
            out[name] = np.ones(3)
    elif suffix == "safetensors":
        file.write(save({name: torch.ones(3)}))
    else:
        torch.save({name: torch.ones(3)}, file, _use_new_zipfile_serialization=suffix == "pt")
    return file.getvalue()


def make(folder: Path) -> None:
    for suffix in SUFFIXES:
        first, second = written(suffix, "a"), written(suffix, "b")
        (folder / f"one.{suffix}").write_bytes(first)
        (folder / f"two.{suffix}").write_bytes(first + second)
        (folder / f"tail.{suffix}").write_bytes(first + b"more" * 5)
        (folder / f"head.{suffix}").write_bytes(b"more" * 5 + first)


def refused(run: Callable[..., str], command: str) -> str:
    """Return the error message for a file, whether for damage or for another reason."""
    try:
        return run(command, 2)
    except AssertionError:
        return run(command, 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_is_read_and_two_are_refused(folder: Path, run: Callable[..., str], suffix: str) -> None:
    assert "1 tensor" in run(f"ckpttool verify one.{suffix}")
    said = refused(run, f"ckpttool verify two.{suffix}")
    assert "a file contains one checkpoint" in said or "by its header" in said
    assert "whole" not in said
    refused(run, f"ckpttool convert two.{suffix} -o out.npz")
    assert not (folder / "out.npz").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_follows_is_said(folder: Path, run: Callable[..., str], suffix: str) -> None:
    if suffix == "h5":  # HDF5 itself contains its end
        assert "1 entry skipped: 20 bytes (after the end" in run("ckpttool verify tail.h5")
    else:
        said = refused(run, f"ckpttool verify tail.{suffix}")
        assert "20 bytes follow" in said or "bytes follow its zip archive" in said or "its header" in said


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_stands_in_front_is_refused(folder: Path, run: Callable[..., str], suffix: str) -> None:
    refused(run, f"ckpttool verify head.{suffix}")


def test_an_archive_within_another(folder: Path, run: Callable[..., str]) -> None:
    """A directory that skips most of its file: its readers see one array, others see two."""
    hidden = written("npz", "b") + bytes(70_000)
    with zipfile.ZipFile(folder / "outer.npz", "w") as out:
        for name, data in {"first.npy": b"", "gap": hidden, "last.npy": b""}.items():
            out.writestr(name, data)
        out.filelist = [info for info in out.filelist if info.filename != "gap"]
        out._didModify = True  # type: ignore[attr-defined]
    assert "what follows it in the zip file begins at" in run("ckpttool vars outer.npz", 2)


def test_a_keras_archive(folder: Path, run: Callable[..., str]) -> None:
    weights = written("h5", "x")
    for name, data in {"one.keras": b"", "tail.keras": b"more"}.items():
        with zipfile.ZipFile(folder / name, "w") as out:
            out.writestr("config.json", "{}")
            out.writestr("model.weights.h5", weights)
        with (folder / name).open("ab") as out:
            out.write(data)
    assert "bytes follow its zip archive" in run("ckpttool vars tail.keras", 2)


def test_a_comment_is_no_other_archive(folder: Path, run: Callable[..., str]) -> None:
    with zipfile.ZipFile(folder / "one.npz", "a") as out:
        out.comment = b"made by nobody"
    assert "whole" in run("ckpttool verify one.npz")
