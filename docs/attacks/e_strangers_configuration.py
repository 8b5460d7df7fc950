"""A configuration file from someone else sets output paths.

`--config` reads the options of a run from a file. An untrusted one could make the output replace one of your files.
"""

from pathlib import Path

import numpy as np
from shell import ckpttool

Path("yours.csv").write_text("years of work\n")
Path("settings.toml").write_text('epochs = 3\noutput = "model.ckpt"\nplot = "yours.csv"\ncache-dir = "/etc"\n')
np.savez("data.npz", x_train=np.ones((6, 4), "f"), y_train=np.arange(6) % 3)

ckpttool("finetune model.ckpt --data data.npz --config settings.toml")
print(Path("yours.csv").read_text(), end="")
