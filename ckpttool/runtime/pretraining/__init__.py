"""Pretraining: what layers are trained for where labels are few, a class per method."""
