"""TensorFlow's messages in a package of our own, so that TensorFlow can be imported before or after."""
