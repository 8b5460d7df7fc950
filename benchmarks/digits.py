"""The chapter's question on MNIST: the benefit of a network trained on 0-4 for 5-9, with few labels.

The network has 784 inputs and five layers of 100 units (ELU, He, Adam 0.01, batches of 20, early stopping).
"""

from pathlib import Path

import numpy as np

import ckpttool
from ckpttool.data.drawing import draw

HIDDEN = "; ".join(f"hidden{number} = dense(100, elu, he)" for number in range(1, 6))
HEAD = "outputs = dense(5)"
"""The head for 5-9, whose labels are 0-4."""
BASE = "base.ckpt"
WATCHED = 1000
"""Number of validation rows of 5-9."""


def base(folder: Path, data: Path) -> ckpttool.Model:
    """Return the network trained on 0-4, which is kept in the folder for later runs."""
    path = folder / BASE
    if not path.with_name(f"{BASE}.meta").exists():
        with np.load(data, allow_pickle=False) as arrays:
            chosen = arrays["y_train"] < 5
            x, y = arrays["x_train"][chosen], arrays["y_train"][chosen]
        parts = {"x_train": x[:-3000], "y_train": y[:-3000], "x_valid": x[-3000:], "y_valid": y[-3000:]}
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "low.npz", **parts)
        recipe = ckpttool.Recipe("adam(0.01)")
        ckpttool.new([784], f"{HIDDEN}; {HEAD}", folder / "fresh.ckpt", recipe, overwrite=True)
        options = ckpttool.Options(recipe=recipe, epochs=60, batch_size=20, early_stopping=20)
        ckpttool.finetune(ckpttool.Model.open(folder / "fresh.ckpt"), folder / "low.npz", path, options)
    return ckpttool.Model.open(path)


class Digits:
    """The rows of 5-9: stratified draws for training, all test rows, and some for validation."""

    def __init__(self, data: Path) -> None:
        """Read the rows."""
        with np.load(data, allow_pickle=False) as arrays:
            train, test = arrays["y_train"] > 4, arrays["y_test"] > 4
            self._x, self._y = arrays["x_train"][train], arrays["y_train"][train] - 5
            self._test = {"x_test": arrays["x_test"][test], "y_test": arrays["y_test"][test] - 5}

    def write(self, path: Path, count: int, seed: int = 0, watched: bool = False) -> Path:
        """Write a draw of rows; with `watched`, with validation rows, which are the same in all draws."""
        x, y = self._x[:-WATCHED], self._y[:-WATCHED]
        rows = draw(len(x), count, y.astype(np.int64), seed)
        more = {"x_valid": self._x[-WATCHED:], "y_valid": self._y[-WATCHED:]} if watched else {}
        np.savez(path, x_train=x[rows], y_train=y[rows], **more, **self._test)
        return path
