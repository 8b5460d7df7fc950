"""The paths of variables are those in the file written by Keras."""

import io
import zipfile
from pathlib import Path

import h5py
import pytest

from ckpttool.runtime.keras.private.layout import places_of_variables
from tests.runtime.keras.networks import NETWORKS, layers


def test_places_are_those_of_the_file_that_keras_writes(tmp_path: Path) -> None:
    model = NETWORKS["nested"]()
    model.save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive, archive.open("model.weights.h5") as member:
        places = Hdf5Places()
        h5py.File(io.BytesIO(member.read())).visititems(places)

    found = places_of_variables(model)

    assert set(found.variables) == places.names
    assert found.variables["layers/dense/vars/0"][0] == ("top",)


def test_the_walk_does_not_make_a_layer_for_each_layer_to_compare_it_with(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = NETWORKS["nested"](), list[str]()
    begin = layers.Layer.__init__
    monkeypatch.setattr(layers.Layer, "__init__", lambda self, **given: (made.append(""), begin(self, **given))[1])

    places_of_variables(model)

    assert len(made) <= 4  # one for each kind, however many layers there are


class Hdf5Places:
    """The names of the data sets of a weights file."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __call__(self, name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            self.names.add(name)
