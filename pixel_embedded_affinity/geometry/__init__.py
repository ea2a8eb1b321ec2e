"""Geometry: tiles, scales and views of images; it needs neither a network nor torch."""
