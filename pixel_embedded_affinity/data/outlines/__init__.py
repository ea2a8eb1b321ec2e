"""Formats of labels that are not images but outlines of objects, one file each."""
