"""Checkpoints on a web server: what is requested is downloaded, and nothing more."""

import errno
import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import ckpttool
from ckpttool import CkptError, CorruptCheckpoint, MissingDependency, MissingFile, checkpoint
from ckpttool.catalogue import local_files
from ckpttool.formats.format import Writing
from ckpttool.graph import files
from ckpttool.remote import server_errors, servers, sparse_files
from ckpttool.remote.paths import path_of, url_of

FIXTURES = Path(__file__).parents[2] / "fixtures"
MODEL = "my_model_final.ckpt"
DATA = "w.ckpt.data-00000-of-00001"


@pytest.fixture
def bundle(web, weights):
    checkpoint.save(weights, web.folder / "w.ckpt")
    return web.url("w.ckpt")


@pytest.fixture
def served_model(web):
    for file in FIXTURES.glob(f"{MODEL}.*"):
        shutil.copy(file, web.folder)
    return web.url(MODEL)


def test_listing_a_bundle_fetches_its_index_and_nothing_else(web, bundle, weights):
    found = checkpoint.open(bundle)
    assert {spec.name: spec.shape for spec in found.specs()} == {name: array.shape for name, array in weights.items()}
    assert web.given == {"w.ckpt.index": (web.folder / "w.ckpt.index").stat().st_size}


def test_one_tensor_of_a_bundle_costs_its_bytes(web, bundle, weights):
    np.testing.assert_array_equal(checkpoint.open(bundle)["middle"].read(), weights["middle"])
    assert web.given.pop("w.ckpt.index")
    assert web.given == {DATA: weights["middle"].nbytes}


def test_what_was_fetched_is_not_fetched_again(web, bundle):
    found = checkpoint.open(bundle)
    for _ in range(2):
        found["middle"].read()
        before = dict(web.given)
    checkpoint.open(bundle)["middle"].read()
    assert web.given == before


def test_few_of_the_files_that_a_file_names_are_requested_before_they_are_read(web, monkeypatch):
    tensors = {name: np.arange(4, dtype=np.float32) for name in "abc"}
    checkpoint.save(tensors, web.folder / "model.json", how=Writing(shard_bytes=16))
    monkeypatch.setattr(local_files, "MOST_NAMED", 1)
    found = checkpoint.open(web.url(""))
    assert sorted(found) == ["a", "b", "c"]
    np.testing.assert_array_equal(found["c"].read(), tensors["c"])


@pytest.mark.parametrize("part", ["", ".index", "." + DATA.partition(".ckpt.")[2]])
def test_each_file_of_a_bundle_stands_for_it(web, bundle, weights, part):
    assert list(checkpoint.open(bundle + part)) == list(weights)


def test_a_path_made_of_a_url_has_lost_a_slash_and_is_one_still(bundle, weights):
    assert list(checkpoint.open(Path(bundle))) == list(weights)


def test_a_tensor_of_safetensors_costs_its_bytes_and_the_header(web, weights):
    checkpoint.save(weights, web.folder / "w.safetensors")
    header = 8 + int.from_bytes((web.folder / "w.safetensors").read_bytes()[:8], "little")
    found = checkpoint.open(web.url("w.safetensors"))
    assert set(found) == set(weights)
    listed = web.given["w.safetensors"]
    assert header <= listed <= header + sparse_files.BLOCK
    np.testing.assert_array_equal(found["middle"].read(), weights["middle"])
    assert web.given["w.safetensors"] <= listed + weights["middle"].nbytes


def test_of_several_safetensors_files_the_headers_are_fetched_and_the_file_with_the_tensor(web, weights):
    checkpoint.save(weights, web.folder / "w.safetensors", how=Writing(shard_bytes=300_000))
    assert len(list(web.folder.glob("*.safetensors"))) == 2
    found = checkpoint.open(web.url("w.safetensors.index.json"))
    assert set(found) == set(weights)
    np.testing.assert_array_equal(found["middle"].read(), weights["middle"])
    assert sum(web.given.values()) < 40_000
    assert list(checkpoint.open(web.url("w.safetensors"))) == list(found)


