"""Plans from a file to an output: what is written with which graph, what is not, and its lineage."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import ckpttool
from ckpttool.core.errors import ExistingOutput, FormatError, PlanError, UnknownName
from ckpttool.verbs.apply import apply, plan_apply
from ckpttool.verbs.log import History

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "fixtures" / "my_model_final.ckpt"
STEPS = [{"rename": "fc=>out"}, {"assert": "out", "finite": True}]


@pytest.fixture
def source(tmp_path):
    ckpttool.save({"fc/kernel": np.ones((2, 3), np.float32), "fc/bias": np.zeros(3, np.float32)}, tmp_path / "a.npz")
    return tmp_path / "a.npz"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_plan_is_carried_out_and_its_lineage_has_each_step(source, tmp_path):
    apply({"step": STEPS}, [source], tmp_path / "b.safetensors")
    written = ckpttool.open(tmp_path / "b.safetensors")
    assert {name: tensor.read().tolist() for name, tensor in written.items()} == {
        "out/kernel": [[1] * 3] * 2,
        "out/bias": [0] * 3,
    }
    (record,) = History.of(tmp_path / "b.safetensors").chain.records
    assert record.steps == ("rename fc=>out", "assert out")


@pytest.mark.parametrize("kept", [".*", "fc/bias"])
def test_an_assertion_on_values_that_does_not_hold_writes_nothing(tmp_path, kept):
    ckpttool.save({"fc/kernel": np.array([1, np.nan], np.float32), "fc/bias": np.zeros(3)}, tmp_path / "a.npz")
    before = names_in(tmp_path)
    plan = {"step": [{"assert": "fc/.*", "finite": True}, {"keep": kept}]}
    with pytest.raises(PlanError, match="step 1, finite: fc/kernel has 1 elements that are NaN or infinite"):
        apply(plan, [tmp_path / "a.npz"], tmp_path / "b.npz")
    assert names_in(tmp_path) == before


def test_the_old_output_stays_where_an_assertion_does_not_hold(source, tmp_path):
    apply({"step": STEPS}, [source], tmp_path / "b.npz")
    old = (tmp_path / "b.npz").read_bytes()
    with pytest.raises(ExistingOutput):
        apply({"step": STEPS}, [source], tmp_path / "b.npz")
    with pytest.raises(PlanError, match="norm"):
        apply({"step": [{"assert": ".*", "norm": [9, 10]}]}, [source], tmp_path / "b.npz", overwrite=True)
    assert (tmp_path / "b.npz").read_bytes() == old


def test_a_plan_is_a_file_a_dictionary_or_text(source, tmp_path):
    text = '[[step]]\nrename = "fc=>out"\n\n[[step]]\nassert = "out"\nfinite = true\n'
    (tmp_path / "plan.toml").write_text(text)
    given = [{"step": STEPS}, text, text.replace("\n", "\r\n"), tmp_path / "plan.toml", str(tmp_path / "plan.toml")]
    for number, plan in enumerate(given):
        apply(plan, [source], tmp_path / f"{number}.npz")
        assert list(ckpttool.open(tmp_path / f"{number}.npz")) == ["out/kernel", "out/bias"]
    with pytest.raises(FormatError, match="the plan: not valid TOML: Invalid value"):
        plan_apply("step = [", sources=[source])
    with pytest.raises(UnknownName, match=r"^step 2 \(line 3\): .*nope"):
        plan_apply('[[step]]\nkeep = "fc"\n[[step]]\ndrop = "nope"\n', sources=[source])


def test_sources_are_also_checkpoints_and_arrays_in_memory(source, tmp_path):
    tuned = {name: tensor.read() + 2 for name, tensor in ckpttool.open(source).items()}
    for alone in (source, str(source), ckpttool.open(source), tuned):
        assert list(plan_apply({"step": STEPS}, sources=alone).tensors) == ["out/kernel", "out/bias"]
    plan = {"sources": ["base", "tuned"], "step": [{"average": ["base", "tuned"]}]}
    made = plan_apply(plan, sources=[ckpttool.open(source).scale("fc/kernel", 3), tuned]).tensors
    assert {name: tensor.read().tolist() for name, tensor in made.items()} == {
        "fc/kernel": [[3.0] * 3] * 2,
        "fc/bias": [1.0] * 3,
    }


def test_a_source_must_be_the_file_with_the_hash_of_the_plan(tmp_path):
    arrays = {"fc/kernel": np.ones((2, 3), np.float32), "fc/bias": np.zeros(3, np.float32)}
    ckpttool.save(arrays, tmp_path / "a.safetensors")
    own = hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    ckpttool.save({**arrays, "fc/bias": np.ones(3, np.float32)}, tmp_path / "b.safetensors")

    def run(expected, *sources):
        plan = {"sources": {"base": {"sha256": expected}}, "step": STEPS}
        apply(plan, sources, tmp_path / "out.npz", overwrite=True)
        return set(ckpttool.open(tmp_path / "out.npz"))

    opened = ckpttool.open(tmp_path / "a.safetensors")
    for expected in (own, f"sha256:{own}"):
        for source in (tmp_path / "a.safetensors", opened):
            assert run(expected, source) == {"out/kernel", "out/bias"}
    (tmp_path / "out.npz").unlink()
    before = names_in(tmp_path)
    others = (
        (tmp_path / "b.safetensors", "[0-9a-f]{64}"),
        (opened.rename({"fc/bias": "fc/b"}), "none"),
        (arrays, "none"),
    )
    for source, found in others:
        with pytest.raises(PlanError, match=f"the plan, source base: .* has the sha256 {found}, expected {own}$"):
            run(own, source)
    assert names_in(tmp_path) == before


def test_paths_in_a_plan_are_beside_it(source, tmp_path, monkeypatch):
    (tmp_path / "plan.toml").write_text('[sources]\none = "a.npz"\n[[step]]\ndrop = "fc/bias"\n')
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert list(plan_apply("../plan.toml").tensors) == ["fc/kernel"]
    with pytest.raises(FormatError, match="not valid TOML"):
        plan_apply(source, sources=[source])


def test_the_graph_follows_what_edits_did(tmp_path):
    import tensorflow as tf

    steps = [{"for": "hidden{i}", "rename": "hidden{i}=>l{i}"}, {"assert": "l[12]/kernel", "finite": True}]
    apply({"step": steps}, [MODEL], tmp_path / "x.ckpt")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.train.import_meta_graph(str(tmp_path / "x.ckpt.meta")).restore(session, str(tmp_path / "x.ckpt"))
        restored = session.run("l1/kernel:0")
    assert np.array_equal(restored, ckpttool.open(MODEL)["hidden1/kernel"].read())


def test_the_plan_of_the_page_is_that_of_the_fixtures():
    page = (ROOT / "docs" / "surgery.md").read_text(encoding="utf-8")
    shown = page.partition("This is `plan.toml`:\n\n```toml\n")[2].partition("```")[0]
    assert shown.strip() == (ROOT / "fixtures" / "plan.toml").read_text(encoding="utf-8").partition("\n\n")[2].strip()
