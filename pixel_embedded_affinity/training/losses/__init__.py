"""The losses that a training minimizes."""
