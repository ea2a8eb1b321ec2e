"""Sizes of pixels and names of channels, as microscopes and ImageJ write them into files."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

logger = logging.getLogger(__name__)

_MICROMETERS = {
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
}
_SCREEN = (72, 96)
"""Dots per inch that programs write where nobody has measured anything."""
_PRINT = (100, 150, 200, 240, 250, 300, 350, 360, 400, 600, 720, 1200, 2400)
"""Dots per inch of prints and of scanners."""
_INCH, _CENTIMETER = 2, 3
_PLANE = re.compile(r"^(?:[czt]:\d+/\d+\s*)+-\s*")


def micrometers(size: Any, unit: Any) -> float | None:
    """Return a size in micrometers; None where the unit is unknown or the size is no positive number."""
    factor = _MICROMETERS.get(_plain_unit(unit))
    try:
        found = float(size)
    except (TypeError, ValueError):
        return None
    return found * factor if factor and math.isfinite(found) and found > 0 else None


def _plain_unit(unit: Any) -> str:
    text = str(unit).strip().replace("\\u00B5", "u").replace("\\u00b5", "u")
    text = text.replace("\u00b5", "u").replace("\u03bc", "u").lower()
    return text.replace("metre", "meter").removesuffix("s") if len(text) > 3 else text


def of_ome(xml: str, image: int) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the names of the channels, and the sizes of a pixel by axis, of one image of OME-XML."""
    # Expat, which tifffile has already used for this text, limits how far entities may grow.
    root = ElementTree.fromstring(xml)  # noqa: S314
    pixels = root.findall("./{*}Image/{*}Pixels")
    if image >= len(pixels):
        return (), {}
    found = pixels[image]
    names = tuple(channel.get("Name", "") for channel in found.findall("./{*}Channel"))
    sizes = {
        axis: micrometers(found.get(f"PhysicalSize{axis}"), found.get(f"PhysicalSize{axis}Unit", "um"))
        for axis in "XYZ"
    }
    return names if any(names) else (), {axis: size for axis, size in sizes.items() if size}


def of_imagej(metadata: Mapping[str, Any], page: Any) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the names of the channels, and the sizes of a pixel by axis, of a file of ImageJ."""
    unit = metadata.get("unit", "")
    tags = {"X": _per_unit(page, 282), "Y": _per_unit(page, 283)}
    sizes = {axis: micrometers(1 / tag, unit) for axis, tag in tags.items() if tag}
    sizes["Z"] = micrometers(metadata.get("spacing"), unit)
    return _imagej_names(metadata), {axis: size for axis, size in sizes.items() if size}


def _imagej_names(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels of the first planes, where each plane of the file has one and they tell channels apart."""
    labels, count = metadata.get("Labels") or (), int(metadata.get("channels", 1))
    planes = int(metadata.get("images", 1))
    if len(labels) != planes:
        return ()
    names = tuple(_PLANE.sub("", str(label)) for label in labels[:count])
    return names if len(set(names)) == count else ()


def of_tags(page: Any) -> dict[str, float]:
    """Return the sizes of a pixel by axis from the resolution of a TIFF; nothing where it is one of a screen.

    A warning names the resolution of a print, which an image of a microscope has only by chance.
    """
    unit = {_INCH: "inch", _CENTIMETER: "cm"}.get(int(page.tags.valueof(296, default=_INCH)), "")
    sizes = {}
    for axis, tag in (("X", 282), ("Y", 283)):
        resolution = _per_unit(page, tag)
        size = micrometers(1 / resolution, unit) if resolution else None
        if size and round(25400 / size) not in _SCREEN and resolution != 1:
            sizes[axis] = size
    dots = {round(25400 / size) for size in sizes.values()}
    if unit == "inch" and dots and dots <= set(_PRINT):
        logger.warning(
            "a file says %d dots per inch, which are %.4g micrometers a pixel; unless a scanner made it, give the "
            "size of a pixel: pixel_size= (--pixel-size)",
            dots.pop(),
            sizes["X"],
        )
    return sizes


def _per_unit(page: Any, tag: int) -> float | None:
    """Pixels per unit of length."""
    value = page.tags.valueof(tag, default=None)
    if not isinstance(value, tuple) or len(value) != 2 or not all(value):
        return None
    return float(value[0]) / float(value[1])
