"""`report` in a browser: the model, its history, its layers' content, its outputs for rows."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from ckpttool import checkpoint
from ckpttool.cli import main
from ckpttool.formats.writing.files import replacing
from ckpttool.verbs import report
from ckpttool.zoo.card import parsed

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"
Opened = Callable[[Path], Any]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the chapter's network after two epochs with frozen layers, on rows, compared with the original."""
    folder = tmp_path_factory.mktemp("report")
    before, after, data = FIXTURES / "my_model_final.ckpt", folder / "tuned.ckpt", FIXTURES / "mnist_small.npz"
    page = folder / "report.html"
    run = ["finetune", before, "--data", data, "--freeze", "hidden[12]", "--epochs", "2", "-o", after]
    run += ["--batch-size", "100"]
    for arguments in (run, ["report", after, "--data", data, "--against", before, "-o", page]):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    return page


def test_all_that_is_known_is_on_it(tuned: Path, opened: Opened) -> None:
    page = opened(tuned)
    assert page.title() == page.locator("h1").inner_text() == "tuned.ckpt"
    assert page.locator("nav a").all_inner_texts() == [
        "History",
        "Training run",
        "Evaluation",
        "Changes against my_model_final.ckpt",
        "Data flow",
        "6 layers",
        "Filters of the first layer",
        "Other tensors",
    ]
    lineage = page.locator("#lineage g text:not(.below)").all_text_contents()
    assert lineage == ["my_model_final.ckpt.meta", "my_model_final.ckpt", "finetune", "tuned.ckpt"]
    assert page.locator("#run svg").count() == 3
    assert page.locator("#moved-layers tbody tr").count() == 4
    flow = page.locator("#flow g text:not(.below)").all_text_contents()
    assert flow == ["X", *(f"hidden{number}" for number in range(1, 6)), "outputs"]
    assert page.locator("#flow g.still").count() == 2, "frozen"


def test_a_layer_opens_to_its_tensors_by_keys_alone(tuned: Path, opened: Opened) -> None:
    page = opened(tuned)
    layer = page.locator("details.scope").first
    assert not layer.locator(".tensor").first.is_visible()
    layer.locator("summary").focus()
    page.keyboard.press("Enter")
    assert layer.locator(".tensor > div > code").all_inner_texts() == ["kernel", "bias"]
    assert layer.locator(".tensor svg.histogram").first.is_visible()
    assert layer.locator("summary .badge").all_inner_texts() == ["frozen", "unchanged"]
    pattern = layer.locator("button[data-copy]").first
    assert (pattern.inner_text(), pattern.get_attribute("data-copy")) == ("pattern", "hidden1")


def test_a_box_of_the_drawing_leads_to_its_layer(tuned: Path, opened: Opened) -> None:
    page = opened(tuned)
    page.locator("#flow a").nth(2).focus()
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash !== ''")
    assert page.locator("details.scope[open] > summary > code").all_inner_texts() == ["hidden3"]
    page.locator("#find").fill("hidden4/b")
    assert page.locator("details.scope:visible > summary > code").all_inner_texts() == ["hidden4"]


def test_what_it_makes_of_rows(tuned: Path, opened: Opened, shell: Any) -> None:
    page = opened(tuned)
    figures = shell.json("evaluate", tuned.parent / "tuned.ckpt", "--data", FIXTURES / "mnist_small.npz")
    assert f"accuracy {figures['accuracy']:.4f}" in page.locator("#rows > p").first.inner_text()
    cells = page.eval_on_selector_all(
        "#confusion tbody tr", "rows => rows.map(r => [...r.cells].map(c => c.innerText))"
    )
    assert [[int(each or 0) for each in row[1:]] for row in cells] == figures["confusion"]
    recall = page.locator("#classes td.bar:nth-child(3)").all_inner_texts()
    assert recall == [f"{each['accuracy']:.1%}" for each in figures["classes"]]
    assert page.locator(".worst li img").count() == 24
    sure = [float(each.split("%")[0]) for each in page.locator(".worst li span").all_inner_texts()]
    assert sure == sorted(sure, reverse=True)
    assert page.locator("#activations tbody tr").count() == 6


def test_names_are_inert(shell: Any, tmp_path: Path, opened: Opened) -> None:
    names = ["<script>alert(1)</script>/w", "<img src=x onerror=alert(2)>/w", "</code></table><h1>/w", "a&lt;b'\"/w"]
    for number in (1, 2):
        values = {name: np.full((4, 4), number, np.float32) for name in names}
        checkpoint.save(values, tmp_path / f"<b>{number}.ckpt")
    page_path = tmp_path / "page.html"
    shell.run("report", tmp_path / "<b>2.ckpt", "--against", tmp_path / "<b>1.ckpt", "-o", page_path)
    page = opened(page_path)
    assert sorted(
        page.locator("details.scope[id] > summary > code").evaluate_all("all => all.map(c => c.title)")
    ) == sorted(name.removesuffix("/w") for name in names)
    assert (page.locator("script").count(), page.locator("h1").count(), page.locator("b").count()) == (2, 1, 0)
    assert page.locator("img").count() == 0


