"""Paths that stand for URLs: what is one, what is refused, and no secret in a message."""

import subprocess
import sys
from pathlib import Path

import pytest

from ckpttool.core.errors import CkptError
from ckpttool.remote import paths
from ckpttool.remote.paths import is_remote, is_url, path_of, refuse_url, refuse_url_input, url_of, with_urls


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("s3://bucket/x", True),
        (Path("s3://bucket/x"), True),
        ("s3:/bucket/x", False),
        ("c:/x", False),
        (Path("c:/x"), False),
        ("a/b:c", False),
        ("hf://org/model\nx", True),
        ("https:///x", False),
    ],
)
def test_a_url_has_a_scheme_and_a_host(path, is_one):
    assert is_url(path) == is_one
    assert is_remote(path) == is_one


def test_outputs_are_files_and_data_is_downloaded_first():
    refuse_url(Path("model.ckpt"))
    refuse_url_input("data.csv")
    with pytest.raises(CkptError, match=r"zoo:net is an entry of the catalogue: write a file, then store it"):
        refuse_url(Path("zoo:net"))
    with pytest.raises(CkptError, match=r"s3://bucket/x is a URL, and outputs are written to local files only"):
        refuse_url(Path("s3://bucket/x"))
    with pytest.raises(CkptError, match=r"s3://bucket/x is a URL, from which only checkpoints and graphs are read"):
        refuse_url_input(Path("s3://bucket/x"))


@pytest.mark.parametrize("url", ["x", "https:///x", "s3://bucket/../x", "s3://.."])
def test_what_is_no_url_or_leads_away_is_refused(url):
    with pytest.raises(CkptError, match="is not a URL of a file"):
        path_of(url)


@pytest.mark.parametrize(
    "url", ["https://host/a/x.npz?key=1", "http://host/x?a=b?c", "s3://bucket/what?.npz", "s3://bucket/..x", "gs://b/x"]
)
def test_a_path_stands_for_its_url_with_the_query_of_web_servers(url):
    path = path_of(url)
    assert url_of(path) == url
    assert is_remote(path)
    assert ("?" in path.name) == (url.startswith("s3") and "?" in url)


def test_the_query_of_a_file_is_that_of_those_beside_it():
    path = path_of("https://other/a/x.ckpt?key=1")
    assert url_of(path.with_name("x.ckpt.index")) == "https://other/a/x.ckpt.index?key=1"
    bare = path_of("https://bare/a/x.ckpt")
    assert url_of(bare.with_name("y")) == "https://bare/a/y"
    assert url_of(bare.parent) == "https://bare/a"


def test_a_message_names_the_url(tmp_path):
    path = path_of("https://host/a/x.npz")
    assert with_urls(f"{path} is damaged, {tmp_path} is not") == f"https://host/a/x.npz is damaged, {tmp_path} is not"
    with pytest.raises(CkptError, match=r"^https://host/a/x\.npz is damaged$"):
        raise CkptError(f"{path} is damaged")


def test_before_any_url_nothing_stands_for_one(monkeypatch, tmp_path):
    class NoFolder:
        @staticmethod
        def cache_info():
            return type("Info", (), {"currsize": 0})

    monkeypatch.setattr(paths, "_root", NoFolder())  # a call of it would fail
    assert url_of(tmp_path) is None
    assert with_urls("a text") == "a text"


def test_the_folder_of_paths_is_gone_with_the_process():
    code = "from ckpttool.remote.paths import path_of; path = path_of('https://host/x'); "
    code += "path.parent.mkdir(parents=True); print(path)"
    path = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    assert path.parts[-3:] == ("https", "host", "x")
    assert not path.parents[2].exists()