def test_a_tensor_of_an_npz_costs_its_bytes_the_directory_and_the_headers(web, weights):
    np.savez(web.folder / "w.npz", **weights)
    found = checkpoint.open(web.url("w.npz"))
    assert list(found) == list(weights)
    assert web.given["w.npz"] < 100_000
    np.testing.assert_array_equal(found["middle"].read(), weights["middle"])
    assert web.given["w.npz"] < 120_000


def test_hdf5_is_read_in_pieces(web, weights):
    checkpoint.save(weights, web.folder / "w.h5")
    found = checkpoint.open(web.url("w.h5"))
    np.testing.assert_array_equal(found["middle"].read(), weights["middle"])
    assert web.given["w.h5"] < (web.folder / "w.h5").stat().st_size


@pytest.mark.parametrize(
    "name", ["torch/state_dict.pt", "torch/views.pt", "bundles/sharded.ckpt", "bundles/object.ckpt"]
)
def test_other_files_are_what_they_are_on_the_disk(web, name):
    shutil.copytree(FIXTURES / Path(name).parent, web.folder, dirs_exist_ok=True)
    here, there = checkpoint.open(FIXTURES / name), checkpoint.open(web.url(Path(name).name))
    assert there.format == here.format
    assert {key: tensor.read().tobytes() for key, tensor in there.items() if tensor.dtype.itemsize} == {
        key: tensor.read().tobytes() for key, tensor in here.items() if tensor.dtype.itemsize
    }


def test_a_graph_is_fetched_when_it_is_asked_for(web, served_model):
    checkpoint.open(served_model)
    assert f"{MODEL}.meta" not in web.given
    assert files.load(served_model).meta == files.load(FIXTURES / MODEL).meta
    assert web.given[f"{MODEL}.meta"] == (FIXTURES / f"{MODEL}.meta").stat().st_size


def test_a_model_is_opened(served_model):
    model = ckpttool.Model.open(served_model)
    assert set(model.checkpoint) == set(ckpttool.Model.open(FIXTURES / MODEL).checkpoint)


def test_a_folder_with_a_checkpoint_file_means_the_latest(web, bundle, weights):
    (web.folder / "checkpoint").write_text('model_checkpoint_path: "w.ckpt"')
    assert list(checkpoint.open(web.url(""))) == list(weights)


def test_a_query_is_asked_with_and_not_shown(web, weights):
    checkpoint.save(weights, web.folder / "w.safetensors")
    found = checkpoint.open(web.url("w.safetensors?signature=secret"))
    found["middle"].read()
    assert set(web.given) == {"w.safetensors?signature=secret"}
    assert "secret" not in str(found.path)


def test_each_of_two_files_is_asked_for_with_its_own_query():
    urls = [f"https://host/folder/{name}.ckpt?signature={name}" for name in ("a", "b")]
    places = [path_of(url) for url in urls]
    assert [url_of(place) for place in places] == urls
    assert url_of(places[1].with_name("b.ckpt.index")) == "https://host/folder/b.ckpt.index?signature=b"


@pytest.mark.parametrize("status", [200, 403, 500])
def test_an_error_does_not_show_the_query(web, weights, status):
    checkpoint.save(weights, web.folder / "w.safetensors")
    web.status, web.cut = status, 1
    with pytest.raises(CkptError, match=r"w\.safetensors: the server") as caught:
        checkpoint.open(web.url("w.safetensors?signature=secret"))
    assert "secret" not in str(caught.value)


def test_a_file_that_changed_on_the_server_is_fetched_anew(web, bundle, weights):
    checkpoint.open(bundle)["middle"].read()
    checkpoint.save(weights | {"middle": weights["middle"] + 1}, web.folder / "w.ckpt", overwrite=True)
    np.testing.assert_array_equal(checkpoint.open(bundle)["middle"].read(), weights["middle"] + 1)


def test_damage_is_found_as_on_the_disk(web, bundle):
    data = bytearray((web.folder / DATA).read_bytes())
    data[-1] ^= 1
    (web.folder / DATA).write_bytes(data)
    (damage,) = ckpttool.verify(bundle).damaged
    assert damage.name == "rest"


