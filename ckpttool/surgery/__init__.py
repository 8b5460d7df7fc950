"""Pure operations on checkpoints: functions from mappings of tensors to a mapping or a result."""
