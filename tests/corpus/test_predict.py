"""Foreign models have their known outputs: checkpoints, SavedModels and bare graphs."""

import os
from pathlib import Path

import numpy as np
import pytest

from ckpttool.model.model import Model
from ckpttool.verbs.predict import predict

CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS names no folder of real files")

REGRESSION = CORPUS / "tf2onnx_regression_trio" / "regression"
X = np.linspace(0, 3, 20).astype(np.float32)


def predicted(model: Path, folder: Path) -> dict[str, np.ndarray]:
    predict(Model.open(model), folder / "rows.npz", folder / "out.npz")
    with np.load(folder / "out.npz", allow_pickle=False) as found:
        return dict(found)


@pytest.mark.parametrize("form", ["checkpoint/model", "saved_model", "graphdef/frozen.pb"])
def test_a_regression_gives_its_known_answer_in_each_form(form: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", X=X)
    np.testing.assert_allclose(
        predicted(REGRESSION / form, tmp_path)["outputs"].ravel(), 0.21396178 * X + 1.0495254, rtol=1e-6
    )


def test_a_served_model_is_fed_what_its_signature_says(tmp_path: Path) -> None:
    """Its placeholder takes serialised records; the signature's input is the result of parsing them."""
    np.savez(tmp_path / "rows.npz", x=X[:, np.newaxis])
    served = CORPUS / "serving_testdata/servables/tensorflow/testdata/saved_model_half_plus_two_cpu/00000123"
    np.testing.assert_allclose(predicted(served, tmp_path)["outputs"], 0.5 * X[:, np.newaxis] + 2, rtol=1e-6)


def test_a_recurrent_network_of_digits_gives_the_answer_that_came_with_it(tmp_path: Path) -> None:
    folder = CORPUS / "frozen_dl4j_lstm_mnist_io"
    shape = [int(size) for size in (folder / "input.placeholder.shape").read_text().replace(",", " ").split()]
    np.savez(tmp_path / "rows.npz", x=np.loadtxt(folder / "input.placeholder.csv", delimiter=",").reshape(shape))
    expected = np.loadtxt(folder / "output.prediction.csv", delimiter=",")
    found = predicted(folder / "frozen_model.pb", tmp_path)
    np.testing.assert_allclose(found["probabilities"].ravel(), expected.ravel(), atol=1e-5)
