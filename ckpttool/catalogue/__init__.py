"""The catalogue of models on disk: names of entries, manifests, and the resolution of `zoo:NAME` to a path."""
