"""Pulling from the hub: one model of a repository is downloaded, whole and as listed, or nothing is."""

import io
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingDependency
from ckpttool.formats.format import Writing
from ckpttool.model.families import Contents, writer_for
from ckpttool.model.model import Model
from ckpttool.verbs.zoo_pull import zoo_pull
from tests.hub_server import TOKEN, HubServer, running

FIXTURES = Path(__file__).parents[2] / "fixtures"
WEIGHTS = {"dense/kernel": np.arange(600, dtype=np.float32).reshape(20, 30), "dense/bias": np.ones(30, np.float32)}
SAFETENSORS = save(WEIGHTS)
README = b"""---
license: mit
library_name: tensorflow
pipeline_tag: image-classification
tags: [vision, small]
datasets: mnist
base_model: [org/base]
extra: {a: [1, 2]}
model-index:
- name: digits
  results:
  - task: {type: image-classification}
    dataset: {type: mnist, name: MNIST}
    metrics: [{type: accuracy, value: 0.97}, {type: f1, value: "high"}]
---

# Digits
"""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays in seconds, which are skipped."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def pulled(url: str, name: str | None = None) -> tuple[Manifest, list[str]]:
    notes: list[str] = []
    return zoo_pull(url, name=name, talk=notes.append), notes


def entries(tmp_path: Path) -> list[str]:
    """Return the content of the catalogue: entries, and the bytes of files."""
    root = tmp_path / "zoo"
    return [*Catalogue.open(root).names(), *(path.name for path in root.glob("blobs/*/*/*")), *(root / "tmp").iterdir()]


def test_a_model_comes_with_its_card_and_where_it_is_from(hub: HubServer) -> None:
    hub.repositories["org/digits"] = {
        "model.safetensors": SAFETENSORS,
        "config.json": b"{}",
        "README.md": README,
        "modeling_digits.py": b"import os",
        "vocab.txt": b"a b c",
    }
    manifest, notes = pulled("hf://org/digits")
    assert [file.path for file in manifest.files] == ["model.safetensors", "config.json"]
    assert notes == ["took model.safetensors, safetensors"]
    assert manifest.source == {
        "url": "hf://org/digits",
        "revision": hub.commit("org/digits"),
        "path": "model.safetensors",
    }
    said = {key: manifest.card[key] for key in ("license", "pipeline_tag", "tags", "datasets", "base_model", "text")}
    assert said == {
        "license": "mit",
        "pipeline_tag": "image-classification",
        "tags": ["vision", "small"],
        "datasets": ["mnist"],
        "base_model": ["org/base"],
        "text": "# Digits\n",
    }
    assert {"name": "accuracy", "value": 0.97} in manifest.card["metrics"]
    np.testing.assert_array_equal(checkpoint.open("zoo:digits")["dense/kernel"].read(), WEIGHTS["dense/kernel"])
    assert [name for name in ("modeling_digits.py", "vocab.txt") if hub.asked[f"GET {name}"]] == []


@pytest.mark.parametrize("head", ["license: [", "license: {a: 1}\ntags: 3", "[" * 5000, "a: &a [x, x]\ntags: [*a, *a]"])
def test_a_card_that_cannot_be_read_is_a_text(hub: HubServer, head: str) -> None:
    hub.repositories["org/x"] = {"model.safetensors": SAFETENSORS, "README.md": f"---\n{head}\n---\ntext".encode()}
    card = pulled("hf://org/x")[0].card
    assert "license" not in card
    assert str(card["text"]).endswith("text")


