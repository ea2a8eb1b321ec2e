"""Trained models: their list (registry), the places of their files (fetch), the file format (checkpoint)."""
