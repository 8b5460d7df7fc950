"""GGUF: the tensors of llama.cpp's models."""
