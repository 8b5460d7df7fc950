"""TensorFlow's checkpoints: bundles, object checkpoints, SavedModels, frozen graphs, and files of version 1."""
