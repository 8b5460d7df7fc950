"""A catalogue as pages in a browser: opened from files, with every request recorded and none permitted."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.cli.show.command_lines import entry_commands
from ckpttool.core.errors import CkptError, ExistingOutput, MissingFile
from ckpttool.formats.wire import checked_json
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_export import zoo_export

FIXTURES = Path(__file__).parents[2] / "fixtures"
Opened = Callable[[Path], Any]
HOSTILE = "<script>alert(1)</script>"


def weights(folder: Path, name: str, **seeds: int) -> Path:
    """A file with a layer of random numbers for each seed."""
    path = folder / f"{name}.npz"
    values = {f"{key}/kernel": np.random.default_rng(seed).random((20, 20), np.float32) for key, seed in seeds.items()}
    checkpoint.save(values, path, overwrite=True)
    return path


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of the chapter's network, of possible tuned versions, and of foreign weights."""
    monkeypatch.setenv("CKPTTOOL_ZOO", str(tmp_path / "zoo"))
    seconds = iter(range(60))
    monkeypatch.setattr("ckpttool.zoo.store.now", lambda: f"2026-01-01T00:00:{next(seconds):02}Z")
    card = tmp_path / "card.md"
    card.write_text(f"# Digits {HOSTILE}\n\n[a link](javascript:alert(2))\n\n\ttabbed \x1b[31m<b>\n")
    said = {"licence": "mit", "metrics": ["accuracy=0.97"], "task": "image-classification", "datasets": ["mnist"]}
    zoo_add(FIXTURES / "my_model_final.ckpt", "digits", card=card, **said)  # type: ignore[arg-type]
    zoo_add(weights(tmp_path, "base", a=1, b=2, c=3), "base", tags=["text", "best"], metrics=["accuracy=0.5"])
    zoo_add(weights(tmp_path, "tuned", a=1, b=2, c=4), "tuned", tags=["text"], licence="isc", base_model="google/bert")
    zoo_add(weights(tmp_path, "tuned", a=1, b=2, c=5), "tuned", tags=["text"], licence="isc")
    return tmp_path / "zoo"


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """Open a page and those that it links to; there must be no errors, and no requests but for files next to it."""
    context = browser.new_context(offline=True)
    asked, wrong, folders = list[str](), list[str](), list[str]()
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))

    def open_page(path: Path) -> Any:
        folders.append(path.parent.as_uri())
        page.goto(path.as_uri())
        return page

    yield open_page
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(folders[0])] == []


def names(page: Any) -> list[str]:
    """The displayed entries, in order."""
    found: list[str] = page.locator("#entries li:visible h2 a").all_text_contents()
    return found


def test_entries_are_found_chosen_and_sorted(tmp_path: Path, opened: Opened) -> None:
    exported = zoo_export(tmp_path / "site")
    assert (exported.entries, exported.revisions, exported.problems) == (3, 4, [])
    page = opened(exported.path)
    assert names(page) == ["base", "digits", "tuned"]
    page.get_by_label("find").fill("mnist")
    assert (names(page), page.get_by_role("status").inner_text()) == (["digits"], "1 of 3")
    page.get_by_label("find").fill("")
    page.get_by_label("tag").select_option("text")
    assert names(page) == ["base", "tuned"]
    page.get_by_label("licence").select_option("isc")
    assert names(page) == ["tuned"]
    page.get_by_label("tag").select_option("")
    page.get_by_label("licence").select_option("")
    page.get_by_label("task").select_option("image-classification")
    assert names(page) == ["digits"]
    page.get_by_label("task").select_option("")
    page.get_by_label("family").select_option("weights")
    assert names(page) == ["base", "tuned"]
    page.get_by_label("family").select_option("")
    for order, expected in (
        ("highest accuracy", ["digits", "base", "tuned"]),
        ("lowest accuracy", ["base", "digits", "tuned"]),
        ("newest", ["tuned", "base", "digits"]),
        ("most parameters", ["digits", "base", "tuned"]),
    ):
        page.get_by_label("sort").select_option(label=order)
        assert names(page) == expected


