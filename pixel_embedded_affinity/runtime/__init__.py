"""Devices, memory, work ahead, progress."""
