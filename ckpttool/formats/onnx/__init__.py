"""ONNX: the initialisers of a model."""
