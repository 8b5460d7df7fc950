"""TensorFlow.js: the weights of a model.json."""
