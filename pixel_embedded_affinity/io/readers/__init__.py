"""Formats of image files, one file each."""
