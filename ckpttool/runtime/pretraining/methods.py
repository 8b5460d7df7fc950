"""All methods of pretraining that there are: a new one is a file of its own, and a name here."""

from ckpttool.runtime.pretraining.autoencoder import Autoencoder
from ckpttool.runtime.pretraining.method import Method as PretrainingMethod
from ckpttool.runtime.pretraining.rbm import Rbm

__all__ = ["Autoencoder", "PretrainingMethod", "Rbm"]
