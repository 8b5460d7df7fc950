"""The only floor that imports TensorFlow, and only inside its functions."""
