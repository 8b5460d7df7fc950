"""Plans written by users: steps that edit, merge and check several checkpoints in order."""
