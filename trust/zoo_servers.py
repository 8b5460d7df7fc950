"""A hub and a bucket on loopback to pull from, in their own process, because one that forks must not have threads."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

BUCKET, REPOSITORY, MODEL = "s3://shared/zoo", "hf://org/pulled", "3.safetensors"
"""Where the pulled model is, and its name."""


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[None]:
    """Run both servers during the block; environment variables contain their addresses and credentials."""
    os.environ |= {
        **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing"),
        **{"AWS_DEFAULT_REGION": "us-east-1", "HF_HOME": str(folder / "hub"), "HF_HUB_DISABLE_XET": "1"},
        **{"HF_HUB_DISABLE_PROGRESS_BARS": "1", "XDG_CACHE_HOME": str(folder / "cache")},
    }
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            _serve(folder, writing)
        finally:
            os._exit(1)
    os.close(writing)
    try:
        with os.fdopen(reading) as answer:
            os.environ |= json.loads(answer.read())
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _serve(folder: Path, told: int) -> None:
    """Start both, upload the model, report their addresses, and wait for the end."""
    sys.path.append(str(Path(__file__).parents[1]))
    import fsspec
    from moto.server import ThreadedMotoServer

    from ckpttool.verbs.zoo_add import zoo_add
    from ckpttool.verbs.zoo_push import zoo_push
    from tests.hub_server import running

    hub, bucket = running(), ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    hub.repositories[REPOSITORY.removeprefix("hf://")] = {MODEL: Path(MODEL).read_bytes()}
    bucket.start()
    host, port = bucket.get_host_and_port()
    places = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "HF_ENDPOINT": hub.url}
    os.environ |= places
    fsspec.filesystem("s3").mkdir("shared")
    zoo_add(MODEL, "pulled", root=folder / "pushed")
    zoo_push("pulled", BUCKET, root=folder / "pushed")
    os.write(told, json.dumps(places).encode())
    os.close(told)
    while True:
        signal.pause()
