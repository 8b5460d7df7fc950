"""Creating patches from two checkpoints, and applying them to the first, which results in the second, bit for bit."""
