"""Draw docs/images/blocks_light.svg and blocks_dark.svg: what block, overlap, window, tile and halo are.

Run it from any folder::

    python docs/make_blocks_drawing.py [FOLDER]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pictures import output_folder

from pixel_embedded_affinity.io.atomic import atomic_path

WIDTH, HEIGHT = 620, 330
# The image: its left upper corner, the length of a block, blocks along x and y, and the overlap.
IMAGE, BLOCK, BLOCKS, OVERLAP = (14.0, 44.0), 84.0, (3, 2), 21.0
# The block whose window is drawn again on the right, enlarged.
CHOSEN, ZOOM, WINDOW = (1, 0), 2.05, (330.0, 44.0)
HALO = 22.0


class Theme(NamedTuple):
    """Colors of a drawing."""

    ink: str
    paper: str
    nucleus: str
    block: str
    tile: str


class Box(NamedTuple):
    """A rectangle: left, top, width and height."""

    x: float
    y: float
    width: float
    height: float

    def grown(self, margin: float, inside: Box) -> Box:
        """The same with a margin, where there is room inside another one."""
        left, top = max(self.x - margin, inside.x), max(self.y - margin, inside.y)
        right = min(self.x + self.width + margin, inside.x + inside.width)
        bottom = min(self.y + self.height + margin, inside.y + inside.height)
        return Box(left, top, right - left, bottom - top)


THEMES = {
    "light": Theme("#1f2328", "#f3f4f6", "#b9c3d0", "#0b62c4", "#b35900"),
    "dark": Theme("#e6e9ee", "#23272e", "#4b5563", "#6cb2ff", "#ffab57"),
}


def main() -> None:
    """Write both drawings."""
    folder = output_folder()
    for name, theme in THEMES.items():
        path = folder / f"blocks_{name}.svg"
        with atomic_path(path, (".svg",)) as temporary:
            temporary.write_text(drawing(theme), encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def drawing(theme: Theme) -> str:
    """The whole image on the left, the window of one block on the right."""
    space = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg {space} role="img" font-family="sans-serif">'
    title = "<title>An image cut into blocks, and the window of one block cut into tiles</title>"
    return "\n".join([head, title, *whole(theme), *enlarged(theme), "</svg>\n"])


def whole(theme: Theme) -> Iterator[str]:
    """The image, its nuclei, its blocks, and the overlap of one of them."""
    image = Box(*IMAGE, BLOCKS[0] * BLOCK, BLOCKS[1] * BLOCK)
    block = Box(IMAGE[0] + CHOSEN[0] * BLOCK, IMAGE[1] + CHOSEN[1] * BLOCK, BLOCK, BLOCK)
    window = block.grown(OVERLAP, image)
    yield text(IMAGE[0], 24, "A large image is cut into blocks", theme.ink, bold=True)
    yield rectangle(image, theme.paper, theme.ink)
    yield from (ellipse(*nucleus, theme.nucleus) for nucleus in nuclei())
    yield from (line(*ends, theme.ink) for ends in borders(image))
    yield rectangle(window, theme.block, "none", opacity=0.14)
    yield rectangle(window, "none", theme.block, dash=True)
    yield rectangle(block, "none", theme.block, width=2.5)
    yield text(block.x + BLOCK / 2, block.y + BLOCK / 2 + 5, "block", theme.block, anchor="middle", bold=True)
    yield text(block.x + BLOCK / 2, window.y + window.height - 6, "overlap", theme.block, anchor="middle")
    yield text(IMAGE[0], 240, "A block is labeled with the overlap", theme.ink)
    yield text(IMAGE[0], 258, "around it: its window. So a nucleus on", theme.ink)
    yield text(IMAGE[0], 276, "a border is seen whole by both blocks,", theme.ink)
    yield text(IMAGE[0], 294, "and they agree that it is one.", theme.ink)


def enlarged(theme: Theme) -> Iterator[str]:
    """The window of the chosen block, its two by two tiles, and the halo of one of them."""
    image = Box(*IMAGE, BLOCKS[0] * BLOCK, BLOCKS[1] * BLOCK)
    source = Box(IMAGE[0] + CHOSEN[0] * BLOCK, IMAGE[1] + CHOSEN[1] * BLOCK, BLOCK, BLOCK).grown(
        OVERLAP, image
    )
    window = Box(*WINDOW, source.width * ZOOM, source.height * ZOOM)
    tile = Box(window.x, window.y, window.width / 2, window.height / 2)
    seen = tile.grown(HALO, window)
    yield text(WINDOW[0], 24, "The network sees a window in tiles", theme.ink, bold=True)
    yield f'<clipPath id="window"><rect {place(window)}/></clipPath>'
    yield rectangle(window, theme.paper, theme.block, dash=True)
    inside = [magnified(nucleus, source) for nucleus in nuclei()]
    yield f'<g clip-path="url(#window)">{"".join(ellipse(*nucleus, theme.nucleus) for nucleus in inside)}</g>'
    yield line(window.x + tile.width, window.y, window.x + tile.width, window.y + window.height, theme.ink)
    yield line(window.x, window.y + tile.height, window.x + window.width, window.y + tile.height, theme.ink)
    yield rectangle(seen, theme.tile, "none", opacity=0.16)
    yield rectangle(seen, "none", theme.tile, dash=True)
    yield rectangle(tile, "none", theme.tile, width=2.5)
    yield text(
        tile.x + tile.width / 2, tile.y + tile.height / 2 + 5, "tile", theme.tile, anchor="middle", bold=True
    )
    yield text(tile.x + tile.width / 2, seen.y + seen.height - 6, "halo", theme.tile, anchor="middle")
    bottom = window.y + window.height
    yield text(WINDOW[0], bottom + 22, "The network sees the halo, too, but only", theme.ink)
    yield text(WINDOW[0], bottom + 40, "the vectors of the tile are kept.", theme.ink)


def nuclei() -> list[tuple[float, float, float, float, float]]:
    """Middle, two radii and turn of each nucleus, at random places that keep their distance."""
    random = np.random.default_rng(4)
    width, height = BLOCKS[0] * BLOCK, BLOCKS[1] * BLOCK
    found: list[tuple[float, float, float, float, float]] = []
    for x, y in random.uniform((8, 8), (width - 8, height - 8), size=(400, 2)):
        middle = (IMAGE[0] + x, IMAGE[1] + y)
        if all(np.hypot(middle[0] - other[0], middle[1] - other[1]) > 19 for other in found):
            found.append((*middle, random.uniform(6, 9), random.uniform(5, 7), random.uniform(0, 180)))
    return found


def magnified(
    nucleus: tuple[float, float, float, float, float], source: Box
) -> tuple[float, float, float, float, float]:
    """A nucleus as it lies in the enlarged window."""
    x, y, long, short, turn = nucleus
    return (
        WINDOW[0] + (x - source.x) * ZOOM,
        WINDOW[1] + (y - source.y) * ZOOM,
        long * ZOOM,
        short * ZOOM,
        turn,
    )


def borders(image: Box) -> Iterator[tuple[float, float, float, float]]:
    """Lines between blocks."""
    for column in range(1, BLOCKS[0]):
        yield image.x + column * BLOCK, image.y, image.x + column * BLOCK, image.y + image.height
    for row in range(1, BLOCKS[1]):
        yield image.x, image.y + row * BLOCK, image.x + image.width, image.y + row * BLOCK


def place(box: Box) -> str:
    """The attributes that say where a rectangle lies."""
    return f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'


def rectangle(
    box: Box, fill: str, stroke: str, *, width: float = 1.5, dash: bool = False, opacity: float = 1
) -> str:
    """A rectangle."""
    dashes = ' stroke-dasharray="6 4"' if dash else ""
    style = f'fill="{fill}" stroke="{stroke}" stroke-width="{width}" opacity="{opacity}"'
    return f"<rect {place(box)} {style}{dashes}/>"


def line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    """A thin line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def ellipse(x: float, y: float, long: float, short: float, turn: float, color: str) -> str:
    """A nucleus."""
    where = f'cx="{x:.1f}" cy="{y:.1f}" rx="{long:.1f}" ry="{short:.1f}"'
    return f'<ellipse {where} transform="rotate({turn:.0f} {x:.1f} {y:.1f})" fill="{color}"/>'


def text(x: float, y: float, words: str, color: str, *, anchor: str = "start", bold: bool = False) -> str:
    """A line of text."""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="15" fill="{color}" text-anchor="{anchor}"{weight}>{words}</text>'


if __name__ == "__main__":
    main()