def test_a_server_that_knows_no_ranges_gives_a_small_file_whole(web, bundle, weights):
    web.ranges = False
    np.testing.assert_array_equal(checkpoint.open(bundle)["middle"].read(), weights["middle"])


def test_and_a_large_one_is_refused(web, bundle, monkeypatch):
    monkeypatch.setattr(sparse_files, "WHOLE", 100_000)
    web.ranges = False
    with pytest.raises(CkptError, match=r"data-00000-of-00001: the server sends whole files only.*download it"):
        checkpoint.open(bundle)["middle"].read()


def test_what_is_not_there_is_missing(web, bundle):
    with pytest.raises(MissingFile, match=r"v.ckpt is missing: no such model or checkpoint"):
        checkpoint.open(web.url("v.ckpt"))


def test_a_data_file_that_is_not_there_is_missing(web, bundle):
    (web.folder / DATA).unlink()
    with pytest.raises(MissingFile, match=r"w.ckpt.data-00000-of-00001 is missing"):
        checkpoint.open(bundle)["middle"].read()


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "the server refuses access"), (403, "the server refuses access"), (500, "the server answers 500")],
)
def test_a_server_that_refuses_is_an_error_in_one_line(web, bundle, status, said):
    web.status = status
    with pytest.raises(CkptError, match=said) as caught:
        checkpoint.open(bundle)
    assert "\n" not in str(caught.value)
    assert bundle in str(caught.value)


def test_a_server_that_is_not_there(web, bundle):
    with pytest.raises(CkptError, match=r"http://127.0.0.1:1/w.ckpt: .*127.0.0.1:1"):
        checkpoint.open("http://127.0.0.1:1/w.ckpt")


def test_a_server_that_says_nothing(web, bundle, monkeypatch):
    monkeypatch.setattr(server_errors, "SECONDS", 0.1)
    web.released = threading.Event()
    try:
        with pytest.raises(CkptError, match=r"did not answer within 0.1 seconds"):
            checkpoint.open(bundle)
    finally:
        web.released.set()


def test_fewer_bytes_than_asked_for_are_not_taken_for_all(web, bundle):
    web.cut = 1
    with pytest.raises(CorruptCheckpoint, match=r"w.ckpt.index: the server gave 191 bytes at 0, not 192"):
        checkpoint.open(bundle)


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("https://host/w.ckpt", "aiohttp", r"fsspec\[http\]"),
        ("s3://bucket/w.ckpt", "s3fs", "s3fs"),
        ("gs://bucket/w.ckpt", "gcsfs", "gcsfs"),
        ("hf://org/model/w.safetensors", "huggingface_hub", "huggingface_hub"),
        ("s3://bucket/w.ckpt", "fsspec", r"ckpttool\[remote\]"),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, url, module, package):
    for name in [name for name in sys.modules if name.partition(".")[0] == module or name.startswith("fsspec.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=rf"needs a package: pip install '{package}'"):
        checkpoint.open(url)


def test_a_url_leads_nowhere_else():
    with pytest.raises(CkptError, match=r"is not a URL of a file"):
        checkpoint.open("https://host/../../etc/passwd")


def test_the_latest_of_a_folder_is_a_url_to_go_on_with(web, bundle, run):
    (web.folder / "checkpoint").write_text('model_checkpoint_path: "w.ckpt"')
    assert run("latest", web.url("")) == f"{bundle}\n"
    (row,) = json.loads(run("latest", web.url(""), "--all", "--json"))
    assert row == {"prefix": bundle, "step": None, "written": None, "latest": True}


URL = "https://host/file.toml"


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", FIXTURES / MODEL, "--data", URL],
        ["evaluate", FIXTURES / MODEL, "--config", URL],
        ["convert", FIXTURES / MODEL, "--to", "keras", "--like", URL, "-o", "x.keras"],
        ["import", FIXTURES / MODEL, "--into", FIXTURES / MODEL, "--rules", URL, "-o", "x.ckpt"],
        ["edit", FIXTURES / MODEL, "--script", URL, "-o", "x.ckpt"],
    ],
    ids=lambda arguments: arguments[-3] if "-o" in arguments else arguments[-2],
)
def test_what_is_no_checkpoint_is_not_read_from_a_url(run, arguments):
    said = f"Error: {URL} is a URL, from which only checkpoints and graphs are read: download the file\n"
    assert run(*arguments, exit_code=2) == said


