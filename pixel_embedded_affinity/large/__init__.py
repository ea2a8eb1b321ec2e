"""Images larger than the memory: blocks, their store, and the stitching."""
