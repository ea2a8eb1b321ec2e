"""Configuration: what a model says about itself, and the settings of inference."""
