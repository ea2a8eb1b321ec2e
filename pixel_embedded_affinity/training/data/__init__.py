"""What a training step sees: crops, second views, weights."""