def test_of_several_formats_one_with_a_graph_is_taken_unless_another_is_named(hub: HubServer) -> None:
    own = {path.name: path.read_bytes() for path in FIXTURES.glob("my_model_final.ckpt.*")}
    hub.repositories["org/m"] = {"tf_model.h5": b"no HDF5", "model.safetensors": SAFETENSORS, **own}
    manifest, notes = pulled("hf://org/m")
    assert (manifest.main, manifest.family) == ("my_model_final.ckpt", "ckpt")
    assert {file.path for file in manifest.files} == set(own)
    assert notes == [
        "took my_model_final.ckpt, TensorFlow model",
        "it is also available as safetensors, weights in HDF5: hf://ORG/MODEL/FILE selects another one",
    ]
    assert len(Model.open("zoo:m").graph.nodes) > 100
    assert pulled("hf://org/m@v1/model.safetensors")[0].main == "model.safetensors"
    assert set(checkpoint.open("zoo:m@2")) == set(WEIGHTS)


def test_a_saved_model_is_a_folder_of_the_entry(hub: HubServer, tmp_path: Path) -> None:
    folder, model = tmp_path / "exported", Model.open(FIXTURES / "my_model_final.ckpt")
    writer_for(folder, folder, "saved-model").write(Contents(model.graph, model.checkpoint), folder, overwrite=False)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.repositories["org/served"] = {**files, "assets/words.txt": b"a", "train.py": b"", "config.json": b"{}"}
    manifest, _ = pulled("hf://org/served")
    assert (manifest.main, manifest.family) == ("served", "saved-model")
    expected = {"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"}
    inside = {f"served/{name}" for name in (*expected, "assets/words.txt")}
    assert {file.path for file in manifest.files} == {*inside, "config.json"}
    assert set(checkpoint.open("zoo:served")) == set(checkpoint.open(folder))
    hub.repositories["org/inner"] = {f"tf/{name}": data for name, data in files.items()} | {"tf/config.json": b"{}"}
    assert pulled("hf://org/inner")[0].main == "tf"
    assert set(checkpoint.open("zoo:inner")) == set(checkpoint.open(folder))


