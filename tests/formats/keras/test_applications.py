"""`keras:NAME`: architectures with arguments, and their file names in Keras's cache."""

import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ckpttool.core.errors import CkptError, MissingFile, UnknownName
from ckpttool.data.architectures import MODES
from ckpttool.formats.keras.applications import APPLICATIONS, application
from ckpttool.runtime.configure import keras as keras_on_tensorflow
from ckpttool.runtime.keras.private.building import variables_without_values


def test_every_architecture_has_its_preprocessing() -> None:
    assert set(APPLICATIONS) == set(MODES)


class Asked(Exception):
    """Keras's downloads."""


def asked_by_keras(name: str, arguments: dict[str, Any]) -> str:
    keras = keras_on_tensorflow()

    def get_file(file: str, *_: Any, **__: Any) -> None:
        raise Asked(file)

    patched = mock.patch("keras.src.utils.file_utils.get_file", get_file)
    with variables_without_values(), patched, warnings.catch_warnings(), pytest.raises(Asked) as asked:
        warnings.simplefilter("ignore")
        getattr(keras.applications, name)(**arguments)
    return str(asked.value)


@pytest.mark.parametrize(
    ("named", "arguments"),
    [
        ("VGG16", {"include_top": True}),
        ("MobileNet(alpha=0.25, include_top=False, input_shape=96)", {"alpha": 0.25, "input_shape": (96, 96, 3)}),
        ("MobileNetV2(alpha=0.35, include_top=False, input_shape=96)", {"alpha": 0.35, "input_shape": (96, 96, 3)}),
        ("MobileNetV3Small(include_top=False, minimalistic=True)", {"minimalistic": True, "input_shape": (32, 32, 3)}),
        ("ConvNeXtTiny(include_top=False)", {}),
        ("EfficientNetV2B0(include_top=False)", {}),
    ],
)
def test_the_file_is_the_one_that_keras_would_download(named: str, arguments: dict[str, Any]) -> None:
    ours = application(f"keras:{named}")

    assert next(iter(ours.cached_names())) == asked_by_keras(ours.name, {"include_top": False, **arguments})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("MobilNetV2", r"keras:MobilNetV2: .*; nearest: MobileNetV2, MobileNet"),
        ("VGG16(alpha=1)", "VGG16 has no argument 'alpha'; there are input_shape, weights"),
        ("VGG16(input_shape=(1, 2, 3, 4))", r"input_shape must be the edge of square images, or \(height"),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_names(wrong: str, message: str) -> None:
    with pytest.raises(CkptError, match=message):
        application(f"keras:{wrong}")
    assert issubclass(UnknownName, CkptError)


def test_weights_are_looked_for_in_the_cache_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    with pytest.raises(
        MissingFile, match=rf"cache {tmp_path}/models has neither vgg16_\S+kernels.h5 nor \S+_notop.h5; "
    ):
        application("keras:VGG16").weights_path()

    (tmp_path / "models").mkdir()
    (tmp_path / "models/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5").touch()
    assert str(application("keras:VGG16").weights_path()).endswith("_notop.h5")
    for random in ("keras:VGG16(weights=None)", "keras:VGG16(weights=none)"):
        assert application(random).weights_path() is None
    with pytest.raises(MissingFile, match=r"absent.h5 is missing: expected the `weights` of keras:VGG16"):
        application("keras:VGG16(weights='absent.h5')").weights_path()
