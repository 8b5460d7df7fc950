"""Callbacks: what a run reports while it trains, and what is recorded of it."""
