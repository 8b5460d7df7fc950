"""All methods of pretraining; a new method is a file, and a name here."""

from ckpttool.runtime.pretraining.autoencoder import Autoencoder
from ckpttool.runtime.pretraining.corrupt import Corrupt
from ckpttool.runtime.pretraining.method import Method as PretrainingMethod
from ckpttool.runtime.pretraining.pairs import Pairs
from ckpttool.runtime.pretraining.rbm import Rbm
from ckpttool.runtime.pretraining.rotate import Rotate
from ckpttool.runtime.pretraining.views import Views

__all__ = ["Autoencoder", "Corrupt", "Pairs", "PretrainingMethod", "Rbm", "Rotate", "Views"]
