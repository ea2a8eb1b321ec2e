"""The exceptions of the library: every refusal is one of these, and says what came, what was expected, what to do."""

from __future__ import annotations


class PixelEmbeddedAffinityError(Exception):
    """Base class of all errors that the library raises on purpose."""


class InputError(PixelEmbeddedAffinityError, ValueError):
    """An image, an array, an axis string or a setting that cannot be used."""


class CheckpointError(PixelEmbeddedAffinityError, ValueError):
    """A weights file that is damaged, foreign, or does not fit its own configuration."""


class UnknownModelError(PixelEmbeddedAffinityError, ValueError):
    """A model name that the registry does not hold."""


class UnknownClustererError(PixelEmbeddedAffinityError, ValueError):
    """A clusterer name that is neither built in nor provided by a plug-in."""


class DownloadError(PixelEmbeddedAffinityError, OSError):
    """Weights that could not be had from any of their places."""


class DeviceError(PixelEmbeddedAffinityError, RuntimeError):
    """A device that was asked for by name and is not there."""


class MissingDependencyError(PixelEmbeddedAffinityError, ImportError):
    """An optional package that the asked feature needs and that is not installed."""
