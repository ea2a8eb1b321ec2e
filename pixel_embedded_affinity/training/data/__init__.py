"""The data of a training step: crops, second views, weights."""
