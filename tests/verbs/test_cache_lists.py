"""The cache below a Keras recurrent layer, which reads lists of tensors, steps first."""

from pathlib import Path

import numpy as np

from ckpttool.model.model import Model
from ckpttool.runtime.configure import keras as keras_on_tensorflow
from ckpttool.runtime.objectives import Objective
from ckpttool.training.options import Options
from ckpttool.verbs.finetune import finetune

keras = keras_on_tensorflow()


def test_a_recurrent_layer_is_trained_alike_on_features_and_on_rows(tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    ids = keras.Input((6,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(9, 4, mask_zero=True, name="vectors")(ids)
    both = keras.layers.Bidirectional(keras.layers.LSTM(3), name="both")(vectors)
    keras.Model(ids, keras.layers.Dense(2, name="classes")(both)).save(tmp_path / "net.keras")
    rows = np.random.default_rng(0).integers(0, 9, (40, 6)).astype("int32")
    np.savez(tmp_path / "rows.npz", x=rows, y=np.arange(40) % 2)

    written = []
    for cached in (False, True):
        options = Options(
            freeze="vectors",
            cache=cached,
            cache_dir=tmp_path / "cache",
            epochs=2,
            batch_size=8,
            objective=Objective("softmax"),
        )
        finetune(Model.open(tmp_path / "net.keras"), tmp_path / "rows.npz", options, tmp_path / f"{cached}.keras")
        written.append(keras.models.load_model(tmp_path / f"{cached}.keras").weights)

    for first, second in zip(*written, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)
