"""What the scripts that draw the documentation's pictures share: panels side by side, captions, whole files."""

from __future__ import annotations

import colorsys
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.io.atomic import atomic_path

IMAGES = Path(__file__).resolve().parent / "images"
GAP = 10
CAPTION_HEIGHT = 30
PHOTOGRAPH_QUALITY = 85
COLORFUL = 0.45

Picture = npt.NDArray[np.uint8]


def output_folder() -> Path:
    """The folder that the first argument of the script names, made if absent, else the documentation's pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def plain(image: npt.ArrayLike, scale: int = 1) -> Picture:
    """An image as it looks in an overlay, without labels."""
    pixels = np.asarray(image)
    return render_overlay(pixels, np.zeros(pixels.shape[:2], np.int32), scale=scale)


def colored(image: npt.NDArray[np.uint8], labels: npt.NDArray[np.int32]) -> Picture:
    """An image with a color for each object, which depends on its number alone."""
    golden = (np.sqrt(5) - 1) / 2
    hues = [colorsys.hsv_to_rgb(number * golden % 1, 0.75, 1.0) for number in range(labels.max() + 1)]
    colors = np.array(hues)[labels] * 255
    ground = image if image.ndim == 3 else image[..., None]
    share = COLORFUL * (labels > 0)[..., None]
    return np.rint((1 - share) * ground + share * colors).astype(np.uint8)


def resized(picture: Picture, width: int) -> Picture:
    """A picture of another width, smooth."""
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def row(panels: dict[str, Picture], font_size: int = 18) -> Image.Image:
    """Put panels of one height side by side on white, each under its caption."""
    height = next(iter(panels.values())).shape[0]
    width = sum(panel.shape[1] + GAP for panel in panels.values()) - GAP
    canvas = Image.new("RGB", (width, height + CAPTION_HEIGHT), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=font_size)
    left = 0
    for caption, panel in panels.items():
        canvas.paste(Image.fromarray(panel), (left, CAPTION_HEIGHT))
        middle = (left + panel.shape[1] / 2, CAPTION_HEIGHT / 2)
        draw.text(middle, caption, fill="black", font=font, anchor="mm")
        left += panel.shape[1] + GAP
    return canvas


def save(picture: Image.Image | Picture, path: Path) -> None:
    """Write a PNG, or a JPEG for a photograph, and say its size."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    options = {"quality": PHOTOGRAPH_QUALITY} if path.suffix == ".jpg" else {}
    with atomic_path(path, (path.suffix,)) as temporary:
        image.save(temporary, optimize=True, **options)
    print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB")


def below_each_other(rows: Sequence[Image.Image]) -> Image.Image:
    """Put rows of panels below each other on white."""
    width, height = max(one.width for one in rows), sum(one.height + GAP for one in rows) - GAP
    canvas, top = Image.new("RGB", (width, height), "white"), 0
    for one in rows:
        canvas.paste(one, (0, top))
        top += one.height + GAP
    return canvas
