"""Geometry: tiles, scales and views of images, without a network."""
