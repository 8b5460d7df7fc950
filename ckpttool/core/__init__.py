"""The base that all packages use: errors, tensors and shapes, names and patterns, the call notation, casting."""
