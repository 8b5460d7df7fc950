"""Data sets from files: arrays by role, checked before the first step, and features kept on disk."""