def test_a_revision_has_a_page_with_all_that_is_known(tmp_path: Path, opened: Opened) -> None:
    page = opened(zoo_export(tmp_path / "site", commands=entry_commands).path)
    page.get_by_role("link", name="digits").click()
    assert page.title() == "digits@1"
    text = page.locator("body").inner_text()
    for known in ("258,710 parameters", "license: mit", "accuracy 0.97", "dnn/outputs/BiasAdd", "[784, 300]"):
        assert known in text, known
    assert page.locator("#layers tbody tr").count() == 6
    assert re.fullmatch("[0-9a-f]{64}", page.locator("#files td.hash code").first.inner_text())
    commands = page.locator(".commands code").all_text_contents()
    assert "ckpttool reuse zoo:digits@1 --layers 'hidden[1-5]' --head 'logits = dense(10)' -o new.ckpt" in commands
    page.get_by_role("link", name="all models").click()
    assert page.title() == "Models"


def test_the_lineage_is_drawn_and_leads_from_page_to_page(tmp_path: Path, opened: Opened) -> None:
    site = zoo_export(tmp_path / "site").path.parent
    page = opened(site / "entries" / "tuned@1.html")
    lines = page.locator("h2:text-is('Lineage') + ul li").all_text_contents()
    assert lines == ["google/bert: base model", "a, b are those of base@1", "1 more revision shares tensors with it"]
    boxes = page.locator("svg.drawing text:not(.below)").all_text_contents()
    assert sorted(boxes) == ["base@1", "google/bert", "tuned@1"]
    assert page.locator("svg.drawing path").count() == 2
    assert page.locator("svg.drawing path.dashed").count() == 1
    page.locator("svg.drawing a", has_text="base@1").click()
    assert page.title() == "base@1"
    page.goto((site / "entries" / "tuned@2.html").as_uri())
    assert page.locator("#layers td:last-child a").all_text_contents() == ["base@1", "base@1"]
    page.get_by_role("link", name="@1", exact=True).click()
    page.wait_for_url("**/tuned@1.html")


def test_it_is_used_without_a_mouse(tmp_path: Path, opened: Opened) -> None:
    page = opened(zoo_export(tmp_path / "site").path)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("digits")
    assert names(page) == ["digits"]
    for _ in range(6):  # four choices and the order, then the card
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/digits@1.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_as_light_or_dark_as_asked_for(tmp_path: Path, browser: Any, scheme: str) -> None:
    context = browser.new_context(offline=True, color_scheme=scheme)
    page = context.new_page()
    page.goto(zoo_export(tmp_path / "site").path.as_uri())
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", colour)[:3])) < 3 * 128) == (scheme == "dark")
    context.close()


def hostile(own: Path) -> None:
    """Put text that would act in a page into every text field of an entry."""
    path = own / "manifests/digits/000001.json"
    document = checked_json.loads(path.read_bytes())
    texts = [
        HOSTILE,
        "<img src=x onerror=alert(3)>",
        "\"' onmouseover=alert(4) x='",
        "</code></table><h1>\u202e",
        "a\nb\tc",
    ]
    for number, text in enumerate(texts):
        layer = document["layers"][number]
        for row in document["tensors"]:
            if row["name"] in layer["variables"]:
                row["name"] = f"{text}/{row['name']}"
        layer.update(name=text, kind=text, variables=[f"{text}/{each}" for each in layer["variables"]])
    row = {"name": HOSTILE, "shape": [HOSTILE], "dtype": HOSTILE}
    document.update(preprocess=HOSTILE, classes=texts, inputs=[row], outputs=[row], created=HOSTILE)
    document["card"].update(license=HOSTILE, tags=texts, datasets=texts, base_model=texts, pipeline_tag=HOSTILE)
    document["card"]["metrics"] = [{"name": HOSTILE, "value": 1}]
    source = {"path": HOSTILE, "hash": HOSTILE}
    document["lineage"] = {"records": [{"command": HOSTILE, "sources": [source]}, 7, {"sources": 7}]}
    document["source"] = {"url": f"javascript:{HOSTILE}", "revision": HOSTILE}
    path.unlink()
    path.write_bytes(checked_json.dumps(document))


