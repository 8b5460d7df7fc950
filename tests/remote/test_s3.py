"""Checkpoints in a bucket of moto's S3 server, which can list its content."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ckpttool
from ckpttool import MissingFile, checkpoint
from ckpttool.graph import files

FIXTURES = Path(__file__).parents[2] / "fixtures"
MODEL = "my_model_final.ckpt"
FORMATS = ("w.safetensors", "w.npz", "w.h5")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory, weights) -> Iterator[str]:
    """A bucket with the chapter's model in one folder, and tensors in several formats in another."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    here = tmp_path_factory.mktemp("uploaded")
    for name in FORMATS:
        checkpoint.save(weights, here / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(key, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # of other tests' servers
        system = fsspec.filesystem("s3")
        system.makedirs("bucket", exist_ok=True)  # moto keeps those of an earlier server
        for file in FIXTURES.glob(f"{MODEL}.*"):
            system.put_file(str(file), f"bucket/model/{file.name}")
        system.pipe_file("bucket/model/checkpoint", f'model_checkpoint_path: "{MODEL}"'.encode())
        for name in FORMATS:
            system.put_file(str(here / name), f"bucket/weights/{name}")
        yield "s3://bucket"
    server.stop()


@pytest.mark.parametrize("path", ["", f"/{MODEL}", f"/{MODEL}.index", f"/{MODEL}.data-00000-of-00001"])
def test_a_model_is_found_by_its_folder_its_prefix_and_its_files(bucket, path):
    there, here = checkpoint.open(f"{bucket}/model{path}"), checkpoint.open(FIXTURES / MODEL)
    assert there.specs() == here.specs()
    np.testing.assert_array_equal(there["hidden1/kernel"].read(), here["hidden1/kernel"].read())


def test_the_graph_lies_beside(bucket):
    assert files.load(f"{bucket}/model/{MODEL}").meta == files.load(FIXTURES / MODEL).meta
    assert ckpttool.verify(f"{bucket}/model/{MODEL}").whole


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_read(bucket, weights, name):
    found = checkpoint.open(f"{bucket}/weights/{name}")
    assert {key: tensor.read().tolist() for key, tensor in found.items()} == {
        key: array.tolist() for key, array in weights.items()
    }


def test_a_bundle_is_made_of_it(bucket, weights, run, tmp_path):
    run("convert", f"{bucket}/weights/w.safetensors", "-o", tmp_path / "w.ckpt")
    np.testing.assert_array_equal(checkpoint.open(tmp_path / "w.ckpt")["middle"].read(), weights["middle"])


def test_what_is_not_in_the_bucket_is_missing(bucket, run):
    with pytest.raises(MissingFile, match=r"v\.npz is missing: no such model or checkpoint"):
        checkpoint.open(f"{bucket}/weights/v.npz")
    assert f"Error: {bucket}/weights/v.npz is missing" in run("vars", f"{bucket}/weights/v.npz", exit_code=2)


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_is_not_there(run):
    (line,) = run("vars", "s3://no-such-bucket/w.npz", exit_code=2).splitlines()
    assert line.startswith("Error: s3://no-such-bucket/w.npz: ")
    assert "does not exist" in line
