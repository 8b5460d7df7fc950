"""GGUF: the tensors of a model of llama.cpp."""