def test_many_tensors_make_no_large_page_and_no_large_process(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    tensors = {f"bert.layer.{n // 8}.part_{n % 8}.weight": draw.normal(size=(64, 64)).astype("f") for n in range(385)}
    save_file({**tensors, "embeddings.weight": np.ones((30522, 768), np.float32)}, tmp_path / "bert.safetensors")
    program = r"""
import re, sys
from click.testing import CliRunner
from ckpttool.cli import main
from ckpttool.formats.writing.files import replacing
from ckpttool.verbs import report
done = CliRunner().invoke(main, ["report", "bert.safetensors", "-o", "page.html"])
assert done.exit_code == 0, done.output
assert "tensorflow" not in sys.modules
print(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").stat().st_size < 2_000_000
    assert int(done.stdout) < 160_000, "kB; the embeddings alone have 94 MB"


def test_of_many_layers_the_first_are_shown_with_how_to_see_the_others(
    shell: Any, tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in (("facts.MOST_TENSORS", 5), ("page.MOST_OTHERS", 2), ("page.MOST_MOVED", 3)):
        monkeypatch.setattr(f"ckpttool.reporting.{name}", most)
    weights = {f"net/layer_{n}/{own}": np.full((3, n + 1), n + 1.0) for n in range(9) for own in ("kernel", "bias")}
    slots = {f"net/layer_{n}/kernel/Momentum": np.zeros((3, n + 1)) for n in range(9)}
    checkpoint.save(weights | slots, tmp_path / "new.ckpt")
    checkpoint.save({name: value + 1 for name, value in (weights | slots).items()}, tmp_path / "old.ckpt")
    paths = [tmp_path / name for name in ("page.html", "card.md")]
    old = ("--against", tmp_path / "old.ckpt")
    shell.run("report", tmp_path / "new.ckpt", "-o", paths[0], "--card", paths[1], *old)
    page = opened(paths[0])
    layers = page.locator("#layers")
    assert layers.locator("h2").inner_text() == "9 layers"
    assert layers.locator("details").count() == 3, "a scope and two layers"
    assert "The first 2 layers are shown, and summed up; 7 more are not shown." in layers.inner_text()
    assert layers.locator("[data-copy]").nth(0).get_attribute("data-copy") == f"ckpttool layers {tmp_path / 'new.ckpt'}"
    assert page.locator("#moved-layers tbody tr").count() == 3
    assert "6 more, which moved less, are not shown." in page.locator("#moved").inner_text()
    page.locator("#others summary").click()
    assert page.locator("#other-tensors tbody tr").count() == 2
    assert "7 more are not shown." in page.locator("#others").inner_text()
    assert paths[1].read_text().count("\n| net/layer_") == 9


def test_a_stranger_s_graph_runs_confined_and_its_page_is_written(tmp_path: Path) -> None:
    for path in [*FIXTURES.glob("my_model_final.ckpt.*"), FIXTURES / "mnist_small.npz"]:
        shutil.copy(path, tmp_path)
    (tmp_path / "out").mkdir()
    arguments = ["report", "my_model_final.ckpt", "--data", "mnist_small.npz", "-o", "out/p.html", "--card", "out/c.md"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [sys.executable, "-m", "ckpttool", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Misclassified examples with the highest confidence" in (tmp_path / "out" / "p.html").read_text()
    assert "accuracy" in (tmp_path / "out" / "c.md").read_text()


def test_an_output_that_exists_stays(shell: Any, tmp_path: Path, model: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    assert "exists already" in shell.error("report", model, "-o", page)
    assert page.read_text() == "mine"
    shell.run("report", model, "-o", page, "--overwrite")
    assert page.read_text().startswith("<!doctype html>")
    assert "no such" in shell.error("report", tmp_path / "none.ckpt", "-o", tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


def test_a_page_and_its_card_are_one_commit(
    shell: Any, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, card = tmp_path / "page.html", tmp_path / "card.md"
    both = ("report", model, "-o", page, "--card", card)

    def full(path: Path) -> Any:
        if path.name == card.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replacing(path)

    with monkeypatch.context() as patch:
        patch.setattr(report, "replacing", full)
        assert shell.error(*both) == f"{page}: No space left on device"
    assert list(tmp_path.glob("*.html")) == list(tmp_path.glob(".*")) == []
    shell.run(*both)
    assert page.exists() and card.exists()
    assert "are two files" in shell.error("report", model, "-o", page, "--card", page, "--overwrite")


def test_a_graph_alone_has_layers_without_values(shell: Any, tmp_path: Path, model: Path, opened: Opened) -> None:
    graph = tmp_path / "alone.meta"
    graph.write_bytes(Path(f"{model}.meta").read_bytes())
    shell.run("report", graph, "-o", tmp_path / "page.html")
    page = opened(tmp_path / "page.html")
    assert page.locator("details.scope").count() == 6
    assert page.locator("svg.histogram").count() == 0


def test_a_card_is_what_the_catalogue_reads(shell: Any, tmp_path: Path, tuned: Path) -> None:
    card = tmp_path / "card.md"
    model, data = tuned.parent / "tuned.ckpt", FIXTURES / "mnist_small.npz"
    shell.run("report", model, "--data", data, "--card", card)
    figures = shell.json("evaluate", model, "--data", data)
    fields = parsed(card.read_text(), "card.md")
    assert {key: fields[key] for key in ("library_name", "pipeline_tag", "datasets")} == {
        "library_name": "tensorflow",
        "pipeline_tag": "image-classification",
        "datasets": ["mnist_small"],
    }
    assert {each["name"]: each["value"] for each in fields["metrics"]} == {
        "accuracy": pytest.approx(figures["accuracy"]),
        "loss": pytest.approx(figures["loss"]),
    }
    assert "| hidden1 | 2 | 235,500 | 942 kB | frozen |" in fields["text"]
    shell.run("zoo", "add", model, "--name", "tuned", "--card", card, "--zoo", tmp_path / "zoo")
    assert "nothing to write" in shell.error("report", model)
