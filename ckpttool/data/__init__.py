"""Data sets: arrays by role, checked before the first step, and features cached on disk."""
