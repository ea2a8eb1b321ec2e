"""Read images, and write files that appear whole or not at all."""
