"""Trained models, each described by a `ModelSpec`. A leaf: imports nothing from `pipelines`."""
