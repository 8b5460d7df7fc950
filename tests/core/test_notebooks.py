"""Representations of objects in interactive shells: lines, small tables, and HTML pages without foreign markup."""

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import ckpttool
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import UnknownName
from ckpttool.core.notebooks import MOST_BYTES, Rows, curves, histogram, html_table, text_table
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.training.run import Epoch, Run

EVIL = "<script>alert(1)</script>/kernel"


def checkpoint() -> ckpttool.Checkpoint:
    values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    arrays = {EVIL: values, "conv1/kernel": values, "conv1/bias": np.full(4, np.nan, np.float32), "step": np.array(3)}
    return ckpttool.Checkpoint.of(arrays)


def well_formed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html)


def test_a_checkpoint_in_a_line_and_as_a_table() -> None:
    ckpt = checkpoint()
    assert repr(ckpt) == "<Checkpoint: 4 tensors, 29 numbers, 120 bytes>"
    page = well_formed(ckpt._repr_html_())
    assert "<script>" not in ckpt._repr_html_()
    assert len(page.findall(".//svg")) == 2
    assert "kernel 3 × 4, bias 4" in ckpt._repr_html_()


def test_values_of_a_large_checkpoint_are_not_read() -> None:
    def read() -> Any:
        raise AssertionError("read")

    spec = TensorSpec("a/kernel", (MOST_BYTES,), BY_NAME["float32"])
    assert "<svg" not in ckpttool.Checkpoint({"a/kernel": Tensor(spec, read)})._repr_html_()


def test_a_tensor_is_like_an_array() -> None:
    tensor = checkpoint()["conv1/kernel"]
    assert repr(tensor) == "<Tensor conv1/kernel float32 [3, 4]>"
    np.testing.assert_array_equal(tensor[0:2, 1], tensor.read()[0:2, 1])
    np.testing.assert_array_equal(tensor.numpy(), tensor.read())
    assert [row.shape for row in tensor] == [(4,)] * 3
    assert bool(Tensor.of("empty", np.zeros((0, 3))))
    assert "<svg" in tensor._repr_html_()


@pytest.mark.parametrize("name", ["float32", "int64", "bfloat16", "bool"])
def test_dtypes_are_numpys(name: str) -> None:
    dtype = BY_NAME[name]
    assert dtype == dtype.numpy
    assert dtype.numpy == dtype
    assert dtype == dtype.numpy.type or name == "bool"
    assert dtype == name
    assert hash(dtype) == hash(name)
    assert dtype != np.dtype("complex64")
    assert dtype != BY_NAME["complex64"]
    assert (BY_NAME["qint8"] == np.int8, BY_NAME["float32"] == 3, BY_NAME["float32"] is None) == (False, False, False)


def test_a_layer_is_no_tensor_and_names_those_below() -> None:
    problem = "'conv1' is a layer, whose tensors are conv1/kernel, conv1/bias; `select` selects them"
    with pytest.raises(UnknownName, match=re.escape(problem)):
        checkpoint()["conv1"]
    with pytest.raises(UnknownName, match="no tensor named conv; nearest: conv1"):
        checkpoint()["conv"]


def test_a_run_in_a_line_and_as_curves() -> None:
    history = [Epoch(number, 1 / number, float("nan"), None, 0.1) for number in (1, 2, 3)]
    run = Run([], history, history[2], history[2], None, ())
    assert repr(run).startswith("<Run .: epoch 3 (the best)")
    assert len(well_formed(run._repr_html_()).findall(".//polyline")) == 1


def test_tables() -> None:
    rows = [{"name": f"layer{number}", "shape": (2, 3)} for number in range(200)]
    assert list(text_table(rows))[-1] == "  and 188 more"
    assert list(text_table([])) == []
    assert "and 100 more" in html_table(rows, "layers")
    page = well_formed(Rows(rows, "a & b")._repr_html_())
    assert page.findtext("b") == "a & b"
    assert Rows(rows, "layers")[0]["shape"] == (2, 3)


def test_pictures() -> None:
    assert len(well_formed(histogram([0, 3, 1], "counts")).findall("rect")) == 2
    assert well_formed(histogram([], "none")).findall("rect") == []
    drawn = well_formed(curves({"a<b": [1.0, 2.0], "c": [2.0, 2.0], "none": [None, float("inf")]}))
    texts = drawn.findall("text")
    assert [text.text for text in texts] == ["a<b 2", "c 2"]
    assert len({text.get("y") for text in texts}) == 2
