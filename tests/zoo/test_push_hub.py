"""Pushing to the hub: files and card as one commit, from which the same entry can be pulled again."""

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.lineage.output import path_beside
from ckpttool.model.families import Contents, writer_for
from ckpttool.model.model import Model
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_pull import zoo_pull
from ckpttool.verbs.zoo_push import zoo_push
from tests.hub_server import TOKEN, HubServer

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the library, to its own client
MODEL = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"


def test_what_is_pushed_is_what_is_pulled(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# Digits\n\nOf the chapter.\n")
    added = zoo_add(
        MODEL, "digits", tags=["best"], licence="mit", metrics=["accuracy=0.97"], task="image-classification",
        datasets=["mnist"], card=tmp_path / "card.md",
    )  # fmt: skip
    pushed = zoo_push("digits:best", "hf://team/digits")
    assert (pushed.target, pushed.revision) == ("hf://team/digits", hub.commit("team/digits"))
    files = hub.repositories["team/digits"]
    assert {name: data for name, data in files.items() if name != "README.md"} == {
        file.path: (MODEL.parent / file.path).read_bytes() for file in added.files
    }
    assert hub.private == {"team/digits": True}
    data = ModelCard(files["README.md"].decode()).data
    assert (data.license, data.tags, data.datasets, data.metrics) == ("mit", ["best"], ["mnist"], ["accuracy"])
    assert [(each.metric_type, each.metric_value) for each in data.eval_results] == [("accuracy", 0.97)]
    came = zoo_pull("hf://team/digits", root=tmp_path / "other", talk=lambda _: None)
    assert {key: value for key, value in came.card.items() if key != "model-index"} == {
        **added.card,
        "text": "# Digits\n\nOf the chapter.\n",
    }
    assert (set(came.files), came.tensors, came.main) == (set(added.files), added.tensors, added.main)


def test_a_saved_model_lies_in_the_repository_itself(hub: HubServer, tmp_path: Path) -> None:
    folder, model = tmp_path / "exported", Model.open(MODEL)
    writer_for(folder, folder, "saved-model").write(Contents(model.graph, model.checkpoint), folder, overwrite=False)
    zoo_add(folder, "served")
    zoo_push("served", "hf://team/served")
    assert {"saved_model.pb", "variables/variables.index", "README.md"} <= set(hub.repositories["team/served"])
    assert zoo_pull("hf://team/served", name="again", talk=lambda _: None).family == "saved-model"
    assert set(checkpoint.open("zoo:again")) == set(checkpoint.open(folder))


def test_where_nobody_said_anything_the_card_says_what_is_known(hub: HubServer, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"dense/kernel": np.ones((3, 2), np.float32)})
    zoo_add(tmp_path / "a.npz", "x")
    zoo_push("x", "hf://team/x", public=True)
    text = hub.repositories["team/x"]["README.md"].decode()
    assert "| dense |" in text
    assert "`ckpttool zoo pull hf://team/x`" in text
    assert hub.private == {"team/x": False}
    assert str(tmp_path) not in text


def test_a_refusal_is_one_line_without_the_token(hub: HubServer, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3000))
    (file,) = zoo_add(tmp_path / "a.npz", "x").files
    with pytest.raises(CkptError, match=r"hf://team/x/y: a model is pushed to the root of a repository"):
        zoo_push("x", "hf://team/x/y")
    with pytest.raises(CkptError, match=r"leave out `name`"):
        zoo_push("x", "hf://team/x", name="y")
    with pytest.raises(CkptError, match=r"`public` is for the hub"):
        zoo_push("x", str(tmp_path / "other"), public=True)
    hub.full = True
    with pytest.raises(CkptError, match=r"^hf://team/x: the hub answers 507"):
        zoo_push("x", "hf://team/x")
    hub.full, hub.refuses = False, 403
    with pytest.raises(CkptError, match=r"^hf://team/x: the hub refuses access \(403\)") as caught:
        zoo_push("x", "hf://team/x")
    assert TOKEN not in str(caught.value)
    blob = Catalogue.open(tmp_path / "zoo").blob(file.sha256)
    blob.chmod(0o644)
    blob.write_bytes(b"?" * file.nbytes)
    hub.refuses = 0
    with pytest.raises(CorruptCheckpoint, match=r"a.npz of x@1 has the SHA-256"):
        zoo_push("x", "hf://team/x")


def test_the_lineage_beside_a_model_stays_here(hub: HubServer, tmp_path: Path) -> None:
    source, made = tmp_path / "private" / "a.npz", tmp_path / "made.ckpt"
    source.parent.mkdir()
    np.savez(source, x=np.ones(3))
    checkpoint.save(checkpoint.open(source), made)
    sidecar = path_beside(made)
    assert "private" in sidecar.read_text()
    assert sidecar.name in {file.path for file in zoo_add(made, "x").files}
    assert zoo_push("x", "hf://team/x").files == len(hub.repositories["team/x"])
    zoo_push("x", str(tmp_path / "shared"))
    kept = Catalogue.open(tmp_path / "shared").find("x")
    assert [
        name for name in [*hub.repositories["team/x"], *(file.path for file in kept.files)] if "lineage" in name
    ] == []
    told = [*hub.repositories["team/x"].values(), kept.dumps()]
    assert [each for each in told if b"private" in each] == []
    (record,) = kept.lineage["records"]
    assert record["sources"][0]["path"] == "a.npz"