def test_nothing_is_written_to_a_url(weights):
    with pytest.raises(
        CkptError,
        match=r"s3://bucket/w.safetensors is a URL, and outputs are written to local files only: write a file",
    ):
        checkpoint.save(weights, "s3://bucket/w.safetensors")


def test_commands_say_the_url(web, served_model, run, tmp_path):
    assert f"{served_model}: " in run("verify", served_model)
    assert run("layers", served_model) == run("layers", FIXTURES / MODEL)
    assert run("diff", served_model, FIXTURES / MODEL) == run("diff", FIXTURES / MODEL, FIXTURES / MODEL)
    assert f"Error: {served_model}: no tensor named hidden1/kernal" in run(
        "show", served_model, "hidden1/kernal", exit_code=2
    )


def test_the_lineage_says_the_url(served_model, run, tmp_path):
    run("edit", served_model, "--rename", "hidden1=>first", "-o", tmp_path / "one.ckpt")
    (record,) = json.loads(run("log", tmp_path / "one.ckpt", "--json"))["records"]
    assert {source["path"] for source in record["sources"]} == {served_model, f"{served_model}.meta"}


def test_the_lineage_beside_is_read_from_there_too(web, run):
    run("edit", FIXTURES / MODEL, "--keep", "hidden1", "--no-graph", "-o", web.folder / "a.ckpt")
    assert run("log", web.url("a.ckpt"), "--json") == run("log", web.folder / "a.ckpt", "--json")


def test_a_list_is_made_of_the_index_alone(web, served_model, run):
    said = run("vars", served_model)
    assert run("vars", FIXTURES / MODEL) in said
    assert f"only from the names: {served_model}.meta is not fetched" in said
    assert set(web.given) == {f"{MODEL}.index"}


def test_a_file_that_is_said_to_be_larger_than_any_is_refused_by_its_url(monkeypatch):
    def truncate(descriptor, size):  # as most file systems do
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "truncate", truncate)
    with pytest.raises(
        CkptError, match=r"https://host/x\.npz has 9223372036854775807 bytes according to its server, for which"
    ):
        sparse_files.SparseFile("https://host/x.npz", servers.RemoteFile(2**63 - 1, None))


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz", "x.gguf", "none.npz"])
def test_an_error_in_python_names_the_url_too(web, name):
    starts = {"x.safetensors": b"\x10" + bytes(7) + b"{bad", "x.npz": b"PK\3\4xx", "x.gguf": b"GGUFx"}
    if name in starts:
        (web.folder / name).write_bytes(starts[name])
    with pytest.raises(CkptError, match=rf"^{re.escape(web.url(name))}") as error:
        checkpoint.open(web.url(name))
    assert "ckpttool-tmp" not in str(error.value)


@pytest.mark.parametrize("name", [MODEL, f"{MODEL}.meta", "bundles/object.ckpt"])
def test_a_server_that_fails_for_a_moment_does_not_give_another_model(web, name):
    def layers(url):
        return ckpttool.layers(url), [*checkpoint.open(url)] if not url.endswith(".meta") else []

    served, first, refused = web.folder, 1, 0
    shutil.copytree(FIXTURES / Path(name).parent, served, dirs_exist_ok=True)
    truth = layers(str(FIXTURES / name))
    while web.asked >= first - 1:
        web.reset(served)  # with other URLs, from which nothing has been read
        web.failing = range(first, first + 2)  # a failed HEAD is followed by a GET
        try:
            assert layers(web.url(Path(name).name)) == truth
        except CkptError as error:
            assert "the server answers 503" in str(error)
            refused += 1
        first += 1
    assert refused > 4


def test_a_folder_is_opened_twice(web):
    for each in FIXTURES.glob(f"{MODEL}.*"):
        shutil.copy(each, web.folder)
    (web.folder / "checkpoint").write_text(f'model_checkpoint_path: "{MODEL}"')
    assert [*checkpoint.open(web.url(""))] == [*checkpoint.open(web.url(""))]