def test_a_model_in_several_files_comes_whole(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    checkpoint.save(WEIGHTS, tmp_path / "made" / "model.safetensors", how=Writing(shard_bytes=2000))
    files = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert len(files) > 2
    hub.repositories["org/parts"] = {f"sub/{name}": data for name, data in files.items()}
    manifest, _ = pulled("hf://org/parts")
    assert {file.path for file in manifest.files} == set(files)
    assert set(checkpoint.open("zoo:parts")) == set(WEIGHTS)


@pytest.mark.parametrize(
    ("url", "said"),
    {
        "hf://org/none": r"hf://org/none is missing: the hub has no such model, or you have no access",
        "hf://org/m@v9": r"hf://org/m@v9: the repository has no such revision",
        "hf://org/m/c.keras": r"hf://org/m has no model at c.keras in a supported format; nearest: ",
        "hf://org/m": r"hf://org/m has several models: a.keras, b.keras; specify one, such as hf://org/m/a.keras",
        "hf://org/code": r"hf://org/code has no model in a supported format; it has run.py",
        "hf://me:secret@org/m": r"hf://org/m is not a model of the hub: hf://ORG/MODEL",
        "hf://gpt2": r"hf://gpt2 is not a model of the hub",
        "hf://org/../m": r"is not a model of the hub|is missing",
    }.items(),
)
def test_what_cannot_be_taken_is_said(hub: HubServer, url: str, said: str) -> None:
    hub.repositories |= {"org/m": {"b.keras": b"", "a.keras": b""}, "org/code": {"run.py": b""}}
    with pytest.raises(CkptError, match=said):
        pulled(url)


def test_a_download_that_breaks_off_goes_on(hub: HubServer, waits: list[float]) -> None:
    data = save({"x": np.random.default_rng(0).random(500_000)})
    hub.repositories["org/x"] = {"model.safetensors": data}
    hub.breaks["model.safetensors"] = 1_000_000
    pulled("hf://org/x")
    assert hub.asked["GET model.safetensors"] == 2
    assert checkpoint.open("zoo:x")["x"].read().nbytes == 4_000_000


def test_what_came_before_an_error_is_not_fetched_again(hub: HubServer, tmp_path: Path, waits: list[float]) -> None:
    hub.repositories["org/x"] = {"model.safetensors": SAFETENSORS, "config.json": b"{}"}
    hub.gives["config.json"] = b"[]"
    with pytest.raises(CorruptCheckpoint, match=r"hf://org/x/config.json has the Git hash \w+, but the hub lists \w+"):
        pulled("hf://org/x")
    assert entries(tmp_path) == []
    hub.gives.clear()
    pulled("hf://org/x")
    assert (hub.asked["GET model.safetensors"], hub.asked["GET config.json"]) == (1, 2)


def test_other_bytes_than_those_listed_are_refused_and_not_kept(hub: HubServer, tmp_path: Path) -> None:
    hub.repositories["org/x"] = {"model.safetensors": SAFETENSORS}
    hub.gives["model.safetensors"] = SAFETENSORS[:-1] + b"x"
    for _ in range(2):
        with pytest.raises(CorruptCheckpoint, match=r"x/model.safetensors has the SHA-256 \w+, but the hub lists \w+"):
            pulled("hf://org/x")
    assert entries(tmp_path) == []
    hub.gives.clear()
    assert pulled("hf://org/x")[0].revision == 1


@pytest.mark.parametrize(("size", "said"), [(100, "sends more than the 100 bytes"), (10_000, "the hub lists 10000")])
def test_a_hub_that_lies_about_sizes(hub: HubServer, tmp_path: Path, size: int, said: str) -> None:
    hub.repositories["org/x"] = {"model.safetensors": SAFETENSORS}
    hub.says["model.safetensors"] = {"size": size}
    with pytest.raises(CorruptCheckpoint, match=said):
        pulled("hf://org/x")
    assert entries(tmp_path) == []


def test_more_bytes_than_there_is_place_for_are_not_fetched(hub: HubServer, tmp_path: Path) -> None:
    hub.repositories["org/x"] = {"model.safetensors": SAFETENSORS}
    hub.says["model.safetensors"] = {"size": 1 << 49}
    with pytest.raises(CkptError, match=r"^hf://org/x: the hub lists 562949953421312 bytes, but .* has space for \d+$"):
        pulled("hf://org/x")
    assert hub.asked["GET model.safetensors"] == 0
    assert entries(tmp_path) == []


def test_more_files_than_are_looked_through_are_refused(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["org/x"] = {f"{number}.safetensors": b"" for number in range(4)}
    monkeypatch.setattr("ckpttool.zoo.hub.MOST_FILES", 3)
    with pytest.raises(CkptError, match=r"^hf://org/x: the hub lists 4 files, at most 3 are searched"):
        pulled("hf://org/x")


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/model.safetensors", "a\\model.safetensors", "a\0.safetensors"]
)
def test_names_that_lead_elsewhere(hub: HubServer, tmp_path: Path, name: str) -> None:
    hub.repositories["org/x"] = {name: SAFETENSORS}
    with pytest.raises(CorruptCheckpoint, match="which is not inside its folder"):
        pulled("hf://org/x")
    assert entries(tmp_path) == []


@pytest.mark.parametrize("place", ["../../../evil", "ABSOLUTE", "a/b", "..", "x" * 200])
def test_an_etag_that_is_a_path_is_refused(hub: HubServer, tmp_path: Path, place: str) -> None:
    """The library stores a file under its ETag: it would write, and later remove, any file of the user."""
    mine = tmp_path / "mine"
    mine.write_text("mine")
    hub.repositories["org/tiny"] = {"model.safetensors": SAFETENSORS}
    hub.tags["model.safetensors"] = place.replace("ABSOLUTE", str(mine))
    with pytest.raises(CorruptCheckpoint, match="the server's ETag or commit is not a hash"):
        pulled("hf://org/tiny")
    assert mine.read_text() == "mine"
    assert [path for path in tmp_path.rglob("*evil*") if path.exists()] == []

    hub.tags.clear()
    assert pulled("hf://org/tiny")[0].name == "tiny"


def test_a_commit_that_is_a_path_is_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.repositories["org/tiny"] = {"model.safetensors": SAFETENSORS}
    hub.says["org/tiny"] = {"sha": "../../../../evil"}
    with pytest.raises(CkptError):
        pulled("hf://org/tiny")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_hub_that_is_busy_is_asked_again_when_it_says(hub: HubServer, waits: list[float]) -> None:
    hub.repositories["org/x"] = {"model.safetensors": SAFETENSORS}
    hub.busy = [{"Retry_After": "7"}, {"Retry_After": "3"}]
    pulled("hf://org/x")
    assert waits == [3, 7]
    hub.repositories["org/y"] = {"model.safetensors": SAFETENSORS}
    hub.busy = [{"Retry_After": "3600"}]
    with pytest.raises(
        CkptError, match=r"hf://org/y: the hub answers 429 Too Many Requests: try again in 3600 seconds"
    ):
        pulled("hf://org/y")


def test_elsewhere_the_token_is_not_given(hub: HubServer, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.utils  # whose handlers exist from then on

    logged = io.StringIO()
    for handler in logging.getLogger(huggingface_hub.__name__).handlers:
        monkeypatch.setattr(handler, "stream", logged)
    hub.repositories["org/x"] = {"model.safetensors": SAFETENSORS}
    with running() as elsewhere:
        elsewhere.repositories, elsewhere.breaks = hub.repositories, {"model.safetensors": 1000}
        hub.leads_to = elsewhere.url.replace("127.0.0.1", "localhost")
        manifest, notes = pulled("hf://org/x")
        assert elsewhere.asked["GET model.safetensors"] == 2
        assert elsewhere.seen == []
        elsewhere.shutdown()
    assert any(TOKEN in each for each in hub.seen)
    told = json.dumps(manifest.as_json()) + "".join(notes) + logged.getvalue()
    assert "Trying to resume download" in told
    assert [secret for secret in (TOKEN, "Signature", "secret") if secret in told] == []


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_one_line_without_the_token(hub: HubServer, status: int, waits: list[float]) -> None:
    hub.repositories["org/x"] = {"model.safetensors": SAFETENSORS}
    hub.status = status
    with pytest.raises(CkptError) as caught:
        pulled("hf://org/x")
    assert str(caught.value).startswith("hf://org/x")
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", ["hf_größe", "hf_two\nlines", "hf_ two  spaces"])
def test_a_token_that_cannot_be_sent_is_not_shown(hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: token)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    with pytest.raises(CkptError) as caught:
        pulled("hf://org/x")
    assert [part for part in ("größe", "two", "lines", "spaces") if part in str(caught.value)] == []


@pytest.mark.parametrize("token", [None, "", TOKEN])
def test_what_goes_wrong_is_told_as_it_is(hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(f"None of the {3} servers knows {TOKEN} or {TOKEN.encode()!r}, said https://host/?Signature=1")

    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", fail)
    with pytest.raises(CkptError, match=r"^hf://org/x: None of the 3 servers knows") as caught:
        pulled("hf://org/x")
    assert "Signature" not in str(caught.value)
    assert (TOKEN in str(caught.value)) == (token != TOKEN)


def test_the_command_in_a_process_of_its_own(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["org/x"] = {"model.safetensors": SAFETENSORS}
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    command = [sys.executable, "-m", "ckpttool", "zoo", "pull", "hf://org/x", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "took model.safetensors, safetensors\n")
    assert json.loads(done.stdout)["source"]["url"] == "hf://org/x"


def test_without_the_library_its_package_is_named(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependency, match=r"hf://org/x: .* pip install 'ckpttool\[hub\]'"):
        pulled("hf://org/x")
