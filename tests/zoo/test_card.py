"""Cards: statements about a model are checked, and are valid Hub cards, as read by `huggingface_hub`."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.errors import CkptError, FormatError
from ckpttool.zoo.card import Said, card_of, parsed, readme, with_text

CARD = """---
license: apache-2.0
language: no
library_name: keras
tags:
- vision
model-index:
- name: digits
  results:
  - task: {type: image-classification}
    dataset: {name: MNIST, type: mnist}
    metrics:
    - type: accuracy
      value: 0.95
---
# Digits

Read by ---
"""


def entry(card: dict[str, object]) -> Manifest:
    return Manifest("digits", 1, "2026-11-29T21:00:00Z", "ckpt", "m.ckpt", (), card=card)


def test_what_is_said_is_over_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    file.write_text(CARD)
    said = Said("MIT", ["accuracy=0.97", "loss=0.1"], "Image Classification", ["best"], ["mnist"], "digits@1")
    card = card_of(said, file, "tensorflow")
    assert card["license"], card["library_name"] == ("mit", "keras")
    assert card["tags"] == ["vision", "best"]
    assert card["language"] == ["no"]
    assert card["metrics"] == [{"name": "accuracy", "value": 0.97}, {"name": "loss", "value": 0.1}]
    assert (card["pipeline_tag"], card["datasets"], card["base_model"]) == (
        "image-classification",
        ["mnist"],
        "digits@1",
    )
    assert card["text"].startswith("# Digits")


def test_the_hub_reads_the_card() -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = card_of(Said("mit", ["accuracy=0.97"], "image-classification", ["best"], ["mnist"]), None, "tensorflow")
    read = hub.ModelCard(readme(entry(card)))
    assert (read.data.license, read.data.library_name, read.data.pipeline_tag) == (
        "mit",
        "tensorflow",
        "image-classification",
    )
    (result,) = read.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_type, result.task_type) == (
        "accuracy",
        0.97,
        "mnist",
        "image-classification",
    )
    assert read.data.model_name == "digits"


def test_a_card_goes_there_and_back() -> None:
    card = parsed(CARD, "card.md")
    again = parsed(readme(entry(card)), "README.md")
    assert again == card
    head = yaml.safe_load(readme(entry(card)).split("---\n")[1])
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "MNIST"


def test_a_card_without_a_head_is_a_text() -> None:
    assert parsed("# Hello\n---\nx\n", "card.md") == {"text": "# Hello\n---\nx\n"}
    assert readme(entry({})) == "\n# digits\n"


@pytest.mark.parametrize(
    ("licence", "fields"),
    [
        ("MIT", {"license": "mit"}),
        ("apache-2.0", {"license": "apache-2.0"}),
        ("llama2", {"license": "llama2"}),
        ("GPL-3.0-or-later", {"license": "other", "license_name": "GPL-3.0-or-later"}),
        (
            "mit or (apache-2.0 and LicenseRef-mine)",
            {"license": "other", "license_name": "MIT OR (Apache-2.0 AND LicenseRef-mine)"},
        ),
        (
            "GPL-2.0-only with Classpath-exception-2.0",
            {"license": "other", "license_name": "GPL-2.0-only WITH Classpath-exception-2.0"},
        ),
    ],
)
def test_licences_are_expressions_of_spdx(licence: str, fields: dict[str, str]) -> None:
    card = card_of(Said(licence))
    assert {key: card[key] for key in card if key.startswith("license")} == fields


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (Said("apache 2"), r"apache 2.*nearest: apache-2.0"),
        (Said("MIT OR"), "not a licence of SPDX"),
        (Said("my own"), "LicenseRef-NAME"),
        (Said(task="image-clasification"), "nearest: image-classification"),
        (Said(task="zzz"), "the Hub has no 'zzz': it has any-to-any"),
        (Said(metrics=["accuracy"]), "NAME=NUMBER"),
        (Said(metrics=["accuracy=nan"]), "NAME=NUMBER"),
    ],
)
def test_what_cannot_be_is_refused(said: Said, problem: str) -> None:
    with pytest.raises(CkptError, match=problem):
        card_of(said)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"---\nlicense: mit\n", "no such line at its end"),
        (b"---\na: &b c\n---\n", "line 1: .*anchors"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused_with_its_place(tmp_path: Path, text: bytes, problem: str) -> None:
    (tmp_path / "card.md").write_bytes(text)
    with pytest.raises(FormatError, match=rf"card\.md.*{problem}"):
        card_of(Said(), tmp_path / "card.md")


def test_a_card_without_a_text_says_what_is_known() -> None:
    layers = [{"name": "a|b", "kind": "dense", "parameters": 6}, {"name": "c\nd", "parameters": 1}]
    manifest = replace(
        entry({"license": "mit"}), layers=layers, parameters=7, preprocess="scale(1/255)", classes=["<b>"]
    )
    text = readme(with_text(manifest))
    assert text.startswith(
        "---\nlicense: mit\n---\n\n# digits\n\n7 parameters in 2 layers.\n\nPreprocessing: `scale(1/255)`."
    )
    assert "| a\\|b | dense | 6 |\n| c\\\\nd |  | 1 |" in text
    assert "Classes: \\<b\\>." in text
    assert "zoo pull" not in text
    pushed = with_text(manifest, "numbers", "hf://me/numbers").card["text"]
    assert pushed.startswith("# numbers\n")
    assert pushed.endswith("`ckpttool zoo pull hf://me/numbers` copies it to your own catalogue.")
    assert with_text(entry({"text": "mine"})).card == {"text": "mine"}