def test_texts_of_strangers_are_inert(own: Path, tmp_path: Path, opened: Opened) -> None:
    hostile(own)
    site = zoo_export(tmp_path / "site", commands=entry_commands)
    for name in ("index.html", "entries/digits@1.html"):
        page = opened(site.path.parent / name)
        assert HOSTILE in page.locator("body").inner_text()
        tags = [page.locator(tag).count() for tag in ("h1", "img", "iframe", "[onerror]", "[onmouseover]")]
        assert tags == [1, 0, 0, 0, 0]
        assert page.locator("a[href^='javascript' i]").count() == 0
        assert page.locator("script").count() == (2 if name == "index.html" else 1)
    assert "tabbed \\x1b[31m<b>" in page.locator(".markdown").inner_text()


CARD = """# Digits

A *small* network, see [its page](https://example.org/x).

- one
- two

```sh
ckpttool layers zoo:digits
```

| a | b |
| - | - |
| 1 | 2 |

![picture](https://example.org/t.png) [bad](javascript:alert(1)) <script>alert(1)</script>

<img src=https://example.org/p.png> &#x202e;
"""


def test_the_markdown_of_a_card_is_read_and_fetches_nothing(own: Path, tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "card.md").write_text(CARD)
    zoo_add(FIXTURES / "my_model_final.ckpt", "written", card=tmp_path / "card.md")
    page = opened(zoo_export(tmp_path / "site").path.parent / "entries/written@1.html")
    card = page.locator(".markdown")
    found = {tag: card.locator(tag).all_inner_texts() for tag in ("h3", "em", "li", "pre", "th", "a", "img", "script")}
    assert found == {
        **{"h3": ["Digits"], "em": ["small"], "li": ["one", "two"], "pre": ["ckpttool layers zoo:digits\n"]},
        **{"th": ["a", "b"], "a": ["its page", "picture"], "img": [], "script": []},
    }
    assert all(text in card.inner_text() for text in ("[bad](javascript:alert(1)) <script>", "<img src=", "&#x202e;"))


def test_damaged_manifests_are_left_out_and_said(own: Path, tmp_path: Path, opened: Opened) -> None:
    path = own / "manifests/base/000001.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"accuracy", b"accurate", 1))
    exported = zoo_export(tmp_path / "site")
    assert [problem.partition(":")[0] for problem in exported.problems] == ["base@1 is skipped"]
    page = opened(exported.path)
    assert names(page) == ["digits", "tuned"]
    assert "base@1 is damaged" in page.locator(".problem").inner_text()


def test_a_folder_is_written_whole_and_replaced_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo_export(tmp_path / "site")
    with pytest.raises(ExistingOutput, match="`overwrite` replaces it"):
        zoo_export(tmp_path / "site")
    (tmp_path / "site" / "entries" / "gone@1.html").touch()
    zoo_export(tmp_path / "site", overwrite=True)
    assert not (tmp_path / "site" / "entries" / "gone@1.html").exists()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "thesis.txt").touch()
    with pytest.raises(CkptError, match="not a folder of this kind"):
        zoo_export(tmp_path / "others", overwrite=True)
    with pytest.raises(MissingFile, match="none does not exist; `mkdir -p"):
        zoo_export(tmp_path / "none" / "site")

    def fails(*_: object) -> str:
        raise OSError("the disk is full")

    monkeypatch.setattr("ckpttool.zoo.site.entry.page.page", fails)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OSError, match="full"):
        zoo_export(tmp_path / "another")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "others" / "thesis.txt").exists()


def test_recorded_lineage_is_found_by_the_hashes_of_sources(tmp_path: Path, opened: Opened) -> None:
    renamed = tmp_path / "renamed.npz"
    checkpoint.save(checkpoint.open(weights(tmp_path, "base", a=1, b=2, c=3)).rename({"a/(.*)": r"z/\1"}), renamed)
    zoo_add(renamed, "renamed")
    page = opened(zoo_export(tmp_path / "site").path.parent / "entries" / "renamed@1.html")
    lines = page.locator("h2:text-is('Lineage') + ul li").all_text_contents()
    assert lines[:2] == ["base@1: save", "all 3 layers are a, b, c of base@1"]
