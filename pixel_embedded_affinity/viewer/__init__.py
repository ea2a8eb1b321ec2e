"""The plug-in for napari: segment, explore, review and correct. Nothing here is imported unless napari asks for it."""
