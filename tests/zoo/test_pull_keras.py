"""Pulling Keras architectures: their weights are downloaded by Keras, and become a model like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.formats.keras.applications import application
from ckpttool.runtime.configure import keras as keras_on_tensorflow
from ckpttool.verbs.zoo_pull import zoo_pull

keras = keras_on_tensorflow()
NAME = "keras:MobileNet(alpha=0.25, input_shape=32)"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("CKPTTOOL_ZOO", str(tmp_path / "zoo"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "keras"


def test_the_weights_are_downloaded_and_kept_as_a_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, downloads = keras.applications.MobileNet, dict[str, Any]()

    def built(weights: str | None, **arguments: Any) -> Any:
        """Act like Keras, which downloads what is not in its cache."""
        net = build(weights=None, **arguments)
        if weights is not None:
            downloads[weights] = net.get_layer("conv1").kernel.numpy()
            (home / "models").mkdir(parents=True)
            net.save_weights(home / "models" / "net.weights.h5")
            (home / "models" / "net.weights.h5").rename(home / "models" / "mobilenet_2_5_224_tf.h5")
        return net

    monkeypatch.setattr(keras.applications, "MobileNet", built)
    assert "mobilenet_2_5_224_tf.h5" in list(application(NAME).cached_names())
    manifest = zoo_pull(NAME, name="mobile", talk=lambda _: None)
    assert (manifest.family, manifest.main, list(downloads)) == ("keras", "MobileNet.keras", ["imagenet"])
    assert manifest.source == {"url": "keras:MobileNet(input_shape=32, alpha=0.25)", "revision": None}
    np.testing.assert_array_equal(checkpoint.open("zoo:mobile")["conv1/kernel"].read(), downloads["imagenet"])


def test_what_keras_has_not_is_said() -> None:
    with pytest.raises(CkptError, match=r"Keras cannot get the weights: .*shape"):
        zoo_pull(NAME)
    with pytest.raises(CkptError, match=r"only weights that Keras provides are pulled"):
        zoo_pull("keras:MobileNet(weights=None)")
    with pytest.raises(CkptError, match=r"keras.applications has no such architecture"):
        zoo_pull("keras:MobilNet")
