"""A training from the first step to the model file."""
