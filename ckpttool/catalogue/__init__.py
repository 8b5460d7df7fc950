"""The catalogue of models as it lies on disk: names of entries, manifests, and what `zoo:NAME` means as a path."""
