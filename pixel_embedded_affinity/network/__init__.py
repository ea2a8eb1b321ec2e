"""Networks: from an image to an embedding, from its configuration to the module."""
