"""Preprocessing stored in a graph: found for its inputs, replaced by the given one, copied to the trained model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import PlanError
from ckpttool.data.files import InputSpec
from ckpttool.data.held_out import HeldOut
from ckpttool.graph.contents.kept import kept_facts, kept_metadata, with_kept_metadata
from ckpttool.graph.contents.preprocessing import preprocessing_text, with_preprocessing_text
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.bound import Bound
from ckpttool.training.options import Options
from ckpttool.training.preprocessing import kept_steps, with_preprocessing
from ckpttool.training.run_report import RunReport
from ckpttool.verbs.cache import cache
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.reuse import plan_reuse

IMAGES = InputSpec("net/images", (None, 8, 8, 3), BY_NAME["float32"], keys=("pictures",))
AGE = InputSpec("age", (None, 1), BY_NAME["float32"])
OPTIONS = Options(epochs=1, batch_size=50, recipe=Recipe("sgd"), valid="first:30")


def test_what_is_given_takes_the_place_of_what_is_kept_for_an_input(model: Model) -> None:
    graph = with_preprocessing(model.graph, "keras(tf)", [IMAGES], "y")
    assert preprocessing_text(graph) == "keras(tf)"
    both = with_preprocessing(graph, "age: scale(0.01)", [IMAGES, AGE], "y")
    assert preprocessing_text(both) == "net/images: keras(tf); age: scale(0.01)"
    again = with_preprocessing(both, "pictures: none\ny: one_hot(3)", [IMAGES, AGE], "y")
    assert preprocessing_text(again) == "net/images: none; age: scale(0.01); y: one_hot(3)"
    assert {name: str(steps[0]) for name, steps in kept_steps(again, [AGE], None).items()} == {"age": "scale(0.01)"}
    with pytest.raises(PlanError, match="no input agee; nearest: age; known: net/images, age, y"):
        with_preprocessing(graph, "agee: none", [IMAGES, AGE], "y")


def test_what_cannot_be_read_in_a_file_is_refused_with_the_way_out(model: Model, data: Path) -> None:
    broken = replace(model, graph=with_preprocessing_text(model.graph, "scale(__import__('os'))"))
    with pytest.raises(PlanError, match=r"it keeps .*expected a number.*; `preprocess` specifies another"):
        Bound.of(broken).with_training_rows(data, HeldOut(50), None)
    Bound.of(broken).preprocessing("none").with_training_rows(data, HeldOut(50), None)


def test_metadata_of_a_keras_file_has_it_and_nothing_else_is_taken(model: Model) -> None:
    graph = with_preprocessing_text(model.graph, "keras(tf)")
    assert kept_metadata(model.graph) == {}
    assert kept_metadata(graph) == {"ckpttool": {"preprocess": "keras(tf)"}}
    metadata = {"keras_version": "3.15", "ckpttool": {"preprocess": "bgr()", "classes": ["a", "b"]}}
    taken = with_kept_metadata(model.graph, metadata)
    assert kept_facts(taken) == ["2 classes: a, b", "preprocessing: bgr()"]
    assert kept_metadata(taken)["ckpttool"] == metadata["ckpttool"]
    for other in (
        {},
        {"ckpttool": 3},
        {"ckpttool": {"preprocess": ["x"], "classes": "ab"}},
        {"ckpttool": {"classes": [1]}},
    ):
        assert with_kept_metadata(model.graph, other) is model.graph


def test_the_cache_is_keyed_by_what_is_done_to_rows(model: Model, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (60, 4)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=rows, y=np.arange(60) % 3)

    def entry(preprocess: str | None) -> tuple[str, bool]:
        features = cache(model, tmp_path / "d.npz", "hidden1", root=tmp_path / "cache", preprocess=preprocess)
        return features.entry.key, features.hit

    plain, _ = entry(None)
    assert entry("scale(1/255)") == (plain, True)
    others = [entry(text) for text in ("none", "scale(1/127.5, -1)", "scale(2)")]
    assert len({plain, *(key for key, _ in others)}) == 4
    assert not any(hit for _, hit in others)
    assert entry("none")[1]


def test_a_run_that_goes_on_has_the_preprocessing_that_it_was_begun_with(
    model: Model, data: Path, tmp_path: Path
) -> None:
    saved = replace(OPTIONS, save_every="1 epoch")
    finetune(model, data, replace(saved, preprocess="scale(2)"), tmp_path / "o.ckpt")
    more = replace(saved, epochs=2)
    with pytest.raises(PlanError, match=r"preprocess was scale\(2\), now scale\(3\)"):
        finetune(model, data, replace(more, preprocess="scale(3)"), tmp_path / "o.ckpt", resume=True, overwrite=True)
    finetune(model, data, more, tmp_path / "o.ckpt", resume=True, overwrite=True)
    assert preprocessing_text(Model.open(tmp_path / "o.ckpt").graph) == "scale(2)"


def test_another_head_has_labels_of_its_own(model: Model) -> None:
    kept = with_preprocessing(model.graph, "scale(2); y: one_hot(3)", [AGE], "y")
    planned = plan_reuse(replace(model, graph=kept), "hidden1", head="out = dense(2)")
    assert preprocessing_text(planned.graph) == "scale(2)"
    only = with_preprocessing(model.graph, "y: one_hot(3)", [AGE], "y")
    assert preprocessing_text(plan_reuse(replace(model, graph=only), "hidden1", head="out = dense(2)").graph) is None
    assert preprocessing_text(plan_reuse(replace(model, graph=kept), "hidden1").graph) == "scale(2); y: one_hot(3)"


def test_a_run_that_is_repeated_with_other_preprocessing_says_so(model: Model, data: Path, tmp_path: Path) -> None:
    finetune(model, data, replace(OPTIONS, preprocess="scale(2)"), tmp_path / "o.ckpt")
    report = RunReport.beside(tmp_path / "o.ckpt")
    assert report is not None and report.preprocess == "scale(2)"
    facts: dict[str, Any] = {"model": report.model, "data": {"path": str(data), "fingerprint": report.fingerprint}}
    assert report.differences(facts) == []
    facts["data"]["preprocess"] = "none"
    assert report.differences(facts)[0].endswith("of rows with the preprocessing scale(2), this run has none")


def test_what_is_kept_for_an_input_that_is_gone_is_said(model: Model, data: Path) -> None:
    kept = with_preprocessing_text(model.graph, "X: scale(2); age: scale(3); y: none")
    bound = Bound.of(replace(model, graph=kept)).with_training_rows(data, HeldOut(50), None)
    assert bound.notes == ("not applied, because there is no such input: the preprocessing of age",)
    assert str(bound.splits[0].steps["X"][0]) == "scale(2)"


def test_bytes_are_left_to_a_network_that_scales_them_itself_and_that_is_said(new_network: Any, tmp_path: Path) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        logits = net.dense(net.tf.multiply(X, 1 / 255.0, name="rescaling"), 3, "outputs")
        net.v1.losses.sparse_softmax_cross_entropy(y, logits)
    opened = Model.open(net.save(tmp_path / "own.ckpt"))
    rows = np.random.default_rng(0).integers(0, 256, (60, 4)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=rows, y=np.arange(60) % 3)
    bound = Bound.of(opened).with_training_rows(tmp_path / "d.npz", HeldOut(10), None)
    assert float(np.max(bound.splits[0].inputs["X"][:])) > 200
    assert bound.notes[-1].startswith("bytes for X are not scaled: the graph scales them, at rescaling;")
    assert bound.trained_preprocessing == "none"
    asked = Bound.of(opened).preprocessing("scale(1/255)").with_training_rows(tmp_path / "d.npz", HeldOut(10), None)
    assert float(np.max(asked.splits[0].inputs["X"][:])) <= 1
    assert not any("are not scaled" in note for note in asked.notes)
