"""ckpttool: transfer learning and checkpoint surgery for saved TensorFlow models."""

__version__ = "0.1.0"
