"""Pretraining methods, which train layers when labels are few; one class per method."""
