"""Labeled images on disk, and scores of a model on them."""
