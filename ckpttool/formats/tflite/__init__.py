"""TensorFlow Lite: the constant tensors of a .tflite."""
