"""Where and how fast: devices, memory, work ahead, progress."""
