"""Trained models: which there are (registry), where their files are (fetch), what is in one (checkpoint)."""
