"""The bytes below the formats: varints, checksums, sorted tables, slice keys, string tensors, protocol messages."""
