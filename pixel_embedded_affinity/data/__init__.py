"""Labeled images on disk, and the scores of a model on them."""
